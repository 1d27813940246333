"""The programs of a transport stream, and which one of them is followed."""

from __future__ import annotations

from collections.abc import Sequence

from livepeer.trickle.media.ts.psi import SectionBuffer, Track, parse_pat, parse_pmt, program_number

_PROGRAMS = 64
"""Programs that are looked at: a whole transponder of television has about thirty."""


class Tables:
    """Feed the packets of `pids`; get the tracks once they are known, and when they change.

    The first program that has a picture is followed, else the first with sound; one without a
    picture only once the tables of all others are known, or when none came until the list of
    programs came again.
    """

    def __init__(self) -> None:
        self.pids: frozenset[int] = frozenset((0,))
        """Where tables are."""
        self._sections: dict[int, SectionBuffer] = {0: SectionBuffer()}
        self._programs: dict[int, int] = {}
        """The programs in their order: the PID of the table of each, by number."""
        self._tracks: dict[int, tuple[Track, ...]] = {}
        self._rounds = 0

    def add(self, pid: int, packet: bytes) -> Sequence[Track] | None:
        """A transport packet of a table: the tracks, where they may have changed."""
        if packet[1] & 0x80 or not packet[3] & 0x10:
            return None
        payload = packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]
        starts = bool(packet[1] & 0x40)
        sections = self._sections[pid].add(payload, starts, packet[3] & 0x0F)
        if pid == 0 and starts and self._tracks:
            self._rounds += 1
            if self._rounds == 2:
                return self._chosen()
        for section in sections:
            if pid == 0:
                self._set_programs(parse_pat(section), section[6])
            elif section[0] == 0x02:
                number = program_number(section)
                told = self._programs.get(number)
                if told is None and list(self._programs.values()).count(pid) == 1:
                    # A table that says another number than the list, alone where it is.
                    number = next(n for n, p in self._programs.items() if p == pid)
                elif told != pid:
                    continue
                self._tracks[number] = parse_pmt(section)
        return self._chosen() if sections else None

    def _set_programs(self, programs: Sequence[tuple[int, int]], section: int) -> None:
        """One list is in several sections only where there are hundreds of programs."""
        if not programs or (section and not self._programs):
            return
        known = self._programs if section else {}
        self._programs = {**known, **dict(programs[:_PROGRAMS])}
        for number in list(self._programs)[_PROGRAMS:]:
            del self._programs[number]
        self.pids = frozenset((0, *self._programs.values()))
        self._sections = {pid: self._sections.get(pid) or SectionBuffer() for pid in self.pids}
        self._tracks = {n: tracks for n, tracks in self._tracks.items() if n in self._programs}
        self._rounds = 0

    def _chosen(self) -> Sequence[Track] | None:
        known = [self._tracks[n] for n in self._programs if self._tracks.get(n)]
        for tracks in known:
            if any(track.kind == "video" for track in tracks):
                return tracks
        if known and (self._rounds >= 2 or len(self._tracks) == len(self._programs)):
            return known[0]
        return None
