"""A muxer that writes one stream in every way that ISO/IEC 13818-1 allows, and in some others."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import av

from livepeer.trickle.media.ts.tables import crc32

VIDEO, AUDIO, CLOCK, OTHER = 0x100, 0x101, 0x1F0, 0x1E0
TYPES = {"h264": 0x1B, "hevc": 0x24, "mpeg2video": 0x02, "mpeg4": 0x10}
TYPES |= {"aac": 0x0F, "aac_latm": 0x11, "mp2": 0x03, "ac3": 0x81, "eac3": 0x87}
_NAL = re.compile(b"\0?\0\0\1")

Cuts = Literal["picture", "nal", "slices", "headers", "middle", "bytes", "group"]
Times = Literal["all", "repeated", "third", "references", "late", "none"]


@dataclass(frozen=True)
class Unit:
    """One coded picture, or one frame of sound."""

    data: bytes
    pts: int
    dts: int
    key: bool


@dataclass(frozen=True)
class Style:
    """How the muxer writes. The defaults are those of most muxers."""

    cuts: Cuts = "picture"
    size: int = 0
    times: Times = "all"
    lengths: bool = False
    delimiters: bool = True
    stuffing: Literal["end", "zeros", "everywhere"] = "end"
    #: Packets of video between two clock references (0: there are none), which may stand alone.
    clock: int = 8
    clock_apart: bool = False
    #: Packets between tables; 0: at keyframes.
    tables: int = 0
    long_tables: bool = False
    programs: Literal["one", "silent first", "shared table", "sound first"] = "one"
    #: Every n-th packet is sent twice.
    repeats: int = 0
    nothing: int = 0
    sound_frames: int = 1
    sound_bytes: int = 0
    #: Every n-th packet of sound tells its time, from the one on that is named.
    sound_times: int = 1
    sound_first: int = 0
    shift: int = 0


def draw(rng: random.Random, video: str) -> Style:
    cuts: Cuts = rng.choice(("picture", "nal", "slices", "headers", "middle", "bytes", "group"))
    if video in ("mpeg2video", "mpeg4") and cuts in ("nal", "slices"):
        cuts = "middle"
    times: list[Times] = ["all", "all", "repeated", "third", "references", "late", "none"]
    return Style(
        cuts=cuts,
        size={"bytes": rng.choice((150, 700, 3000)), "group": rng.randint(2, 6)}.get(cuts, 0),
        times=rng.choice(times),
        lengths=rng.random() < 0.5,
        delimiters=rng.random() < 0.7,
        stuffing=rng.choice(("end", "end", "zeros", "everywhere")),
        clock=rng.choice((0, 1, 3, 8)),
        clock_apart=rng.random() < 0.3,
        tables=rng.choice((0, 0, 7, 40)),
        long_tables=rng.random() < 0.2,
        programs=rng.choice(("one", "one", "silent first", "shared table", "sound first")),
        repeats=rng.choice((0, 0, 0, 1, 2, 5)),
        nothing=rng.choice((0, 0, 3)),
        sound_frames=rng.choice((1, 1, 3, 7)),
        sound_bytes=rng.choice((0, 0, 301)),
        sound_times=rng.choice((1, 1, 2)),
        shift=rng.choice((0, 0, (1 << 33) - 150_000)),
    )


def units_of(data: bytes, kind: str) -> list[Unit]:
    """The units of a clip, by FFmpeg's demuxer."""
    with av.open(io.BytesIO(data), "r", format="mpegts") as container:
        stream = getattr(container.streams, kind)[0]
        return [
            Unit(bytes(p), p.pts, p.pts if p.dts is None else p.dts, p.is_keyframe)
            for p in container.demux(stream)
            if p.size
        ]


