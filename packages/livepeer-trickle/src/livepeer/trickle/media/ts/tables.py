"""The tables of a transport stream: its programs, their tracks, and in which codec these are.

ISO/IEC 13818-1 §2.4.4 (sections, program association and program map).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

from livepeer.trickle.media.ts.codecs import CODECS, Codec
from livepeer.trickle.media.ts.units import Track

_TYPES = {number: codec for codec in CODECS.values() for number in codec.types}
_REGISTERED = {name: codec for codec in CODECS.values() for name in codec.registered}
_DVB = {codec.dvb: codec for codec in CODECS.values() if codec.dvb is not None}
_BLURAY = {number: codec for codec in CODECS.values() for number in codec.bluray}

WHOLE = b"\x05\x04LPWU"
"""A registration descriptor (§2.6.8) of our muxer for its program: a packet holds one whole unit,
and stuffing stands at its end alone. A demuxer that knows it need not wait for a second picture to
learn that, nor decode the first one twice; to any other it is a name that says nothing."""

_STUFFING = 0xFF
"""What fills the rest of a packet behind its last section."""
_SECTIONS = 64
"""Sections of one PID that are remembered, to see what is new."""
_PROGRAMS = 64
"""Programs that are looked at: a whole transponder of television has about thirty."""
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits the other way round."""


def crc32(data: bytes) -> int:
    """CRC-32/MPEG-2: zlib's polynomial, bits the other way round and no final inversion.

    It is 0 over an intact section with its own checksum at the end.
    """
    mirrored = zlib.crc32(data.translate(_MIRRORED)) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED))


def make_section(table: int, number: int, version: int, body: bytes) -> bytes:
    """A complete table section with its pointer field and checksum."""
    size = len(body) + 9
    head = bytes((table, 0xB0 | size >> 8, size & 0xFF, number >> 8, number & 0xFF))
    whole = head + bytes((0xC1 | version << 1, 0, 0)) + body
    return b"\0" + whole + crc32(whole).to_bytes(4)


def program_association(version: int, pid: int) -> bytes:
    """The list of one program, whose own table is at `pid`."""
    return make_section(0x00, 1, version, bytes((0, 1, 0xE0 | pid >> 8, pid & 0xFF)))


def program_map(version: int, clock: int, tracks: Iterable[Track]) -> bytes:
    """The table of a program of our muxer, whose clock is in the packets of the PID `clock`."""
    body = bytearray((0xE0 | clock >> 8, clock & 0xFF, 0xF0, len(WHOLE))) + WHOLE
    for track in tracks:
        codec = CODECS[track.codec]
        assert codec.written is not None
        descriptors = b"".join(b"\x05\x04" + name for name in codec.registered[:1])
        if track.codec == "opus":
            descriptors += bytes((0x7F, 2, 0x80, track.channels))
        pid = track.pid
        body += bytes((codec.written, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, len(descriptors)))
        body += descriptors
    return make_section(0x02, 1, version, bytes(body))


class SectionBuffer:
    """Joins the packets of one PID's tables and gives each new, intact section that is in force.

    A section may begin anywhere in a packet, behind the end of another one, and go on in the next
    (the pointer of §2.4.4.2).
    """

    __slots__ = ("_before", "_data", "_last")

    def __init__(self) -> None:
        self._data: bytearray | None = None
        self._last: dict[bytes, bytes] = {}
        """The last section of each program, by the bytes behind its length."""
        self._before: tuple[int, bytes] | None = None

    def add(self, payload: bytes, start: bool, counter: int) -> list[bytes]:
        """The sections that `payload` completes, without those that are as they were."""
        before, self._before = self._before, (counter, payload)
        if before == self._before:
            # Sent twice, which a packet may be.
            return []
        if not start:
            return self._join(payload)
        begin = 1 + (payload[0] if payload else 0)
        out = self._join(payload[1:begin])
        self._data = bytearray()
        return out + self._join(payload[begin:])

    def _join(self, payload: bytes) -> list[bytes]:
        out: list[bytes] = []
        data = self._data
        if data is None:
            return out
        data += payload
        at = 0
        while at + 3 <= len(data) and data[at] != _STUFFING:
            end = at + 3 + ((data[at + 1] & 0x0F) << 8 | data[at + 2])
            if end > len(data):
                break
            section = bytes(data[at:end])
            at = end
            name = section[:1] + section[3:5] + section[6:7]
            if section == self._last.get(name):
                continue
            if len(section) < 12 or crc32(section) != 0:
                # Where it ends is not to be believed either.
                self._data = None
                return out
            if section[5] & 0x01:
                if len(self._last) > _SECTIONS:
                    self._last.clear()
                self._last[name] = section
                out.append(section)
        del data[:at]
        return out


def parse_pat(section: bytes) -> list[tuple[int, int]]:
    """The programs: the number of each, and the PID of its table."""
    if section[0] != 0x00:
        return []
    return [
        (number, (section[at + 2] & 0x1F) << 8 | section[at + 3])
        for at in range(8, len(section) - 7, 4)
        if (number := section[at] << 8 | section[at + 1])
    ]


def program_number(section: bytes) -> int:
    return section[3] << 8 | section[4]


def parse_pmt(section: bytes) -> tuple[Track, ...]:
    """The first video and the first audio track whose codec is known here."""
    found: dict[str, Track] = {}
    end = len(section) - 4
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    types = _TYPES | _BLURAY if b"\x05\x04HDMV" in section[12:at] else _TYPES
    whole = WHOLE in section[12:at]
    while at + 5 <= end:
        pid = (section[at + 1] & 0x1F) << 8 | section[at + 2]
        length = (section[at + 3] & 0x0F) << 8 | section[at + 4]
        told = section[at + 5 : min(at + 5 + length, end)]
        track = _track(types.get(section[at]), pid, told, whole)
        if track is not None:
            found.setdefault(track.kind, track)
        at += 5 + length
    return tuple(found.values())


def _track(known: Codec | None, pid: int, descriptors: bytes, whole: bool) -> Track | None:
    channels = 0
    at = 0
    while at + 2 <= len(descriptors):
        tag, length = descriptors[at], descriptors[at + 1]
        body = descriptors[at + 2 : at + 2 + length]
        if tag == 0x05 and known is None:
            known = _REGISTERED.get(bytes(body[:4]))
        elif tag in _DVB and known is None:
            known = _DVB[tag]
        elif tag == 0x7F and len(body) >= 2 and body[0] == 0x80:
            # Opus in MPEG-TS: 1 to 8 are that many channels, 0 is dual mono.
            channels = body[1] if 0 < body[1] <= 8 else 2
        at += 2 + length
    if known is None:
        return None
    channels = (channels or 2) if known.name == "opus" else 0
    return Track(pid, known.kind, known.name, channels, whole)


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
