from pydantic import BaseModel, Field

from livepeer.runner import LivePipeline, VideoFrame, serve


class TintParams(BaseModel):
    u: int = Field(128, ge=0, le=255, description="0 is yellow, 128 neutral, 255 blue.")
    v: int = Field(128, ge=0, le=255, description="0 is green, 128 neutral, 255 red.")


class LiveTint(LivePipeline):
    """Give a live video one colour, which the caller may change at any time."""

    params: TintParams
    capacity = 4
    thread_safe = True  # nothing is shared between two streams

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        _, u, v = frame.planes
        u[:], v[:] = self.params.u, self.params.v
        return frame


if __name__ == "__main__":
    serve(LiveTint)
