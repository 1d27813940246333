from livepeer.runner import LivePipeline, VideoFrame, serve


class LiveGrayscale(LivePipeline):
    """Take the colour out of a live video."""

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        _, u, v = frame.planes  # writable, 8-bit YUV 4:2:0
        u[:] = v[:] = 128  # no colour
        return frame


if __name__ == "__main__":
    serve(LiveGrayscale)
