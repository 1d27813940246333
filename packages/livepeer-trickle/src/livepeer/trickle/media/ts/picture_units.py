"""Pictures out of elementary packets: where each starts, and which ones a decoder can start at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from livepeer.trickle.media.ts.access_units import AccessUnit
from livepeer.trickle.media.ts.pes import ElementaryPacket
from livepeer.trickle.media.ts.picture_join import Joiner
from livepeer.trickle.media.ts.start_codes import START_CODE, find_pictures, syntax_of


class Pictures:
    """H.264, HEVC, MPEG-1, MPEG-2 and MPEG-4 video, however a muxer puts it into packets.

    As long as each packet holds whole pictures they are given at once. A packet that holds anything
    else shows a muxer that cuts pictures: from then on a picture is held back until the next one
    starts (`.picture_join.Joiner`). The first packets are tried by `are_whole`, since a
    picture without its last slices looks whole. Damage can look like a cut, so many whole packets
    in a row take that back, a few times at most.
    """

    WHOLE = 16
    """Whole packets after which a muxer is believed to cut no pictures (any more)."""
    TRUST = 3
    """How often that is believed."""
    PROOF = 1
    """Packets from the first keyframe on that are tried: each is decoded once more for it."""

    def __init__(
        self, codec: str, are_whole: Callable[[Sequence[AccessUnit]], bool] | None = None
    ) -> None:
        self._syntax = syntax_of(codec)
        self._shape = syntax_of(codec)
        """What looks at single packets while the joiner uses the other one."""
        self._are_whole = are_whole
        self._tried: list[AccessUnit] = []
        self._packets_tried = 0
        self._joiner: Joiner | None = None
        self._needed = self.WHOLE
        """Packets in a row that have to be whole before the joiner is left."""
        self._cuts = 0
        self._whole = 0
        self._given = False
        self._lost = False

    def split(self, packet: ElementaryPacket) -> list[AccessUnit]:
        lost = packet.lost or self._lost
        if packet.lost:
            self._tried = []
            self._syntax.reset()
            self._shape.reset()
            if self._joiner is not None:
                self._joiner.lose()
        if self._joiner is not None:
            return self._join(self._joiner, packet)
        found = find_pictures(self._syntax, packet.data)
        if not found.whole and not (lost and found.tail is None):
            return self._begin_to_join(packet, lost or (self._given and not found.from_start))
        self._lost = not found.starts
        units: list[AccessUnit] = []
        pts, dts, data = packet.pts, packet.dts, packet.data
        for i, start in enumerate(found.starts):
            end = found.starts[i + 1] if i + 1 < len(found.starts) else len(data)
            key = found.keys[i] or (i == 0 and packet.random_access)
            part = data if end - start == len(data) else data[start:end]
            units.append(AccessUnit(part, pts, dts, key, lost, packet.damaged))
            # The time in a packet's header belongs to the first picture that starts in it.
            pts = dts = None
            lost = False
        if units and (packet.is_full or not self._proven(packet, units)):
            # As long as a packet can be: likely the picture did not fit.
            return self._begin_to_join(packet, units[0].lost, 1 if packet.is_full else self.WHOLE)
        self._given = self._given or bool(units)
        return units

    def flush(self) -> list[AccessUnit]:
        self._given = False
        return [] if self._joiner is None else self._joiner.finish()

    def _proven(self, packet: ElementaryPacket, units: list[AccessUnit]) -> bool:
        if self._are_whole is None or self._packets_tried == self.PROOF or packet.damaged:
            return True
        if not self._tried and not units[0].key:
            # No decoder can start here.
            return True
        self._tried += units
        self._packets_tried += 1
        if not self._are_whole(self._tried):
            return False
        if self._packets_tried == self.PROOF:
            self._tried = []
        return True

    def _begin_to_join(
        self, packet: ElementaryPacket, lost: bool, needed: int = WHOLE
    ) -> list[AccessUnit]:
        """`lost`: what `packet` goes on with is lost, or was given as if it were whole."""
        self._tried = []
        self._syntax.reset()
        self._joiner = Joiner(self._syntax)
        self._needed = needed
        self._whole = 0
        self._lost = False
        if lost:
            self._joiner.lose()
        return self._joiner.add(packet)

    def _join(self, joiner: Joiner, packet: ElementaryPacket) -> list[AccessUnit]:
        out = joiner.add(packet)
        found = find_pictures(self._shape, packet.data)
        if found.whole:
            self._whole += 1
        else:
            self._whole = 0
            self._cuts += not found.from_start and not packet.lost
            self._needed = self.WHOLE
        if self._whole >= self._needed and self._cuts <= self.TRUST and not packet.is_full:
            out += joiner.finish()
            self._joiner = None
            self._given = True
        return out


def parameter_sets(codec: str, data: bytes) -> bytes:
    """The bytes of a keyframe that say the picture's size, to see whether they changed."""
    if codec not in ("h264", "hevc"):
        at = data.find(b"\0\0\1\xb3")
        return data[at : at + 12] if at >= 0 else b""
    at = data.find(b"\0\0\1")
    while at >= 0 and at + 3 < len(data):
        after = data.find(b"\0\0\1", at + 3)
        kind = data[at + 3] & 0x1F if codec == "h264" else data[at + 3] >> 1 & 0x3F
        if kind == (7 if codec == "h264" else 33):
            return data[at : after if after >= 0 else len(data)]
        at = after
    return b""


def stands_alone(codec: str, data: bytes) -> bool:
    """Whether a keyframe brings all that a decoder has to know before it."""
    if codec not in ("h264", "hevc", "mpeg4"):
        return b"\0\0\1\xb3" in data
    heads = {data[code.end()] for code in START_CODE.finditer(data, 0, max(0, len(data) - 1))}
    if codec == "h264":
        return {7, 8} <= {head & 0x1F for head in heads}
    if codec == "mpeg4":
        return any(0x20 <= head < 0x30 for head in heads)
    return {32, 33, 34} <= {head >> 1 & 0x3F for head in heads}
