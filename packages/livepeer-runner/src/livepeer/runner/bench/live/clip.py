"""The pictures and the sound of a file, as a measured stream is fed with them again and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from livepeer.runner.bench.live import marks

if TYPE_CHECKING:
    from livepeer.runner.bench.live.shot import Shot
    from livepeer.trickle.media import VideoFrame

LONGEST_SECONDS: Final = 60.0
"""Of a clip; what comes after is left out."""
PICTURE_BYTES: Final = 256 << 20
"""Of its pictures, as they are kept: 6 s of 1280x720 at 30 a second."""
PAUSE_SECONDS: Final = 1.0
"""Silence before its sound comes again: what is said ends there."""


class UnreadableClip(ValueError):
    """The file has neither pictures nor sound that can be decoded; the message says why."""


@dataclass(frozen=True, slots=True)
class CameraClip:
    """What of a file is fed. Either is None where the file has none."""

    name: str
    pictures: tuple[Any, ...] | None = field(repr=False)
    """yuv420p, `uint8` (H * 3 / 2, W), at the shot's size and rate."""
    sound: Any = field(repr=False)
    """`float32` (n,) at `marks.RATE`, with a pause at its end."""

    @classmethod
    def of(cls, path: Path, shot: Shot) -> CameraClip:
        """Its first minute, or less where its pictures are large. Raises `UnreadableClip`."""
        from livepeer.trickle.media import decode

        try:
            pictures = tuple(_pictures(decode(path, audio=False), shot)) if shot.pictures else ()
        except (OSError, ValueError) as error:
            pictures, why = (), error
        try:
            sound = _sound(decode(path, video=False)) if shot.sound else None
        except (OSError, ValueError) as error:
            sound, why = None, error
        if not pictures and sound is None:
            raise UnreadableClip(str(why))
        return cls(path.name, pictures or None, sound)


def _pictures(frames: Iterable[Any], shot: Shot) -> Iterator[Any]:
    """As the camera takes them: of each of its moments the newest one, stretched to its size."""
    size = shot.width * shot.height * 3 // 2
    most = min(int(LONGEST_SECONDS * shot.rate), max(1, PICTURE_BYTES // size))
    given, last, began = 0, None, None
    for frame in frames:
        began = frame.time if began is None else began
        while last is not None and given / shot.rate < frame.time - began:
            yield last
            given += 1
            if given >= most:
                return
        last = _stretched(frame, shot)
    if last is not None:
        yield last


def _stretched(frame: VideoFrame, shot: Shot) -> Any:
    import numpy as np

    def scaled(plane: Any, height: int, width: int) -> Any:
        down = np.arange(height) * plane.shape[0] // height
        across = np.arange(width) * plane.shape[1] // width
        return plane[down[:, None], across]

    y, u, v = frame.view()
    height, width = shot.height, shot.width
    whole = np.empty((height * 3 // 2, width), np.uint8)
    whole[:height] = scaled(y, height, width)
    colours = [scaled(plane, height // 2, width // 2).ravel() for plane in (u, v)]
    whole[height:] = np.concatenate(colours).reshape(height // 2, width)
    return whole


def _sound(frames: Iterable[Any]) -> Any:
    import numpy as np

    from livepeer.trickle.media import AudioResampler

    resampler = AudioResampler(rate=marks.RATE, layout="mono")
    most, count, pieces = int(LONGEST_SECONDS * marks.RATE), 0, []
    for frame in frames:
        for part in resampler.resample(frame):
            pieces.append(part.samples[0])
            count += len(pieces[-1])
        if count >= most:
            break
    pieces += [part.samples[0] for part in resampler.flush()]
    silence = np.zeros(int(PAUSE_SECONDS * marks.RATE), np.float32)
    return np.concatenate([*pieces, silence])
