"""Pictures out of elementary packets: where each starts, and which ones a decoder can start at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from livepeer.trickle.media.ts.start_codes import (
    START_CODE,
    TO_THE_END,
    Role,
    Syntax,
    beginning,
    find_pictures,
)
from livepeer.trickle.media.ts.units import AccessUnit, ElementaryPacket

_LIMIT = 32 << 20
"""Bytes of a picture that goes on and on: past this it is none."""
_PACKETS = 1 << 14
"""Packets of one picture: one for each slice, and more."""


class Pictures:
    """H.264, HEVC, MPEG-1, MPEG-2 and MPEG-4 video, however a muxer puts it into packets.

    As long as each packet holds whole pictures they are given at once. A packet that holds anything
    else shows a muxer that cuts pictures: from then on a picture is held back until the next one
    starts (`Joiner`). The first packets are tried by `are_whole`, since a
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
        self,
        syntax: type[Syntax],
        are_whole: Callable[[Sequence[AccessUnit]], bool] | None = None,
    ) -> None:
        self._syntax = syntax()
        self._shape = syntax()
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


@dataclass(slots=True)
class _Mark:
    """Where the bytes of a packet begin, and what its header says of the first picture in it."""

    at: int
    pts: int | None
    dts: int | None
    random_access: bool
    damaged: bool


class Joiner:
    """Pictures of a muxer that cuts them: each is known to be whole when the next one begins.

    Takes the packets of a track as one run of bytes, in linear time.
    """

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self._lost = False
        self._clear()

    def _clear(self) -> None:
        self._data = bytearray()
        self._marks: list[_Mark] = []
        self._scanned = 0
        self._start: int | None = None
        """The picture under way: from where on, whether anything of the picture itself has come."""
        self._coded = False
        self._key = False
        self._pts: int | None = None
        self._dts: int | None = None
        self._random_access = False

    def lose(self) -> None:
        """Something is missing here, and with it the picture under way."""
        self._clear()
        self._syntax.reset()
        self._lost = True

    def add(self, packet: ElementaryPacket) -> list[AccessUnit]:
        """The pictures that are whole now."""
        self._marks.append(
            _Mark(len(self._data), packet.pts, packet.dts, packet.random_access, packet.damaged)
        )
        self._data += packet.data
        out = self._scan()
        if len(self._data) > _LIMIT or len(self._marks) > _PACKETS:
            self.lose()
        return out

    def finish(self) -> list[AccessUnit]:
        """What is under way is whole: the next packet begins with a picture."""
        out = self._scan(final=True)
        if self._start is not None and self._coded:
            out.append(self._unit(len(self._data), len(self._data)))
        self._clear()
        return out

    def _scan(self, *, final: bool = False) -> list[AccessUnit]:
        """Look at the start codes behind which there is enough to tell what they are."""
        data, out = self._data, []
        codes = [code.start() for code in START_CODE.finditer(data, self._scanned)]
        self._scanned = max(self._scanned, len(data) - 2)
        for at in codes:
            look = 4 if at + 3 >= len(data) else self._syntax.look(data[at + 3])
            told = at + look <= len(data) or (look == TO_THE_END and at != codes[-1])
            if not told and not final:
                self._scanned = at
                break
            role = self._syntax.role(data, at)
            if role == Role.NONE:
                continue
            begins = self._coded or self._start is None or role == Role.DELIMITS
            if begins and role != Role.MORE:
                begin = beginning(self._syntax, data, at)
                if self._coded:
                    out.append(self._unit(begin, at))
                self._begin(begin, at)
            if self._start is None:
                # The rest of a picture that began before all this.
                continue
            self._key |= role in (Role.OPENS_KEY, Role.FIRST_KEY)
            self._coded |= role >= Role.FIRST
        self._drop()
        return out

    def _begin(self, begin: int, at: int) -> None:
        self._start = begin
        self._coded = self._key = False
        while len(self._marks) > 1 and self._marks[1].at <= at:
            del self._marks[0]
        # The time in a packet's header belongs to the first picture that starts in it.
        mark = self._marks[0]
        self._pts, self._dts, self._random_access = mark.pts, mark.dts, mark.random_access
        mark.pts = mark.dts = None
        mark.random_access = False

    def _unit(self, end: int, at: int) -> AccessUnit:
        """The picture under way, which ends before `end`; the next start code is at `at`."""
        marks = self._marks
        damaged = any(mark.damaged for mark in marks if mark.at < end)
        if self._pts is None:
            # A packet in which no picture starts, but which has a time: it is of this one.
            ends = [mark.at for mark in marks[2:]] + [len(self._data)]
            for mark, after in zip(marks[1:], ends, strict=False):
                if mark.pts is not None and after <= at:
                    self._pts, self._dts = mark.pts, mark.dts
                    break
        unit = AccessUnit(
            bytes(memoryview(self._data)[self._start : end]),
            self._pts,
            self._dts,
            self._key or self._random_access,
            self._lost,
            damaged,
        )
        self._lost = False
        return unit

    def _drop(self) -> None:
        """Forget the bytes before the picture under way."""
        gone = self._scanned if self._start is None else self._start
        if not gone:
            return
        del self._data[:gone]
        self._scanned -= gone
        if self._start is not None:
            self._start = 0
        while len(self._marks) > 1 and self._marks[1].at <= gone:
            del self._marks[0]
        for mark in self._marks:
            mark.at -= gone
