"""The pictures and the sound that a measured stream is fed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from livepeer.runner.bench.live import marks
from livepeer.runner.bench.live.shot import Shot
from livepeer.trickle.text import printable

if TYPE_CHECKING:
    from livepeer.runner.bench.live.clip import CameraClip
    from livepeer.trickle.media import AudioFrame, VideoFrame

PIECE = Fraction(1, 50)
"""Seconds of sound in one frame."""
LONGEST_NAME = 100
STEP = 8
"""Pixels that the scene moves from picture to picture."""


class Camera:
    """A textured scene that moves, so that an encoder has work, or a clip; each picture has its
    number."""

    def __init__(self, shot: Shot, clip: CameraClip | None = None) -> None:
        import numpy as np

        self._pictures = clip.pictures if clip is not None else None
        self._heard = clip.sound if clip is not None else None
        self.shot = replace(
            shot,
            clip=printable(clip.name, LONGEST_NAME) if clip is not None else "",
            clicks=self._heard is None,
        )
        width, height = shot.width, shot.height
        y, x = np.mgrid[0:height, 0 : width * 2]
        grain = np.random.default_rng(7).normal(0, 3, (height, width * 2))
        scene = 120 + 50 * np.sin(x / 37) * np.cos(y / 23) + 30 * np.sin((x + 2 * y) / 11) + grain
        self._luma = scene.clip(marks.BLACK, marks.WHITE).astype(np.uint8)
        self._colour = np.full((height // 2, width), marks.NEUTRAL, np.uint8)
        self._click, self._piece = marks.click(), round(PIECE * marks.RATE)

    def items(self) -> Iterator[tuple[Fraction, int | None, VideoFrame | AudioFrame]]:
        """Without end, in the order of their times: the time, a picture's index, and the frame."""
        index = piece = 0
        while True:
            shown, heard = index / self.shot.rate, piece * PIECE
            if self.shot.pictures and (not self.shot.sound or shown <= heard):
                yield shown, index, self.picture(index)
                index += 1
            else:
                yield heard, None, self.sound(piece)
                piece += 1

    def picture(self, index: int) -> VideoFrame:
        """With the number `index`, modulo 65,536, drawn in."""
        import numpy as np

        from livepeer.trickle.media import VideoFrame

        width, height = self.shot.width, self.shot.height
        if self._pictures is not None:
            whole = self._pictures[index % len(self._pictures)].copy()
        else:
            at = index * STEP % width
            whole = np.empty((height * 3 // 2, width), np.uint8)
            whole[:height] = self._luma[:, at : at + width]
            whole[height:] = self._colour
        frame = VideoFrame.from_ndarray(whole, "yuv420p", time=index / self.shot.rate)
        marks.draw(frame.planes, index % marks.NUMBERS)
        return frame

    def sound(self, piece: int) -> AudioFrame:
        """The clip's; else silence, with a click in the middle of one piece in each second."""
        import numpy as np

        from livepeer.trickle.media import AudioFrame

        if self._heard is not None:
            begin = piece * self._piece
            samples = self._heard.take(range(begin, begin + self._piece), mode="wrap")
            return AudioFrame.from_ndarray(samples, rate=marks.RATE, time=piece * PIECE)
        samples = np.zeros(self._piece, np.float32)
        if piece * PIECE % Fraction(marks.CLICK_EVERY) == Fraction(1, 2):
            begin = (self._piece - len(self._click)) // 2
            samples[begin : begin + len(self._click)] = self._click
        return AudioFrame.from_ndarray(samples, rate=marks.RATE, time=piece * PIECE)


def clicked(second: int) -> float:
    """The time of the middle of a click, on the camera's clock."""
    return second * marks.CLICK_EVERY + 0.5 + float(PIECE) / 2
