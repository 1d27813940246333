"""Planes on a GPU for any DLPack consumer, without asking for a CUDA package.

PyAV exports a plane but cannot order streams: it refuses the `stream` that consumers pass by the
DLPack protocol. So the device is waited for here, through the driver, and the plane handed over as
one that is ready.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_CUDA = 2
"""kDLCUDA of the DLPack protocol."""


class DevicePlane:
    """One plane of a picture on a GPU, for `torch.from_dlpack`, CuPy and JAX.

    It shares the picture's memory and keeps it alive. Y is (H, W), UV is (H/2, W/2, 2), `uint8`,
    or `uint16` where the source has more than eight bits.
    """

    def __init__(self, plane: Any) -> None:
        self._plane = plane

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self._plane.__dlpack_device__()
        return device

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("a plane is handed over where it is: copy it on your side")
        kind, index = self.__dlpack_device__()
        # -1 is the consumer's word that it needs no order.
        if kind == _CUDA and stream != -1:
            synchronize(index)
        return self._plane.__dlpack__()


def synchronize(device: int) -> None:
    """Wait until all work in the primary context of `device` is done.

    Raises `RuntimeError` with the driver's number where it fails.
    """
    driver = _driver()
    handle, context = ctypes.c_int(), ctypes.c_void_p()
    _check(driver.cuInit(0), "cuInit")
    _check(driver.cuDeviceGet(ctypes.byref(handle), device), "cuDeviceGet")
    retained = driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle)
    _check(retained, "cuDevicePrimaryCtxRetain")
    try:
        _check(driver.cuCtxPushCurrent_v2(context), "cuCtxPushCurrent")
        try:
            _check(driver.cuCtxSynchronize(), "cuCtxSynchronize")
        finally:
            driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(handle)


@cache
def _driver() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise RuntimeError(f"the NVIDIA driver cannot be loaded: {error}") from error


def _check(result: int, call: str) -> None:
    if result != 0:
        raise RuntimeError(f"{call} failed with CUDA error {result}")
