"""Pictures as they are to be seen: turned and mirrored as their display matrix says."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE

if TYPE_CHECKING:
    import av


_TURNS: dict[tuple[int, int, int, int], tuple[tuple[tuple[str, str], ...], bool]] = {
    (-1, 0, 0, 1): ((("hflip", ""),), False),
    (1, 0, 0, -1): ((("vflip", ""),), False),
    (-1, 0, 0, -1): ((("hflip", ""), ("vflip", "")), False),
    (0, 1, -1, 0): ((("transpose", "clock"),), True),
    (0, -1, 1, 0): ((("transpose", "cclock"),), True),
    (0, 1, 1, 0): ((("transpose", "cclock_flip"),), True),
    (0, -1, -1, 0): ((("transpose", "clock_flip"),), True),
}
"""Signs of the display matrix (how x and y of the picture go right and down on the screen) to
what libavfilter has to do, and whether width and height change places."""

_AS_IT_IS = (1, 0, 0, 1)
"""Quarter turns, counted against the clock as PyAV tells them."""
_QUARTERS = (_AS_IT_IS, (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))


class Upright:
    """Turns the pictures of one track; keeps its filter between pictures. Not thread-safe."""

    def __init__(self) -> None:
        self._axes = _AS_IT_IS
        self._key: tuple[Any, ...] = ()
        self._graph: Any = None

    def turn(self, picture: av.VideoFrame, shape: Fraction) -> tuple[av.VideoFrame, Fraction]:
        """The upright picture and the shape of its pixels: what was given, where nothing is told.

        Angles between the quarter turns are left as they are, and pictures on a GPU.
        """
        told = _axes(picture)
        if told is not None or picture.key_frame:
            # In the stream itself it is told once, and holds until the next keyframe.
            self._axes = told or _AS_IT_IS
        if self._axes == _AS_IT_IS:
            return picture, shape
        turn = _TURNS.get(self._axes)
        if turn is None or picture.format.name == "cuda":
            return picture, shape
        filters, swaps = turn
        key = (filters, picture.width, picture.height, picture.format.name)
        if key != self._key:
            self._key, self._graph = key, _graph(picture, filters)
        self._graph.push(picture)
        upright: av.VideoFrame = self._graph.pull()
        return upright, 1 / shape if swaps else shape


def _axes(picture: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """The directions of x and y on the screen, where they are told."""
    if not picture.key_frame and not picture.rotation:
        return None
    from av.sidedata.sidedata import SideDataContainer

    try:
        # Not `picture.side_data`, which the picture keeps, and which keeps the picture: the memory
        # of each would only be free again when Python looks for cycles.
        side_data: Any = SideDataContainer(picture)  # type: ignore[call-arg]
    except ValueError:
        # PyAV 18.1 gives up where it does not know a kind of side data, as of EXIF.
        return _QUARTERS[round(picture.rotation / 90) % 4] if picture.rotation else None
    if not side_data or "DISPLAYMATRIX" not in side_data:
        return None
    matrix = bytes(side_data["DISPLAYMATRIX"])
    if len(matrix) < 36:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    largest = max(abs(a), abs(b), abs(c), abs(d), 1)
    a, b, c, d = (round(value / largest) for value in (a, b, c, d))
    return a, b, c, d


def _graph(picture: av.VideoFrame, filters: tuple[tuple[str, str], ...]) -> Any:
    from av.filter import Graph

    graph = Graph()
    nodes = [
        graph.add_buffer(
            width=picture.width,
            height=picture.height,
            format=picture.format,
            time_base=picture.time_base or MPEG_TIME_BASE,
        )
    ]
    nodes += [graph.add(name, argument or None) for name, argument in filters]
    # What was applied is not told any longer: an encoder would write it down once more.
    nodes += [graph.add("sidedata", "mode=delete:type=DISPLAYMATRIX"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph
