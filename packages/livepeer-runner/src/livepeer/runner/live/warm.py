"""What the first stream of a process would otherwise wait for."""

from __future__ import annotations

from fractions import Fraction


def load_media() -> None:
    """Load FFmpeg and open its codecs once: half a second where the disk is slow."""
    import numpy as np

    from livepeer.trickle.media import (
        AudioFrame,
        MediaPublisher,  # noqa: F401 — loaded, with all that it needs
        MediaSubscriber,  # noqa: F401
        VideoFrame,
        decode,
        encode,
    )

    picture = VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), time=Fraction(0))
    sound = AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), rate=48_000, time=Fraction(0))
    clip = encode([picture, sound], None)
    assert clip is not None
    for _ in decode(clip):
        pass
