"""One picture with its exact time, as a pipeline sees it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE, Time, in_ticks, untimed
from livepeer.trickle.media.frame.pixels import (
    PLANAR,
    array_and_format,
    array_of,
    converted,
    picture_from,
    plane_arrays,
    writable_copy,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from livepeer.trickle.media.frame.pixels import Picture, Plane


SQUARE = Fraction(1)
"""The shape of most pixels."""


class VideoFrame:
    """A picture and the time at which it is shown.

    Frames come from a decoder, or are made from an array by `from_ndarray`. Pixels are
    reached in the form that suits the work, and only what is asked for is converted:

    - `planes`: Y, U, V, writable, 8-bit 4:2:0. The first access copies (0.2 ms at 720p),
      because a decoded picture is the decoder's reference for the pictures after it.
    - `view`: the same three planes read-only, without a copy.
    - `to_ndarray`, `to_tensor`: RGB and other layouts, always a copy.
    - `replace`: a new picture with this frame's time.
    - `snapshot`: this picture as it is now, whatever is written later.

    `time` is exact seconds on the stream's own clock, and survives every transform.
    Not thread-safe: one frame belongs to one thread at a time.
    """

    __slots__ = (
        *("_owned", "_picture", "_planes", "_views"),
        *("key_frame", "pts", "sample_aspect_ratio", "time_base"),
    )

    kind: ClassVar[Literal["video"]] = "video"
    """What tells a picture from sound (`AudioFrame.kind`)."""
    pts: int | None
    """Presentation time in ticks of `time_base`; `None` while the frame has no time yet."""
    time_base: Fraction
    """Seconds of one tick."""
    key_frame: bool
    """Whether the source encoded this picture on its own."""
    sample_aspect_ratio: Fraction
    """Width of a pixel by its height: 1 for square ones, 16/15 in a PAL picture of 4:3. Pixels
    are handed over as they are, and an encoder writes down what this says."""

    def __init__(
        self,
        picture: Picture,
        *,
        pts: int | None = None,
        time_base: Fraction = MPEG_TIME_BASE,
        key_frame: bool = False,
        owned: bool = False,
        sample_aspect_ratio: Fraction = SQUARE,
    ) -> None:
        """Wrap a PyAV picture; used by decoders. `owned`: nobody else reads its memory."""
        self._picture = picture
        self._owned = owned
        self._planes: tuple[Plane, Plane, Plane] | None = None
        self._views: tuple[Plane, Plane, Plane] | None = None
        self.pts = pts
        self.time_base = time_base
        self.key_frame = key_frame
        self.sample_aspect_ratio = sample_aspect_ratio

    @classmethod
    def from_ndarray(
        cls, array: NDArray[np.uint8], format: str = "rgb24", *, time: Time | None = None
    ) -> VideoFrame:
        """A frame of a copy of `array`.

        `format`: `rgb24`, `bgr24` (H, W, 3), `rgba`, `bgra`, `argb`, `abgr`
        (H, W, 4), `gray` (H, W), all `uint8`; or a planar name as PyAV stacks it (`yuv420p`
        and `nv12`: (H * 3 / 2, W), even sizes).
        `time`: seconds. Without it a publisher paces the frame.
        Raises `TypeError` for a dtype, `ValueError` for a shape that does not fit.
        """
        frame = cls(picture_from(array, format), owned=True)
        if time is not None:
            frame.time = time
        return frame

    @property
    def width(self) -> int:
        """Pixels."""
        return self._picture.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self._picture.height

    @property
    def format(self) -> str:
        """Pixel format by FFmpeg's name (`yuv420p`, `yuv422p10le`, `rgb24`, `cuda`)."""
        return self._picture.format.name

    @property
    def device(self) -> str:
        """Where the pixels are: `cpu`, or `cuda:N`."""
        if self._picture.format.name != "cuda":
            return "cpu"
        return f"cuda:{self._picture.planes[0].__dlpack_device__()[1]}"

    @property
    def time(self) -> Fraction:
        """Presentation time in seconds, exact. Assigning any number sets it.

        Raises `ValueError` on a generated frame that was given none (`pts` is `None` then).
        """
        if self.pts is None:
            raise untimed()
        return self.pts * self.time_base

    @time.setter
    def time(self, value: Time) -> None:
        self.pts, self.time_base = in_ticks(value)

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Y, U, V as writable `uint8` arrays of shapes (H, W), (⌈H/2⌉, ⌈W/2⌉) twice.

        Always 8-bit YUV 4:2:0, converted (and brought from the GPU) where the picture is not.
        Rows may be wider apart than the width. What is written is what is encoded.
        The first access copies the picture: arrays from an earlier `view` keep the old one.
        """
        if self._planes is None:
            if not self._owned or self.format not in PLANAR:
                self._picture = writable_copy(self._picture)
                self._owned = True
            self._planes = plane_arrays(self._picture)
            self._views = None
        return self._planes

    def view(self) -> tuple[Plane, Plane, Plane]:
        """Y, U, V as in `planes`, read-only; nothing is copied where it is 8-bit 4:2:0."""
        if self._views is None:
            picture = self._picture
            if picture.format.name not in PLANAR:
                picture = converted(picture, "yuv420p")
            self._views = plane_arrays(picture)
            for plane in self._views:
                plane.flags.writeable = False
        return self._views

    @property
    def dlpack_planes(self) -> tuple[Any, ...]:
        """One DLPack exporter for each plane, for `torch.from_dlpack`, CuPy or JAX.

        On the GPU: Y (H, W) and UV (H/2, W/2, 2), NV12 as decoded, on `device`, no copy
        (P010 in 16 bits for 10-bit sources). On the CPU: the three arrays of `planes`.
        """
        if self._picture.format.name == "cuda":
            from livepeer.trickle.media.frame.cuda import DevicePlane

            return tuple(DevicePlane(plane) for plane in self._picture.planes)
        return self.planes

    def to_ndarray(self, format: str = "rgb24") -> NDArray[Any]:
        """A new `uint8` array of the picture.

        (H, W, 3) for `rgb24` and `bgr24`, (H, W, 4) for `rgba`, (H, W) for `gray`; other
        formats by PyAV's rules. Raises `ValueError` for one that it does not know.
        """
        return array_of(self._picture, format)

    def to_tensor(self, device: Any = None, layout: Literal["hwc", "chw"] = "hwc") -> Any:
        """A new torch tensor of RGB, `uint8`, (H, W, 3) or, for `chw`, (3, H, W).

        `device`: as torch has it; by default where the picture is. Planes travel to a GPU as YUV
        (1.5 bytes a pixel) and are converted there. Raises `ImportError` without torch.
        """
        from livepeer.trickle.media.frame import tensors

        return tensors.rgb(
            self._picture, self.device if device is None else device, layout, self.view
        )

    def replace(self, picture: Any, format: str | None = None) -> VideoFrame:
        """A frame of another picture, of any size, with this frame's time and colour matrix.

        The pixels are of this frame's shape too: say `new.sample_aspect_ratio = Fraction(1)` of
        pixels that were made square.

        `picture`: a `uint8` array or torch tensor, (H, W, 3) or (3, H, W) RGB, four channels
        RGBA, (H, W) grey; another channel order by `format` as in `from_ndarray`.
        A tensor on a GPU is converted there and stays there.
        """
        if hasattr(picture, "is_cuda"):
            from livepeer.trickle.media.frame import tensors

            new = VideoFrame(tensors.picture_of(picture, format, like=self._picture), owned=True)
        else:
            array, name = array_and_format(picture, format)
            new = VideoFrame(picture_from(array, name, like=self._picture), owned=True)
        new.pts, new.time_base, new.key_frame = self.pts, self.time_base, self.key_frame
        new.sample_aspect_ratio = self.sample_aspect_ratio
        return new

    def snapshot(self) -> VideoFrame:
        """The picture as it is now, as a frame of its own. Nothing is copied here.

        What is written into either of them afterwards, `planes` writes into a copy. Arrays
        of an earlier `planes` become read-only: writing into them would reach both.
        """
        for plane in self._planes or ():
            plane.flags.writeable = False
        self._planes, self._owned = None, False
        return VideoFrame(
            self._picture,
            pts=self.pts,
            time_base=self.time_base,
            key_frame=self.key_frame,
            sample_aspect_ratio=self.sample_aspect_ratio,
        )

    def to_av(self, format: str | None = None) -> Picture:
        """The picture for an encoder: PyAV's frame with this time, in `format` if one is given.

        It shares this frame's memory where no conversion is needed: read it, do not write it.
        """
        picture = self._picture if format is None else converted(self._picture, format)
        picture.pts = self.pts
        picture.time_base = self.time_base
        # A decoded picture carries its source's type, which would force the encoder's hand.
        picture.pict_type = 0
        return picture

    def __repr__(self) -> str:
        time = "untimed" if self.pts is None else f"{float(self.time):.3f} s"
        return f"<VideoFrame {self.width}x{self.height} {self.format} {time}>"
