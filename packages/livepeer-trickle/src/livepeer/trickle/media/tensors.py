"""Pictures to torch tensors and back, converted where they are; torch is never asked for.

The arithmetic is that of ITU-T H.273: a matrix by its two luma weights, full or narrow range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .cuda import DevicePlane
from .pixels import array_and_format, picture_from

if TYPE_CHECKING:
    import av

    from .video_frame import VideoFrame

__all__ = ["Coefficients", "picture_of", "rgb"]

#: AVColorSpace to the weights of red and blue in luma; BT.601 where the stream does not tell,
#: as libswscale has it.
_WEIGHTS = {1: (0.2126, 0.0722), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
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
    def of(cls, picture: av.VideoFrame) -> Coefficients:
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


def rgb(frame: VideoFrame, device: Any, layout: str) -> Any:
    """See :meth:`VideoFrame.to_tensor`."""
    if layout not in ("hwc", "chw"):
        raise ValueError(f"layout has to be 'hwc' or 'chw', not {layout!r}")
    torch = _torch("to_tensor")
    picture = frame.to_av()
    # PyAV exports no half row or column of chroma: odd sizes take the way over the planes.
    on_gpu = picture.format.name == "cuda" and picture.width % 2 == picture.height % 2 == 0
    target = torch.device(device if device is not None else frame.device)
    if not on_gpu and target.type == "cpu":
        tensor = torch.from_numpy(frame.to_ndarray("rgb24"))
        return tensor if layout == "hwc" else tensor.permute(2, 0, 1).contiguous()
    if on_gpu:
        y, u, v = _device_planes(torch, picture)
    else:
        # Pageable copies of the planes: 1.5 bytes a pixel travel, not 3 or 12.
        y, u, v = (torch.from_numpy(plane.copy()).to(target) for plane in frame.view())
    height, width = y.shape
    u, v = (_upsampled(plane.float(), height, width) for plane in (u, v))
    parts = Coefficients.of(picture).to_rgb(y.float(), u, v)
    tensor = torch.stack(parts, dim=2 if layout == "hwc" else 0)
    return tensor.round_().clamp_(0, 255).to(torch.uint8).to(target)


def picture_of(tensor: Any, format: str | None, like: av.VideoFrame) -> av.VideoFrame:
    """See :meth:`VideoFrame.replace`: the picture of a tensor, on the GPU where the tensor is."""
    torch = _torch("replace")
    tensor = tensor.detach()
    if tensor.ndim == 3 and tensor.shape[2] not in (1, 3, 4) and tensor.shape[0] in (1, 3, 4):
        tensor = tensor.permute(1, 2, 0)
    on_gpu = (
        tensor.is_cuda
        and format in (None, "rgb24", "bgr24")
        and tensor.dtype == torch.uint8
        and tensor.ndim == 3
        and tensor.shape[2] == 3
        and tensor.shape[0] % 2 == tensor.shape[1] % 2 == 0
    )
    if not on_gpu:
        array, name = array_and_format(tensor.cpu().numpy(), format)
        return picture_from(array, name, like=like)
    r, g, b = tensor.float().unbind(2)
    if format == "bgr24":
        r, b = b, r
    y, u, v = Coefficients.of(like).to_yuv(r, g, b)
    height, width = y.shape
    chroma = torch.stack((u, v))
    chroma = chroma.reshape(2, height // 2, 2, width // 2, 2).mean(dim=(2, 4)).permute(1, 2, 0)
    planes = tuple(
        plane.round().clamp(0, 255).to(torch.uint8).contiguous() for plane in (y, chroma)
    )
    # Whoever reads the frame next does so on another stream, which PyAV cannot be told.
    torch.cuda.synchronize(tensor.device)
    from av import VideoFrame as NewPicture

    picture = NewPicture.from_dlpack(planes, format="nv12")
    picture.colorspace, picture.color_range = like.colorspace, like.color_range
    return picture


def _device_planes(torch: Any, picture: av.VideoFrame) -> tuple[Any, Any, Any]:
    """Y, U and V on the device, as 8-bit values; U and V at half the size."""
    y, uv = (torch.from_dlpack(DevicePlane(plane)) for plane in picture.planes)
    if y.dtype != torch.uint8:
        # P010: ten bits in the upper ones of sixteen.
        y, uv = (plane.to(torch.int32) >> 8 for plane in (y, uv))
    return y, uv[:, :, 0], uv[:, :, 1]


def _upsampled(plane: Any, height: int, width: int) -> Any:
    return plane.repeat_interleave(2, 0)[:height].repeat_interleave(2, 1)[:, :width]


def _torch(method: str) -> Any:
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError(
            f"{method} of a tensor needs torch: install it, or use to_ndarray() and numpy arrays"
        ) from error
    return torch
