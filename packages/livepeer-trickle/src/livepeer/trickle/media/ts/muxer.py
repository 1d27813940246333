"""MPEG-TS (ISO/IEC 13818-1) out of encoded frames, without a frame of delay.

FFmpeg's own muxer is reached through an interleaver that holds a packet back until the other track
has one too, and it moves all timestamps. Packetizing is small, so it is done here: the bytes of a
frame are complete the moment it is encoded, timestamps are the frame's own to the tick, continuity
counters run on across segments, and the tables stand wherever a segment begins.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

PACKET_SIZE = 188
PMT_PID = 0x1000
VIDEO_PID = 0x100
AUDIO_PID = 0x101

PCR_LEAD = 9_000
"""Decoders get a frame this much before it is due on the clock (PCR); it delays nothing."""

_MASK33 = (1 << 33) - 1
_OPUS = bytes.fromhex("05044f707573")
_TYPES: dict[str, tuple[int, bytes]] = {
    "h264": (0x1B, b""),
    "hevc": (0x24, bytes.fromhex("050448455643")),
    "mpeg2video": (0x02, b""),
    "mpeg1video": (0x01, b""),
    "mpeg4": (0x10, b""),
    "aac": (0x0F, b""),
    "aac_latm": (0x11, b""),
    "mp1": (0x03, b""),
    "mp2": (0x03, b""),
    "mp3": (0x03, b""),
    "ac3": (0x81, bytes.fromhex("050441432d33")),
    "opus": (0x06, _OPUS),
}


class TsTrack(NamedTuple):
    """One elementary stream by FFmpeg's codec name; `channels` matters for Opus only."""

    kind: Literal["video", "audio"]
    codec: str
    channels: int = 2


class TransportStreamMuxer:
    """Turns access units into 188-byte packets: one program, at most one video and one audio track.

    Times are ticks of 1/90000 s of any size; they are wrapped to 33 bits here.
    Video is Annex B, AAC is ADTS, an Opus packet is bare.

    A packet tells its length where 16 bits can (2.4.3.7). A picture of 64 KB or more, as large
    keyframes are, has to leave it open: there is no other standard form for it in one packet, and
    many readers want a picture in one. Demuxers that wait for the next start give such a picture
    out one frame late; ours also takes the stuffing at its end for the end.
    """

    def __init__(self) -> None:
        self._tracks: dict[str, TsTrack] = {}
        self._counters: dict[int, int] = {}
        self._version = -1
        self._tables: list[tuple[int, bytes]] = []

    @property
    def tracks(self) -> tuple[TsTrack, ...]:
        """The tracks that the tables announce."""
        return tuple(self._tracks.values())

    @staticmethod
    def carries(codec: str) -> bool:
        """Whether MPEG-TS has a place for it."""
        return codec in _TYPES

    def check(self, track: TsTrack) -> None:
        """Raise `ValueError` for a codec that MPEG-TS has no place for."""
        if not self.carries(track.codec):
            raise ValueError(
                f"{track.codec} has no place in MPEG-TS; it carries {', '.join(sorted(_TYPES))}"
            )

    def announce(self, track: TsTrack) -> bool:
        """Put `track` into the tables, in the place of one of its kind. True if that is news."""
        self.check(track)
        if self._tracks.get(track.kind) == track:
            return False
        self._tracks[track.kind] = track
        self._renew_tables()
        return True

    def withdraw(self, kind: Literal["video", "audio"]) -> None:
        """Take a track that does not come out of the tables."""
        del self._tracks[kind]
        self._renew_tables()

    def _renew_tables(self) -> None:
        self._version = (self._version + 1) % 32
        self._tables = [(0, self._pat()), (PMT_PID, self._pmt())]

    def tables(self) -> bytes:
        """PAT and PMT: what a decoder needs to begin."""
        return b"".join(
            self._packets(pid, section, b"", fill=True) for pid, section in self._tables
        )

    def access_unit(
        self,
        kind: Literal["video", "audio"],
        data: bytes | memoryview,
        pts: int,
        dts: int | None = None,
        *,
        random_access: bool = False,
        discontinuity: bool = False,
    ) -> bytes:
        """The packets of one frame. `discontinuity`: its clock is a new one."""
        track = self._tracks[kind]
        pid = VIDEO_PID if kind == "video" else AUDIO_PID
        dts = pts if dts is None else dts
        flags = 0x80 * discontinuity | 0x40 * random_access
        adaptation = b""
        if kind == "video" or "video" not in self._tracks:
            adaptation = bytes((flags | 0x10,)) + _pcr(dts)
        elif flags:
            adaptation = bytes((flags,))
        header = _pes_header(track, len(data), pts, dts)
        return self._packets(pid, header, adaptation, data)

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

    def _pat(self) -> bytes:
        return _section(0x00, 1, self._version, bytes((0, 1, 0xE0 | PMT_PID >> 8, PMT_PID & 0xFF)))

    def _pmt(self) -> bytes:
        clock = VIDEO_PID if "video" in self._tracks else AUDIO_PID
        body = bytearray((0xE0 | clock >> 8, clock & 0xFF, 0xF0, 0))
        for kind in ("video", "audio"):
            if (track := self._tracks.get(kind)) is None:
                continue
            pid = VIDEO_PID if kind == "video" else AUDIO_PID
            stream_type, descriptors = _TYPES[track.codec]
            if track.codec == "opus":
                descriptors += bytes((0x7F, 2, 0x80, track.channels))
            body += bytes((stream_type, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, len(descriptors)))
            body += descriptors
        return _section(0x02, 1, self._version, bytes(body))


