"""Sound as a WAV file: 16-bit samples, which every player takes."""

from __future__ import annotations

import wave
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from livepeer.trickle.media.frame.frames import AudioFrame, MediaPacket, VideoFrame


def write_wav(frames: Iterable[VideoFrame | AudioFrame | MediaPacket], target: BinaryIO) -> None:
    """Write the sound among `frames` to a binary file that can seek, one frame behind the other.

    Rate and layout are those of the first; later frames are resampled into them. Pictures are left
    out. Raises `ValueError` where no sound came, or came undecoded.
    """
    out: wave.Wave_write | None = None
    first: AudioFrame | None = None
    try:
        for frame in frames:
            if isinstance(frame, MediaPacket):
                raise ValueError("wav holds decoded sound, and a packet is not decoded")
            if not isinstance(frame, AudioFrame):
                continue
            if out is None or first is None:
                first, out = frame, wave.open(target, "wb")
                out.setparams((len(frame.samples), 2, frame.rate, 0, "NONE", ""))
            elif (frame.rate, frame.layout) != (first.rate, first.layout):
                frame = frame.resample(rate=first.rate, layout=first.layout)
            whole = np.clip(np.rint(np.nan_to_num(frame.samples.T) * 32767.0), -32768, 32767)
            out.writeframesraw(whole.astype("<i2").tobytes())
        if out is None:
            raise ValueError("no sound was given: there is nothing to encode")
    finally:
        if out is not None:
            out.close()
