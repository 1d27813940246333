"""MPEG-TS (ISO/IEC 13818-1) out of encoded frames, without a frame of delay.

FFmpeg's own muxer is reached through an interleaver that holds a packet back until the other track
has one too, and it moves all timestamps. Packetizing is small, so it is done here: the bytes of a
frame are complete the moment it is encoded, timestamps are the frame's own to the tick, continuity
counters run on across segments, and the tables stand wherever a segment begins.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from livepeer.trickle.media.frame.clock import MPEG_WRAP
from livepeer.trickle.media.frame.packets import Kind
from livepeer.trickle.media.ts.audio_headers import opus_control
from livepeer.trickle.media.ts.codecs import CODECS
from livepeer.trickle.media.ts.tables import program_association, program_map
from livepeer.trickle.media.ts.units import PACKET_SIZE, Track

_MASK = MPEG_WRAP - 1

PMT_PID = 0x1000
PIDS: dict[Kind, int] = {"video": 0x100, "audio": 0x101}

PCR_LEAD = 9_000
"""Decoders get a frame this much before it is due on the clock (PCR); it delays nothing."""


@lru_cache(64)
def track_of(kind: Kind, codec: str, channels: int = 0) -> Track:
    """A track as the muxer writes it, under its own PID.

    Channels are told in the tables for Opus alone (the default is 2): for others a change of them
    is no news.
    """
    return Track(PIDS[kind], kind, codec, (channels or 2) if codec == "opus" else 0)


class TransportStreamMuxer:
    """Turns access units into 188-byte packets: one program, at most one video and one audio track.

    Times are ticks of 1/90000 s of any size; they are wrapped to 33 bits here.
    Video is Annex B, AAC is ADTS, an Opus packet is bare.

    A packet tells its length where 16 bits can (2.4.3.7). A picture of 64 KB or more, as large
    keyframes are, has to leave it open: there is no other standard form for it in one packet, and
    many readers want a picture in one. Demuxers that wait for the next start give such a picture
    out one frame late; ours takes the stuffing at its end for the end, since the table says that it
    is (`tables.WHOLE`).
    """

    def __init__(self) -> None:
        self._tracks: dict[Kind, Track] = {}
        self._counters: dict[int, int] = {}
        self._version = -1
        self._tables: list[tuple[int, bytes]] = []

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that the tables announce."""
        return tuple(self._tracks.values())

    @staticmethod
    def carries(codec: str) -> bool:
        """Whether MPEG-TS has a place for it."""
        return codec in CODECS and CODECS[codec].written is not None

    def check(self, track: Track) -> None:
        """Raise `ValueError` for a codec that MPEG-TS has no place for."""
        if not self.carries(track.codec):
            carried = ", ".join(sorted(name for name in CODECS if self.carries(name)))
            raise ValueError(f"{track.codec} has no place in MPEG-TS; it carries {carried}")

    def announce(self, track: Track) -> bool:
        """Put `track` into the tables, in the place of one of its kind. True if that is news."""
        told = self._tracks.get(track.kind)
        # Mostly one and the same object, once for each frame.
        if told is track or told == track:
            return False
        self.check(track)
        self._tracks[track.kind] = track
        self._renew_tables()
        return True

    def withdraw(self, kind: Kind) -> None:
        """Take a track that does not come out of the tables."""
        del self._tracks[kind]
        self._renew_tables()

    def _renew_tables(self) -> None:
        self._version = (self._version + 1) % 32
        clock = PIDS["video" if "video" in self._tracks else "audio"]
        tracks = [self._tracks[kind] for kind in PIDS if kind in self._tracks]
        self._tables = [
            (0, program_association(self._version, PMT_PID)),
            (PMT_PID, program_map(self._version, clock, tracks)),
        ]

    def tables(self) -> bytes:
        """PAT and PMT: what a decoder needs to begin."""
        return b"".join(
            self._packets(pid, section, b"", fill=True) for pid, section in self._tables
        )

    def access_unit(
        self,
        kind: Kind,
        data: bytes | memoryview,
        pts: int,
        dts: int | None = None,
        *,
        random_access: bool = False,
        discontinuity: bool = False,
    ) -> bytes:
        """The packets of one frame. `discontinuity`: its clock is a new one."""
        track = self._tracks[kind]
        dts = pts if dts is None else dts
        flags = 0x80 * discontinuity | 0x40 * random_access
        adaptation = b""
        if kind == "video" or "video" not in self._tracks:
            adaptation = bytes((flags | 0x10,)) + _pcr(dts)
        elif flags:
            adaptation = bytes((flags,))
        header = _pes_header(track, len(data), pts, dts)
        return self._packets(track.pid, header, adaptation, data)

    def _packets(
        self,
        pid: int,
        head: bytes,
        adaptation: bytes,
        data: bytes | memoryview = b"",
        *,
        fill: bool = False,
    ) -> bytes:
        """`head` + `data` as packets of `pid`; `fill` pads behind (tables), not before."""
        counter = self._counters.get(pid, 0)
        first = len(adaptation) + 1 if adaptation else 0
        room = 184 - first - len(head)
        if fill or len(data) <= room:
            self._counters[pid] = (counter + 1) & 15
            payload = head + bytes(data)
            if fill:
                payload += b"\xff" * (184 - len(payload))
            return _packet(pid, counter, payload, adaptation, start=True)
        begin = _packet(pid, counter, head + bytes(data[:room]), adaptation, start=True)
        whole, rest = divmod(len(data) - room, 184)
        middle = np.empty((whole, PACKET_SIZE), np.uint8)
        heads = (_plain_heads(pid) * (whole // 16 + 2))[4 * (counter + 1) :][: 4 * whole]
        middle[:, :4] = np.frombuffer(heads, np.uint8).reshape(whole, 4)
        middle[:, 4:] = np.frombuffer(data, np.uint8, whole * 184, room).reshape(whole, 184)
        self._counters[pid] = (counter + 1 + whole + bool(rest)) & 15
        end = b""
        if rest:
            end = _packet(pid, counter + 1 + whole, bytes(data[-rest:]), b"", start=False)
        return b"".join((begin, middle.tobytes(), end))


@cache
def _plain_heads(pid: int) -> bytes:
    """The headers of 16 packets in a row, of payload alone."""
    return b"".join(bytes((0x47, pid >> 8, pid & 0xFF, 0x10 | counter)) for counter in range(16))


def _packet(pid: int, counter: int, payload: bytes, adaptation: bytes, *, start: bool) -> bytes:
    """One packet; what `payload` does not fill is stuffing in the adaptation field."""
    missing = 184 - len(payload)
    control = 0x10
    field = b""
    if missing:
        control = 0x30
        adaptation = adaptation or (b"\0" if missing > 1 else b"")
        field = bytes((missing - 1,)) + adaptation + b"\xff" * (missing - 1 - len(adaptation))
    header = bytes((0x47, 0x40 * start | pid >> 8, pid & 0xFF, control | counter & 15))
    return header + field + payload


def _pes_header(track: Track, size: int, pts: int, dts: int) -> bytes:
    both = pts != dts
    if track.codec == "opus":
        stream_id, prefix = 0xBD, opus_control(size)
    else:
        stream_id, prefix = (0xE0 if track.kind == "video" else 0xC0), b""
    length = 3 + (10 if both else 5) + len(prefix) + size
    if length > 0xFFFF:
        # Only video may leave its length open (2.4.3.7); its end is then the next frame's start.
        length = 0
    stamps = _stamp(0x3 if both else 0x2, pts) + (_stamp(0x1, dts) if both else b"")
    flags = bytes((0x84, 0xC0 if both else 0x80, len(stamps)))
    return b"\0\0\1" + bytes((stream_id,)) + length.to_bytes(2, "big") + flags + stamps + prefix


def _stamp(prefix: int, value: int) -> bytes:
    value &= _MASK
    return bytes(
        (
            prefix << 4 | value >> 29 & 0x0E | 1,
            value >> 22 & 0xFF,
            value >> 14 & 0xFE | 1,
            value >> 7 & 0xFF,
            value << 1 & 0xFE | 1,
        )
    )


def _pcr(dts: int) -> bytes:
    base = (dts - PCR_LEAD if dts >= PCR_LEAD else min(dts, 0)) & _MASK
    return ((base << 15) | 0x7E00).to_bytes(6, "big")
