"""Pictures to torch tensors and back, converted where they are; torch is never asked for.

The arithmetic is that of ITU-T H.273: a matrix by its two luma weights, full or narrow range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from livepeer.trickle.media.frame.cuda import DevicePlane
from livepeer.trickle.media.frame.pixels import (
    array_and_format,
    array_of,
    copy_colours,
    picture_from,
)

if TYPE_CHECKING:
    from livepeer.trickle.media.frame.pixels import Picture, Plane


_ALIGNED = 256
"""Bytes to which the rows of a picture on a GPU are filled up, as FFmpeg's own are."""

_WEIGHTS = {1: (0.2126, 0.0722), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""AVColorSpace to the weights of red and blue in luma; BT.601 where the stream does not tell, as
libswscale has it."""
_BT601 = (0.299, 0.114)
_FULL_RANGE = 2


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What one colour matrix and range are in numbers, for 8-bit values."""

    red: float
    green: float
    blue: float
    black: float
    luma: float
    chroma: float

    @classmethod
    def of(cls, picture: Picture) -> Coefficients:
        red, blue = _WEIGHTS.get(int(picture.colorspace), _BT601)
        full = int(picture.color_range) == _FULL_RANGE or picture.format.name == "yuvj420p"
        black, luma, chroma = (0.0, 1.0, 1.0) if full else (16.0, 219 / 255, 224 / 255)
        return cls(red, 1 - red - blue, blue, black, luma, chroma)

    def to_rgb(self, y: Any, u: Any, v: Any) -> tuple[Any, Any, Any]:
        """Floats of 0..255 from planes of floats, all of one shape; not clamped."""
        y = (y - self.black) / self.luma
        u = (u - 128) * (2 * (1 - self.blue) / self.chroma)
        v = (v - 128) * (2 * (1 - self.red) / self.chroma)
        return y + v, y - u * (self.blue / self.green) - v * (self.red / self.green), y + u

    def to_yuv(self, r: Any, g: Any, b: Any) -> tuple[Any, Any, Any]:
        """The way back."""
        y = r * self.red + g * self.green + b * self.blue
        u = (b - y) * (self.chroma / (2 * (1 - self.blue))) + 128
        v = (r - y) * (self.chroma / (2 * (1 - self.red))) + 128
        return y * self.luma + self.black, u, v


def rgb(picture: Picture, device: Any, layout: str, view: Callable[[], Iterable[Plane]]) -> Any:
    """See `VideoFrame.to_tensor`. `view` gives the planes of a picture in memory."""
    if layout not in ("hwc", "chw"):
        raise ValueError(f"layout has to be 'hwc' or 'chw', not {layout!r}")
    torch = _torch()
    on_gpu = _has_planes_on_gpu(picture)
    target = torch.device(device)
    if not on_gpu and target.type == "cpu":
        tensor = torch.from_numpy(array_of(picture, "rgb24"))
        return tensor if layout == "hwc" else tensor.permute(2, 0, 1).contiguous()
    if on_gpu:
        y, u, v = _device_planes(torch, picture)
    else:
        # Pageable copies of the planes: 1.5 bytes a pixel travel, not 3 or 12.
        y, u, v = (torch.from_numpy(plane.copy()).to(target) for plane in view())
    tensor = rgb_of_planes(torch, y, u, v, Coefficients.of(picture), layout).to(target)
    if on_gpu:
        # The decoder writes into this memory again, on a stream of its own, once the frame is gone.
        torch.cuda.current_stream(y.device).synchronize()
    return tensor


def rgb_of_planes(torch: Any, y: Any, u: Any, v: Any, numbers: Coefficients, layout: str) -> Any:
    """RGB, `uint8`, of 8-bit planes (U and V at half the size), on the device where they are."""
    height, width = y.shape
    u, v = (_upsampled(plane.float(), height, width) for plane in (u, v))
    parts = numbers.to_rgb(y.float(), u, v)
    tensor = torch.stack(parts, dim=2 if layout == "hwc" else 0)
    return tensor.round_().clamp_(0, 255).to(torch.uint8)


def picture_of(tensor: Any, format: str | None, like: Picture) -> Picture:
    """See `VideoFrame.replace`: the picture of a tensor, on the GPU where the tensor is."""
    torch = _torch()
    tensor = tensor.detach()
    if tensor.ndim == 3 and tensor.shape[2] not in (1, 3, 4) and tensor.shape[0] in (1, 3, 4):
        tensor = tensor.permute(1, 2, 0)
    stays = (
        tensor.is_cuda
        and format in (None, "rgb24", "bgr24")
        and tensor.dtype == torch.uint8
        and tensor.ndim == 3
        and tensor.shape[2] == 3
        and tensor.shape[0] % 2 == tensor.shape[1] % 2 == 0
    )
    if not stays:
        array, name = array_and_format(tensor.cpu().numpy(), format)
        return picture_from(array, name, like=like)
    return nv12_picture(torch, tensor.flip(2) if format == "bgr24" else tensor, like)


def nv12_picture(torch: Any, tensor: Any, like: Picture) -> Picture:
    """NV12 of an (H, W, 3) `uint8` RGB tensor of even size, on the device where it is."""
    from av import VideoFrame as NewPicture

    height, width, _ = tensor.shape
    y, u, v = Coefficients.of(like).to_yuv(*tensor.float().unbind(2))
    chroma = torch.stack((u, v)).reshape(2, height // 2, 2, width // 2, 2).mean(dim=(2, 4))
    chroma = chroma.permute(1, 2, 0).reshape(height // 2, width)
    # One allocation, as a decoder makes it: NVENC is told where Y begins and the distance of rows,
    # and takes UV to follow.
    pitch = -(-width // _ALIGNED) * _ALIGNED
    memory = torch.empty((height * 3 // 2, pitch), dtype=torch.uint8, device=tensor.device)
    planes = memory[:height, :width], memory[height:, :width]
    for plane, values in zip(planes, (y, chroma), strict=True):
        plane.copy_(values.round_().clamp_(0, 255))
    context = None
    if tensor.is_cuda:
        # Whoever reads the frame next does so on another stream, which PyAV cannot be told.
        torch.cuda.synchronize(tensor.device)
        context = _cuda_context(tensor.device.index)
    picture = NewPicture.from_dlpack(planes, format="nv12", cuda_context=context)
    copy_colours(like, picture)
    return picture


@cache
def _cuda_context(index: int) -> Any:
    """Of the whole process, as making one for each frame would cost more than the frame."""
    from av.video.frame import CudaContext

    return CudaContext(device_id=index, primary_ctx=True)


def _has_planes_on_gpu(picture: Picture) -> bool:
    """Whether PyAV exports its planes: no half row or column of chroma, and no 4:4:4."""
    if picture.format.name != "cuda" or picture.width % 2 or picture.height % 2:
        return False
    stored = picture.sw_format
    return stored is not None and stored.name in ("nv12", "p010le", "p016le")


def _device_planes(torch: Any, picture: Picture) -> tuple[Any, Any, Any]:
    """Y, U and V on the device, as 8-bit values; U and V at half the size."""
    y, uv = (torch.from_dlpack(DevicePlane(plane)) for plane in picture.planes)
    if y.dtype != torch.uint8:
        # P010 and P016: the value in the upper bits of sixteen.
        y, uv = (plane.to(torch.int32) >> 8 for plane in (y, uv))
    return y, uv[:, :, 0], uv[:, :, 1]


def _upsampled(plane: Any, height: int, width: int) -> Any:
    return plane.repeat_interleave(2, 0)[:height].repeat_interleave(2, 1)[:, :width]


def _torch() -> Any:
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError(
            "to_tensor needs torch, which is not a dependency: `pip install torch`, "
            "or use to_ndarray() and numpy arrays"
        ) from error
    return torch
