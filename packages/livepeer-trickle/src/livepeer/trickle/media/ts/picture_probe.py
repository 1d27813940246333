"""Whether pictures are whole, by decoding them: what no header tells, a decoder finds out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from livepeer.trickle.media.frame.pixels import allowance
from livepeer.trickle.media.ts.units import AccessUnit

if TYPE_CHECKING:
    import av


_JUNK = b"\xb5" * 64
"""What a decoder of HEVC must not get to see behind a slice that is whole."""


def are_whole(codec: str, max_pixels: int, units: Sequence[AccessUnit]) -> bool:
    """Whether nothing is missing in `units`, which begin at a keyframe.

    FFmpeg's decoders of H.264 and MPEG-2 mark pictures with holes, as long as they use one thread.
    That of HEVC does not: what is missing stays zero in a new decoder's first pictures, and where
    a slice is cut, what stands behind it is read as a part of it.
    """
    found = _decode(codec, max_pixels, units, b"")
    if not found or any(picture.is_corrupt for picture in found):
        return False
    if codec != "hevc":
        return True
    again = _decode(codec, max_pixels, units, _JUNK)
    return len(again) == len(found) and all(map(_is_same, found, again))


def _decode(
    codec: str, max_pixels: int, units: Sequence[AccessUnit], junk: bytes
) -> list[av.VideoFrame]:
    from av import CodecContext, Packet
    from av.error import FFmpegError

    context: Any = CodecContext.create(codec, "r")
    context.thread_count = 1
    context.options = {"max_pixels": allowance(max_pixels)}
    if codec == "h264":
        context.options |= {"enable_er": "1"}
    out: list[av.VideoFrame] = []
    try:
        for number, unit in enumerate(units):
            last = number == len(units) - 1
            out += context.decode(Packet(unit.data + junk if last else unit.data))
        out += context.decode(None)
    except FFmpegError:
        return []
    return out


def _is_same(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    blank = True
    for plane, again in zip(one.planes, other.planes, strict=True):
        data = bytes(plane)
        if data != bytes(again):
            return False
        end = (plane.height - 1) * plane.line_size + plane.width
        blank = blank and not any(data[end - 8 : end])
    # Black is not zero in every plane: colour has its middle at 128.
    return not blank
