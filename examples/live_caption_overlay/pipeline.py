import cv2
import numpy as np
from listener import Listener

from livepeer.runner import AudioFrame, LivePipeline, VideoFrame, serve


class LiveCaptionOverlay(LivePipeline):
    """Write what is spoken in a live video into its picture; the sound passes on."""

    def on_stream_start(self, params: dict) -> None:
        self.listener = Listener()  # keeps state, so each stream makes its own
        self.caption = ""

    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        self.caption = self.listener.hear(frame) or self.caption
        return frame

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        if not self.caption:
            return frame
        picture = frame.to_ndarray("rgb24")
        draw(picture, self.caption)
        return frame.replace(picture)


def draw(picture: np.ndarray, caption: str) -> None:
    """Write the last words that fit, white on a black bar at the bottom."""
    height, width, _ = picture.shape
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, height / 480
    words = caption.split()
    while words and cv2.getTextSize(" ".join(words), font, scale, 1)[0][0] > width * 0.94:
        words.pop(0)
    cv2.rectangle(picture, (0, int(height * 0.86)), (width, height), (0, 0, 0), cv2.FILLED)
    where = (int(width * 0.03), int(height * 0.95))
    cv2.putText(picture, " ".join(words), where, font, scale, (255, 255, 255), 1, cv2.LINE_AA)


if __name__ == "__main__":
    serve(LiveCaptionOverlay)
