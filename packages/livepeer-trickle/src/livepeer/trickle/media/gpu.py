"""NVDEC through PyAV: pictures are decoded on the GPU and stay there.

Without a GPU, without a driver, or for a codec that the GPU cannot decode, the same calls decode on
the CPU.
"""

from __future__ import annotations

import logging
import re
from typing import Any

__all__ = ["decoder", "device_index", "is_available"]

_log = logging.getLogger(__name__)

#: Surfaces beside those the codec needs: frames that wait or that a pipeline holds. A decoder
#: without a free surface fails.
_EXTRA_SURFACES = 24


def decoder(codec: str, device: str) -> Any | None:
    """A decoder of FFmpeg's ``codec`` on ``device`` (``cuda``, ``cuda:1``), or ``None``.

    Its pictures have the format ``cuda`` and are NV12 or P010 on the device, in the process's
    primary CUDA context, which torch, CuPy and JAX use as well. Raises ``ValueError`` for a device
    that is not spelt like that.
    """
    index = device_index(device)
    from av import CodecContext
    from av.codec.hwaccel import HWAccel
    from av.error import FFmpegError

    acceleration = HWAccel(
        device_type="cuda",
        device=str(index),
        allow_software_fallback=True,
        is_hw_owned=True,
    )
    try:
        context: Any = CodecContext.create(codec, "r", hwaccel=acceleration)
    except (FFmpegError, NotImplementedError) as error:
        _log.warning("%s is decoded on the CPU: %s cannot be used (%s)", codec, device, error)
        return None
    if not context.is_hwaccel:
        _log.warning("%s is decoded on the CPU: no GPU decoder is known for it", codec)
        return None
    context.thread_count = 1
    context.options = {"extra_hw_frames": str(_EXTRA_SURFACES)}
    return context


def device_index(device: str) -> int:
    """N of ``cuda:N``, 0 of ``cuda``."""
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise ValueError(f"device has to be 'cuda' or 'cuda:N', not {device!r}")
    return int(match[1] or 0)


def is_available(device: str = "cuda") -> bool:
    """Whether H.264 can be decoded on ``device`` here."""
    level = _log.level
    try:
        _log.setLevel(logging.ERROR)
        return decoder("h264", device) is not None
    finally:
        _log.setLevel(level)