def nals(data: bytes) -> list[bytes]:
    starts = [code.start() for code in _NAL.finditer(data)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def _is_slice(nal: bytes, codec: str) -> bool:
    head = nal[nal.index(b"\1") + 1]
    return head >> 1 & 0x3F < 32 if codec == "hevc" else head & 0x1F in (1, 5)


def without_delimiter(data: bytes, codec: str) -> bytes:
    heads = {"h264": (0x09,), "hevc": (0x46,)}.get(codec, ())
    return b"".join(n for n in nals(data) if n[n.index(b"\1") + 1] not in heads) if heads else data


@dataclass
class Pes:
    data: bytes
    pts: int | None = None
    dts: int | None = None
    key: bool = False
    due: int = 0


@dataclass
class Muxer:
    style: Style
    video: str
    audio: str | None
    out: bytearray = field(default_factory=bytearray)
    counters: dict[int, int] = field(default_factory=dict)
    written: int = 0

    def mux(self, pictures: list[Unit], sounds: list[Unit]) -> bytes:
        self.tables()
        pieces = [*self._video(pictures), *self._sound(sounds)]
        for pid, pes in sorted(pieces, key=lambda each: each[1].due):
            if pid == VIDEO and pes.key and not self.style.tables:
                self.tables()
            self._pes(pid, pes)
        return bytes(self.out)

    # --- what is in a packet -----------------------------------------------------------------

    def _video(self, pictures: list[Unit]) -> Iterator[tuple[int, Pes]]:
        style = self.style
        cut: list[tuple[Unit, list[bytes]]] = []
        for number, unit in enumerate(pictures):
            data = unit.data
            # The first one keeps it: a stream that begins without is not legal.
            if not style.delimiters and number:
                data = without_delimiter(data, self.video)
            cut.append((unit, self._parts(data)))
        if style.cuts == "bytes":
            yield from self._by_bytes(pictures, [b"".join(parts) for _, parts in cut])
            return
        if style.cuts == "group":
            for n in range(0, len(cut), style.size):
                group = cut[n : n + style.size]
                first = group[0][0]
                pes = Pes(b"".join(b"".join(parts) for _, parts in group), due=first.dts)
                yield VIDEO, self._timed(pes, first, n)
            return
        for n, (unit, parts) in enumerate(cut):
            for k, part in enumerate(parts):
                pes = Pes(part, due=unit.dts)
                if k == 0 or style.times == "repeated":
                    self._timed(pes, unit, n)
                pes.key = unit.key and k == 0
                yield VIDEO, pes

    def _parts(self, data: bytes) -> list[bytes]:
        if self.style.cuts == "middle":
            third = max(1, len(data) // 3)
            return [data[:third], data[third:]]
        if self.style.cuts in ("nal", "slices", "headers"):
            parts = nals(data)
            if self.style.cuts == "nal":
                return parts
            if self.video not in ("h264", "hevc"):
                return [p for p in (parts[0], b"".join(parts[1:])) if p]
            first = next(k for k, nal in enumerate(parts) if _is_slice(nal, self.video))
            if self.style.cuts == "headers":
                # What names the picture stands before the cut, what says more of it behind.
                first = max(1, first - 1)
                return [p for p in (b"".join(parts[:first]), b"".join(parts[first:])) if p]
            return [b"".join(parts[: first + 1]), *parts[first + 1 :]]
        return [data]

    def _by_bytes(self, units: list[Unit], datas: list[bytes]) -> Iterator[tuple[int, Pes]]:
        stream, starts, at = b"".join(datas), [], 0
        for unit, data in zip(units, datas, strict=True):
            starts.append((at, unit))
            at += len(data)
        for n in range(0, len(stream), self.style.size):
            inside = [(k, u) for k, (a, u) in enumerate(starts) if n <= a < n + self.style.size]
            before = [u for a, u in starts if a <= n][-1]
            pes = Pes(stream[n : n + self.style.size], due=before.dts)
            if inside:
                self._timed(pes, inside[0][1], inside[0][0])
            yield VIDEO, pes

    def _timed(self, pes: Pes, unit: Unit, number: int) -> Pes:
        times = self.style.times
        told = times in ("all", "repeated", "late")
        told |= times == "third" and number % 3 == 0
        told |= times == "references" and (unit.key or unit.pts != unit.dts or number == 0)
        pes.key = unit.key
        if told:
            pes.pts, pes.dts = unit.pts, unit.dts
            if times == "late":
                pes.dts = unit.dts + 90_000
        return pes

    def _told(self, packet: int) -> bool:
        first = self.style.sound_first
        return packet >= first and (packet - first) % self.style.sound_times == 0

    def _sound(self, units: list[Unit]) -> Iterator[tuple[int, Pes]]:
        style, count = self.style, 0
        if style.sound_bytes:
            stream, starts, at = b"".join(u.data for u in units), [], 0
            for unit in units:
                starts.append((at, unit))
                at += len(unit.data)
            for n in range(0, len(stream), style.sound_bytes):
                inside = [u for a, u in starts if n <= a < n + style.sound_bytes]
                before = [u for a, u in starts if a <= n][-1]
                pes = Pes(stream[n : n + style.sound_bytes], due=before.pts)
                if inside:
                    pes.pts = inside[0].pts if self._told(count) else None
                    count += 1
                yield AUDIO, pes
            return
        for n in range(0, len(units), style.sound_frames):
            group = units[n : n + style.sound_frames]
            pts = group[0].pts if self._told(count) else None
            count += 1
            yield AUDIO, Pes(b"".join(u.data for u in group), pts, due=group[0].pts)

    # --- packets -----------------------------------------------------------------------------

    def _pes(self, pid: int, pes: Pes) -> None:
        stamps = b""
        if pes.pts is not None:
            both = pid == VIDEO and pes.dts is not None and pes.dts != pes.pts
            stamps = self._stamp(3 if both else 2, pes.pts)
            if both:
                assert pes.dts is not None
                stamps += self._stamp(1, pes.dts)
        flags = {0: 0, 5: 0x80, 10: 0xC0}[len(stamps)]
        length = 3 + len(stamps) + len(pes.data)
        told = length if (self.style.lengths or pid != VIDEO) and length < 65536 else 0
        header = b"\0\0\1" + bytes((0xE0 if pid == VIDEO else 0xC0,)) + told.to_bytes(2, "big")
        rest = header + bytes((0x80, flags, len(stamps))) + stamps + pes.data
        number = 0
        while rest:
            rest = self._packet(pid, rest, number, pes)
            number += 1

    def _packet(self, pid: int, rest: bytes, number: int, pes: Pes) -> bytes:
        style = self.style
        starts = number == 0
        fields = None
        if pid == VIDEO:
            if style.clock and self.written % style.clock == 0:
                if style.clock_apart:
                    self.write(CLOCK, b"", False, b"\x10" + bytes(6))
                else:
                    fields = bytes((0x10 | 0x40 * (starts and pes.key),)) + bytes(6)
            elif starts and pes.key:
                fields = b"\x40"
            if style.stuffing == "everywhere" and number % 2 == 0 and fields is None:
                # From the first picture on: what stuffs at the ends alone is believed to go on so,
                # and costs a group of pictures, once, where it does not (test_decode_muxers.py).
                fields = b"\0" + b"\xff" * (1 + number % 7)
            if style.stuffing == "zeros" and not style.lengths and style.cuts == "picture":
                room = 184 if fields is None else 183 - len(fields)
                rest += bytes(max(0, room - len(rest)))
        self.written += 1
        if style.tables and self.written % style.tables == 0:
            self.tables()
        if style.nothing and self.written % style.nothing == 0:
            self.out += b"\x47\x1f\xff\x10" + b"\xff" * 184
        return self.write(pid, rest, starts, fields)

    def write(self, pid: int, payload: bytes, starts: bool, fields: bytes | None = None) -> bytes:
        """One transport packet; gives the rest of ``payload``."""
        alone = not payload
        counter = self.counters.get(pid, -1) + (not alone) & 15
        self.counters[pid] = counter
        room = 184 if fields is None else 183 - len(fields)
        taken = payload[:room]
        missing = room - len(taken)
        if missing:
            if fields is None:
                fields = b"" if missing == 1 else b"\0" + b"\xff" * (missing - 2)
            else:
                fields = (fields or b"\0" * bool(missing)) + b"\xff" * missing
                fields = fields[: 183 - len(taken)]
        control = (0x10 if fields is None else 0x20 if alone else 0x30) | counter
        packet = bytes((0x47, 0x40 * starts | pid >> 8, pid & 0xFF, control))
        if fields is not None:
            packet += bytes((len(fields),)) + fields
        packet += taken
        assert len(packet) == 188, len(packet)
        self.out += packet
        if self.style.repeats and not alone and self.written % self.style.repeats == 0:
            self.out += packet
        return payload[room:]

    def _stamp(self, prefix: int, value: int) -> bytes:
        value = value + self.style.shift & (1 << 33) - 1
        low = (value >> 15 & 0x7FFF) << 1 | 1
        last = (value & 0x7FFF) << 1 | 1
        return bytes((prefix << 4 | value >> 30 << 1 | 1,)) + low.to_bytes(2) + last.to_bytes(2)

    # --- tables ------------------------------------------------------------------------------

    def tables(self) -> None:
        style = self.style
        main = [(TYPES[self.video], VIDEO)]
        if self.audio:
            main.append((TYPES[self.audio], AUDIO))
        programs: list[tuple[int, int, list[tuple[int, int]]]] = [(7, 0x1000, main)]
        if style.programs == "silent first":
            programs.insert(0, (1, 0xF00, [(0x06, OTHER)]))
        elif style.programs == "sound first":
            programs.insert(0, (1, 0xF00, [(0x0F, OTHER)]))
        elif style.programs == "shared table":
            programs.insert(0, (1, 0x1000, [(0x06, OTHER)]))
        listed = b"".join(
            number.to_bytes(2) + (0xE000 | pid).to_bytes(2) for number, pid, _ in programs
        )
        self._section(0, b"\0" + (0xB000 | 9 + len(listed)).to_bytes(2) + b"\0\1\xc1\0\0" + listed)
        for number, pid, streams in programs:
            info = b"\x05\x04ABCD" + bytes((0x80, 200)) + b"x" * 200 if style.long_tables else b""
            body = b"".join(bytes((k, 0xE0 | p >> 8, p & 0xFF, 0xF0, 0)) for k, p in streams)
            head = number.to_bytes(2) + b"\xc1\0\0" + (0xE000 | CLOCK).to_bytes(2)
            head += (0xF000 | len(info)).to_bytes(2) + info
            length = len(head) + len(body) + 4
            self._section(pid, b"\2" + (0xB000 | length).to_bytes(2) + head + body)

    def _section(self, pid: int, table: bytes) -> None:
        rest = b"\0" + table + crc32(table).to_bytes(4)
        starts = True
        while rest:
            self.write(pid, rest[:184] + b"\xff" * (184 - len(rest)), starts)
            rest, starts = rest[184:], False


def by_ffmpeg(data: bytes, *, broken: bool = False) -> tuple[list[Any], list[Any]]:
    """Pictures and sound as PyAV gives them. ``broken``: it ends in the middle of a frame."""
    pictures, sounds = [], []
    with av.open(io.BytesIO(data), "r", format="mpegts") as container:
        streams = [*container.streams.video[:1], *container.streams.audio[:1]]
        for packet in container.demux(streams):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                assert broken
                continue
            for frame in frames:
                (pictures if isinstance(frame, av.VideoFrame) else sounds).append(frame)
    return pictures, sounds