def delimited(data: bytes, codec: str) -> bytes:
    """An Annex B picture with the access unit delimiter that MPEG-TS asks for (2.14.1)."""
    if codec == "h264":
        delimiter, kind, present = b"\0\0\0\1\x09\xf0", 0x1F, 9
    elif codec == "hevc":
        delimiter, kind, present = b"\0\0\0\1\x46\1\x50", 0x7E, 0x46
    else:
        return data
    start = 4 if data[:4] == b"\0\0\0\1" else 3
    return data if data[start : start + 1] and data[start] & kind == present else delimiter + data


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


def _pes_header(track: TsTrack, size: int, pts: int, dts: int) -> bytes:
    both = pts != dts
    if track.codec == "opus":
        stream_id, prefix = 0xBD, _opus_control(size)
    else:
        stream_id, prefix = (0xE0 if track.kind == "video" else 0xC0), b""
    length = 3 + (10 if both else 5) + len(prefix) + size
    if length > 0xFFFF:
        # Only video may leave its length open (2.4.3.7); its end is then the next frame's start.
        length = 0
    stamps = _stamp(0x3 if both else 0x2, pts) + (_stamp(0x1, dts) if both else b"")
    flags = bytes((0x84, 0xC0 if both else 0x80, len(stamps)))
    return b"\0\0\1" + bytes((stream_id,)) + length.to_bytes(2, "big") + flags + stamps + prefix


def _opus_control(size: int) -> bytes:
    """The control header before each packet, by the mapping "Opus in MPEG-TS" of opus-codec.org."""
    return b"\x7f\xe0" + b"\xff" * (size // 255) + bytes((size % 255,))


def _stamp(prefix: int, value: int) -> bytes:
    value &= _MASK33
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
    base = (dts - PCR_LEAD if dts >= PCR_LEAD else min(dts, 0)) & _MASK33
    return ((base << 15) | 0x7E00).to_bytes(6, "big")


def _section(table: int, number: int, version: int, body: bytes) -> bytes:
    """A complete table section with its pointer field and checksum."""
    size = len(body) + 9
    section = bytes((table, 0xB0 | size >> 8, size & 0xFF, number >> 8, number & 0xFF))
    section += bytes((0xC1 | version << 1, 0, 0)) + body
    return b"\0" + section + _crc32(section).to_bytes(4, "big")


def _crc32(data: bytes) -> int:
    """CRC-32/MPEG-2: zlib's polynomial, bits the other way round and no final inversion."""
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
    return int(f"{zlib.crc32(mirrored) ^ 0xFFFFFFFF:032b}"[::-1], 2)
