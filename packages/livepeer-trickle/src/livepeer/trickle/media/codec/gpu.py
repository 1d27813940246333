"""NVDEC through PyAV: pictures are decoded on the GPU and stay there.

Without a GPU, without a driver, or for a codec that the GPU cannot decode, the same calls decode on
the CPU.
"""

from __future__ import annotations

import logging
import re
from typing import Any

logger = logging.getLogger(__name__)

_WHAT_TO_DO = (
    "an NVIDIA driver is needed, and in a container the GPU (--gpus) with the capability 'video' "
    "(NVIDIA_DRIVER_CAPABILITIES=compute,video,utility)"
)


def decoder(codec: str, device: str) -> Any | None:
    """A decoder of FFmpeg's `codec` on `device` (`cuda`, `cuda:1`), or `None`.

    Its pictures have the format `cuda` and are NV12 or P010 on the device, in the process's
    primary CUDA context, which torch, CuPy and JAX use as well. Each is a copy of its own, as
    FFmpeg makes it unless told otherwise, so any number may be held. Raises `ValueError` for a
    device that is not spelt like that.
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
        logger.warning(
            "%s is decoded on the CPU: %s cannot be used (%s); %s",
            codec,
            device,
            error,
            _WHAT_TO_DO,
        )
        return None
    if not context.is_hwaccel:
        logger.warning("%s is decoded on the CPU: no GPU decoder is known for it", codec)
        return None
    context.thread_count = 1
    return context


def warn_of_fallback(codec: str, format: str, device: str) -> None:
    """A picture that came out of `decoder` in memory: FFmpeg has gone back to software."""
    logger.warning(
        "%s (%s) is decoded on the CPU: %s does not take this stream; if no stream works, %s",
        codec,
        format,
        device,
        _WHAT_TO_DO,
    )


def device_index(device: str) -> int:
    """N of `cuda:N`, 0 of `cuda`."""
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise ValueError(f"device has to be 'cpu', 'cuda' or 'cuda:N', not {device!r}")
    return int(match[1] or 0)


def is_available(device: str = "cuda") -> bool:
    """Whether H.264 can be decoded on `device` here."""
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        return decoder("h264", device) is not None
    finally:
        logger.setLevel(level)
