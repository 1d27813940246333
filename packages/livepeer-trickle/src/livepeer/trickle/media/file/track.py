"""The tracks of a file to frames: pictures upright, in order and whole; sound to the sample."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any, Protocol

from av.error import FFmpegError

from livepeer.trickle.media.file.clock import PictureClock
from livepeer.trickle.media.frame import AudioFrame, Frame, VideoFrame
from livepeer.trickle.media.frame.audio import decoded
from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE, SampleClock
from livepeer.trickle.media.frame.pixels import allowance
from livepeer.trickle.media.frame.upright import Upright
from livepeer.trickle.media.frame.video import SQUARE

_NO_TIMES = 0x80
"""AVFMT_NOTIMESTAMPS of libavformat: the file holds none."""

_THREADS = min(4, os.cpu_count() or 1)
"""Threads hold a picture each, on top of what the codec keeps."""

_MENDED = 250
"""Whole pictures after which a stream without keyframes counts as mended."""

_REFUSED = 100
"""Pictures in a row that are too large, after which no other is waited for."""

_MOST_SAMPLES = 1 << 24
"""Samples of one frame, all channels together: no codec's are nearly as many."""


class FileTrack(Protocol):
    """What `decode` does with each packet of a track."""

    def push(self, packet: Any) -> list[Frame]: ...

    def flush(self) -> list[Frame]: ...


class PictureTrack:
    """Decodes the pictures of one track; what is broken is left out until the next keyframe."""

    def __init__(self, stream: Any, max_pixels: int) -> None:
        self._stream = stream
        context = stream.codec_context
        flags = stream.container.format.flags
        by_decoding = stream.container.format.name == "avi"
        # Pictures tell when they were decoded only where no thread of their own decodes them.
        context.thread_type = "SLICE" if by_decoding else "AUTO"
        context.thread_count = _THREADS
        context.options = context.options | {"max_pixels": allowance(max_pixels)}
        self._context = context
        self._max_pixels = max_pixels
        self._too_large: tuple[int, int] | None = None
        self._refused = 0
        self._base: Fraction = stream.time_base or MPEG_TIME_BASE
        self._clock = PictureClock(
            self._base,
            _rate(stream),
            timed=not flags & _NO_TIMES,
            by_decoding=by_decoding,
        )
        self._upright = Upright()
        self._broken = False
        self._whole = 0

    def push(self, packet: Any) -> list[Frame]:
        self._clock.fed(packet)
        try:
            pictures = packet.decode()
        except FFmpegError:
            # One broken packet: the next one is read from behind it.
            self._broken, self._whole = True, 0
            self._note_size(self._context.width, self._context.height)
            return []
        return self._whole_ones([one for picture in pictures for one in self._clock.place(picture)])

    def flush(self) -> list[Frame]:
        return self._whole_ones(self._clock.flush())

    def check_size(self, most: int = _REFUSED) -> None:
        """Raise `ValueError` where more than `most` pictures in a row were too large.

        One broken header may tell any size, and what follows it is whole again.
        """
        if self._too_large is not None and self._refused > most:
            raise too_large(*self._too_large, self._max_pixels)

    def _note_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            self._too_large = width, height
            self._refused += 1

    def _whole_ones(self, placed: list[tuple[Any, int]]) -> list[Frame]:
        return [self._frame(picture, pts) for picture, pts in placed if self._is_whole(picture)]

    def _is_whole(self, picture: Any) -> bool:
        if picture.width * picture.height > self._max_pixels:
            self._note_size(picture.width, picture.height)
            self._broken, self._whole = True, 0
        elif picture.is_corrupt:
            self._broken, self._whole = True, 0
        elif self._broken:
            self._whole += 1
            self._broken = not picture.key_frame and self._whole < _MENDED
        if not self._broken:
            self._too_large, self._refused = None, 0
        return not self._broken

    def _frame(self, picture: Any, pts: int) -> VideoFrame:
        # That of the container, or else the one that the pictures themselves tell.
        shape = self._stream.sample_aspect_ratio or SQUARE
        key = bool(picture.key_frame)
        picture, shape = self._upright.turn(picture, shape if shape > 0 else SQUARE)
        return VideoFrame(
            picture, pts=pts, time_base=self._base, key_frame=key, sample_aspect_ratio=shape
        )


class SoundTrack:
    """Decodes the sound of one track."""

    def __init__(self, stream: Any) -> None:
        context = stream.codec_context
        context.thread_type = "AUTO"
        context.thread_count = _THREADS
        context.options = context.options | {"max_samples": str(_MOST_SAMPLES)}
        self._clock = SampleClock()

    def push(self, packet: Any) -> list[Frame]:
        try:
            sounds = packet.decode()
        except FFmpegError:
            return []
        return [self._frame(sound) for sound in sounds if sound.samples]

    def flush(self) -> list[Frame]:
        return []

    def _frame(self, sound: Any) -> AudioFrame:
        told = None if sound.pts is None else sound.pts * sound.time_base
        return decoded(sound, told, self._clock)


def _rate(stream: Any) -> Fraction:
    """Pictures a second: as the codec tells, as counted over the first ones, or FFmpeg's 25."""
    for rate in (stream.codec_context.framerate, stream.average_rate):
        if rate and 1 <= rate <= 1000:
            return Fraction(rate)
    return Fraction(25)


def too_large(width: int, height: int, max_pixels: int) -> ValueError:
    """What is raised for a file whose pictures are over the limit."""
    return ValueError(
        f"its pictures are {width}x{height}, and max_pixels is {max_pixels}: "
        "give decode(..., max_pixels=...) a larger one to have them"
    )
