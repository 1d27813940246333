"""Makes `speaker.mp4` of `astronaut.jpg` and `speech.flac`: a face that moves, and its words."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from livepeer.runner import AudioFrame, VideoFrame, VideoOutput
from livepeer.trickle.media import decode, encode

HERE = Path(__file__).parent
WIDTH, HEIGHT, FPS = 640, 360, 15


def picture(photograph: Image.Image, seconds: float) -> np.ndarray:
    """A camera that swings from side to side, a whole swing in eight seconds."""
    left = 30 + 25 * np.sin(2 * np.pi * seconds / 8)
    box = (left, 10, left + 450, 10 + 450 * HEIGHT / WIDTH)
    return np.asarray(photograph.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box))


def frames() -> Iterator[VideoFrame | AudioFrame]:
    photograph = Image.open(HERE / "astronaut.jpg")
    shown = Fraction(0)
    for sound in decode(HERE / "speech.flac"):
        while shown <= sound.time:
            yield VideoFrame.from_ndarray(picture(photograph, float(shown)), time=shown)
            shown += Fraction(1, FPS)
        yield sound


if __name__ == "__main__":
    encode(
        frames(),
        HERE / "speaker.mp4",
        format="mp4",
        video=VideoOutput(preset="slow", bitrate=160_000),
    )
