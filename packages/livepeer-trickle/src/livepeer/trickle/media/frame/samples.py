"""The samples of PyAV's sound as arrays, and arrays as PyAV's sound.

Imports neither av nor numpy before the first sound.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]


LAYOUTS = {
    **{1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"},
    **{10: "5.1.4", 12: "7.1.4", 14: "9.1.4", 16: "9.1.6", 24: "22.2"},
}
"""What a number of channels is called where nobody says; FFmpeg's own choice."""

_MISCOUNTED = 8
"""PyAV 18.1 looks for a null pointer behind the planes of a sound. FFmpeg writes none behind
eight or more: it tells nine planes for eight, and reading the last ends the process."""

_ARRAYS = ("u8", "s16", "s32", "flt", "dbl")
"""Sample formats that PyAV makes arrays of."""

_local = threading.local()


def channels_of(layout: str) -> int:
    for channels, name in LAYOUTS.items():
        if name == layout:
            return channels
    from av import AudioLayout

    try:
        return int(AudioLayout(layout).nb_channels)
    except (TypeError, ValueError):
        raise ValueError(
            f"layout {layout!r}: expected 'mono', 'stereo', '5.1' or another of FFmpeg's names"
        ) from None


def as_float(array: NDArray[Any]) -> Samples:
    """(channels, n) `float32` of an array as callers may give one."""
    import numpy as np

    array = np.asarray(array)
    if array.ndim == 1:
        array = array[np.newaxis, :]
    if array.ndim != 2 or not 0 < array.shape[0] <= 64:
        raise ValueError(
            f"samples have to be of shape (channels, n) or (n,), not {array.shape}: "
            "transpose an (n, channels) array"
        )
    samples: Samples
    if array.dtype == np.float32:
        samples = array
    elif array.dtype.kind == "f":
        samples = array.astype(np.float32)
    elif array.dtype == np.uint8:
        samples = (array.astype(np.float32) - np.float32(128)) / np.float32(128)
    elif array.dtype in (np.int16, np.int32):
        full = -float(np.iinfo(array.dtype).min)
        samples = (array / full).astype(np.float32, copy=False)
    else:
        raise TypeError(f"samples have to be float, int16, int32 or uint8, not {array.dtype}")
    return samples


def planar(sound: av.AudioFrame) -> Samples:
    """The samples of a PyAV frame of any format: (channels, n) `float32`, in our own memory."""
    import numpy as np

    channels = sound.layout.nb_channels
    if not sound.samples:
        return np.zeros((channels, 0), np.float32)
    miscounted = sound.format.is_planar and channels >= _MISCOUNTED
    if miscounted or sound.format.packed.name not in _ARRAYS:
        sound = _packed(sound)
    array = sound.to_ndarray()
    if not sound.format.is_planar:
        array = array.reshape(-1, channels).T
    return as_float(array)


def sample_format(channels: int) -> str:
    """How floats are given to PyAV: `flt` where it would miscount the planes of `fltp`."""
    return "fltp" if channels < _MISCOUNTED else "flt"


def sound_of(samples: Samples, rate: int, layout: str) -> av.AudioFrame:
    """A PyAV frame of a copy, in the format of `sample_format`."""
    import numpy as np
    from av import AudioFrame as NewSound

    format = sample_format(len(samples))
    if format == "flt":
        samples = samples.T.reshape(1, -1)
    sound = NewSound.from_ndarray(np.ascontiguousarray(samples), format, layout)
    sound.sample_rate = rate
    return sound


def _packed(sound: av.AudioFrame) -> av.AudioFrame:
    """The same samples in one plane of floats. The filter is kept: making one costs a millisecond
    for each frame."""
    key = (sound.format.name, sound.layout.name, sound.sample_rate)
    known, convert = getattr(_local, "packer", (None, None))
    if convert is None or known != key:
        from av.audio.resampler import AudioResampler

        convert = AudioResampler(format="flt")
        _local.packer = (key, convert)
    parts: list[av.AudioFrame] = convert.resample(sound)
    [packed] = parts
    return packed
