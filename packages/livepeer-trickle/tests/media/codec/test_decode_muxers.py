"""Transport streams as different muxers write them: every picture, at its tick, as early as safe.

FFmpeg's muxer is FFmpeg's own. The others are written here by the rules that their sources show:
where a packet ends, what is stuffed, where a clock reference stands, what shares a packet.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.codec.encoder import SegmentEncoder
from livepeer.trickle.media.codec.outputs import AudioOutput, VideoOutput
from livepeer.trickle.media.frame import AudioFrame, MediaPacket, VideoFrame
from livepeer.trickle.media.ts.tables import crc32


@dataclass(frozen=True)
class Style:
    """How a muxer writes: defaults are those of most muxers."""

    lengths: bool = False
    #: Put a clock reference into every n-th packet of a picture.
    clock_every: int = 0
    #: Stuff the n-th packet of each picture too, not its last one alone.
    stuff_middle: int = 0
    #: Pad with packets of nothing instead of stuffing (the picture is filled with zero bytes).
    fill_with_zeros: bool = False
    #: Pictures in one PES packet, and PES packets for one picture.
    pictures_per_pes: int = 1
    pes_per_picture: int = 1
    #: Pieces of audio that ignore frame borders.
    audio_piece: int = 0
    private_data: bool = False
    null_packets: bool = False
    split_tables: bool = False
    delimiters: bool = True


class Muxer:
    """A transport stream out of access units, in a given style."""

    def __init__(self, style: Style, audio_type: int | None = None) -> None:
        self.style = style
        self.audio_type = audio_type
        self.counters: dict[int, int] = {}
        self.out = bytearray()

    def packet(self, pid: int, payload: bytes, start: bool, field: bytes | None = None) -> bytes:
        """The rest of ``payload`` that did not fit."""
        counter = self.counters.get(pid, 0)
        self.counters[pid] = (counter + 1) & 15
        room = 184 if field is None else 183 - len(field)
        taken = payload[:room]
        if len(taken) < room:
            missing = room - len(taken)
            if field is None:
                field = b"" if missing == 1 else b"\0" + b"\xff" * (missing - 2)
            else:
                field += b"\xff" * missing if field else b"\0" + b"\xff" * (missing - 1)
        control = 0x10 if field is None else 0x30
        self.out += bytes((0x47, 0x40 * start | pid >> 8, pid & 0xFF, control | counter))
        if field is not None:
            self.out += bytes((len(field),)) + field
        self.out += taken
        assert len(self.out) % 188 == 0
        return payload[room:]

    def tables(self) -> None:
        pat = b"\x00\xb0\x0d\0\1\xc1\0\0\0\1\xf0\0"
        streams = bytes((0x1B, 0xE1, 0, 0xF0, 0))
        if self.audio_type is not None:
            streams += bytes((self.audio_type, 0xE1, 1, 0xF0, 0))
        info = b""
        if self.style.split_tables:
            info = b"\x05\x04ABCD" + bytes((0x80, 200)) + b"x" * 200
        length = 13 + len(info) + len(streams)
        pmt = bytes((0x02, 0xB0 | length >> 8, length & 0xFF, 0, 1, 0xC1, 0, 0, 0xE1, 0))
        pmt += bytes((0xF0 | len(info) >> 8, len(info) & 0xFF)) + info + streams
        self.section(0, pat)
        self.section(0x1000, pmt)

    def section(self, pid: int, table: bytes) -> None:
        rest = b"\0" + table + crc32(table).to_bytes(4, "big")
        start = True
        while rest:
            piece, rest = rest[:184], rest[184:]
            self.packet(pid, piece + b"\xff" * (184 - len(piece)), start)
            start = False

    def pes(self, pid: int, data: bytes, pts: int | None, dts: int | None, key: bool) -> None:
        stamps = b""
        if pts is not None:
            stamps = stamp(3 if dts is not None else 2, pts)
            if dts is not None:
                stamps += stamp(1, dts)
        flags = 0xC0 if dts is not None and stamps else 0x80 if stamps else 0
        length = 3 + len(stamps) + len(data)
        bounded = self.style.lengths or pid != 0x100
        header = b"\0\0\1" + bytes((0xE0 if pid == 0x100 else 0xC0,))
        header += (length if bounded and length < 65536 else 0).to_bytes(2, "big")
        header += bytes((0x84, flags, len(stamps))) + stamps
        rest = header + data
        if self.style.fill_with_zeros and pid == 0x100:
            room = 184 - (8 if key else 0)
            rest += bytes(-(len(rest) - room) % 184)
        number = 0
        while rest:
            field = None
            if number == 0 and key and pid == 0x100:
                field = b"\x50" + bytes(6)
            elif pid == 0x100 and number:
                if self.style.clock_every and number % self.style.clock_every == 0:
                    field = b"\x10" + bytes(6)
                if number == self.style.stuff_middle and len(rest) > 184:
                    field = b"\0" + b"\xff" * 20
                if self.style.private_data and number % 3 == 1:
                    field = b"\x02\x05" + b"priv8"
            rest = self.packet(pid, rest, number == 0, field)
            if self.style.null_packets and number % 4 == 0:
                self.out += b"\x47\x1f\xff\x10" + b"\xff" * 184
            number += 1


def stamp(prefix: int, value: int) -> bytes:
    value &= (1 << 33) - 1
    return bytes(
        (
            prefix << 4 | (value >> 30) << 1 | 1,
            value >> 22 & 0xFF,
            (value >> 15 & 0x7F) << 1 | 1,
            value >> 7 & 0xFF,
            (value & 0x7F) << 1 | 1,
        )
    )


def units_of(data: bytes) -> list[MediaPacket]:
    decoder = StreamDecoder(video="packets", audio="packets")
    out = [*decoder.feed(data), *decoder.end_segment(), *decoder.flush()]
    return [item for item in out if isinstance(item, MediaPacket)]


def mux(style: Style, units: Iterable[MediaPacket]) -> bytes:
    units = list(units)
    muxer = Muxer(style, 0x0F if any(u.kind == "audio" for u in units) else None)
    muxer.tables()
    group: list[MediaPacket] = []
    sound: list[MediaPacket] = []

    def flush_video() -> None:
        if group:
            first = group[0]
            data = b"".join(u.data for u in group)
            muxer.pes(0x100, data, first.pts, first.dts, first.is_keyframe)
            group.clear()

    for unit in units:
        if unit.kind == "audio":
            sound.append(unit)
            continue
        if unit.is_keyframe:
            flush_video()
            muxer.tables()
        data = unit.data
        if not style.delimiters and data.startswith(b"\0\0\0\1\x09"):
            data = data[6:]
        if style.pes_per_picture > 1:
            size = -(-len(data) // style.pes_per_picture)
            for n in range(0, len(data), size):
                pts, dts = (None, None) if n else (unit.pts, unit.dts)
                muxer.pes(0x100, data[n : n + size], pts, dts, unit.is_keyframe and not n)
            continue
        group.append(unit)
        if len(group) == style.pictures_per_pes:
            flush_video()
    flush_video()
    stream = b"".join(u.data for u in sound)
    if style.audio_piece:
        starts, at = [], 0
        for u in sound:
            starts.append((at, u.pts))
            at += len(u.data)
        for n in range(0, len(stream), style.audio_piece):
            inside = [pts for at, pts in starts if n <= at < n + style.audio_piece]
            piece = stream[n : n + style.audio_piece]
            muxer.pes(0x101, piece, inside[0] if inside else None, None, True)
    else:
        for u in sound:
            muxer.pes(0x101, u.data, u.pts, None, True)
    return bytes(muxer.out)


def play(data: bytes, chunk: int = 188) -> tuple[list[VideoFrame], list[AudioFrame], StreamDecoder]:
    decoder = StreamDecoder()
    out = []
    for at in range(0, len(data), chunk):
        out += decoder.feed(data[at : at + chunk])
    out += decoder.end_segment() + decoder.flush()
    return (
        [f for f in out if isinstance(f, VideoFrame)],
        [f for f in out if isinstance(f, AudioFrame)],
        decoder,
    )


def late_pictures(data: bytes) -> tuple[int, int]:
    """How many pictures are out only after the next one began, of how many."""
    decoder, out, begun, late = StreamDecoder(), 0, 0, 0
    for at in range(0, len(data), 188):
        packet = data[at : at + 188]
        if packet[1] & 0x40 and (packet[1] & 0x1F) << 8 | packet[2] == 0x100:
            late += out < begun
            begun += 1
        out += len([f for f in decoder.feed(packet) if isinstance(f, VideoFrame)])
    return late, begun


STYLES = {
    "plain": Style(),
    "lengths": Style(lengths=True),
    "gstreamer: clocks inside": Style(clock_every=4),
    "no delimiters": Style(delimiters=False),
    "private data": Style(private_data=True),
    "constant rate": Style(null_packets=True),
    "zeros instead of stuffing": Style(fill_with_zeros=True),
    "stuffing inside": Style(stuff_middle=2),
    "long tables": Style(split_tables=True),
    "two pictures a packet": Style(pictures_per_pes=2),
    "audio in pieces": Style(audio_piece=301),
}


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("bframes", [0, 2])
def test_every_muxer_style_gives_every_picture_at_its_tick(
    clip: Callable[..., Any], quality: Callable[..., float], name: str, bframes: int
) -> None:
    style = STYLES[name]
    made = clip(frames=60, bframes=bframes, audio="aac")
    frames, sounds, decoder = play(mux(style, units_of(made.data)))
    if name == "two pictures a packet" and bframes:
        # Half of the pictures have no time of their own, and they come in another order.
        assert len(frames) == 60
    else:
        assert [frame.pts for frame in frames] == made.times
    for frame, picture in zip(frames, made.pictures, strict=True):
        assert quality(frame.view()[0], picture[0]) > 38
    assert decoder.stats.damaged == decoder.stats.skipped == decoder.stats.lost_packets == 0
    assert sum(map(len, sounds)) >= made.audio_samples
    at = sounds[0].time
    for sound in sounds:
        assert sound.time == at
        at += sound.duration


@pytest.mark.parametrize(
    ("name", "at_most"),
    [
        ("lengths", 0),
        ("plain", 0.15),
        ("gstreamer: clocks inside", 0.15),
        ("no delimiters", 0.15),
        ("stuffing inside", 1),
    ],
)
def test_pictures_come_as_early_as_the_muxer_allows(
    clip: Callable[..., Any], name: str, at_most: float
) -> None:
    late, count = late_pictures(mux(STYLES[name], units_of(clip(frames=60).data)))
    assert count == 60
    assert late <= at_most * count


def test_stuffing_that_misled_costs_one_gop_and_is_never_believed_again(
    clip: Callable[..., Any],
) -> None:
    made = clip(frames=90)
    units = units_of(made.data)
    first, second = mux(Style(), units[:20]), mux(Style(stuff_middle=1), units[20:])
    frames, _, decoder = play(first + renumber(second, first))
    assert [f.pts for f in frames][:20] == made.times[:20]
    assert [f.pts for f in frames][-60:] == made.times[-60:]
    assert decoder.stats.resyncs <= 1


def renumber(data: bytes, after: bytes) -> bytes:
    """Let the counters of ``data`` go on where those of ``after`` end."""
    shift: dict[int, int] = {}
    for at in range(0, len(after), 188):
        pid = (after[at + 1] & 0x1F) << 8 | after[at + 2]
        shift[pid] = (after[at + 3] & 15) + 1
    out = bytearray(data)
    for at in range(0, len(out), 188):
        pid = (out[at + 1] & 0x1F) << 8 | out[at + 2]
        out[at + 3] = out[at + 3] & 0xF0 | (out[at + 3] + shift.get(pid, 0)) & 15
    return bytes(out)


@pytest.mark.parametrize("lengths", [False, True])
def test_a_muxer_that_cuts_pictures_in_two_is_understood_after_one_gop(
    clip: Callable[..., Any], quality: Callable[..., float], lengths: bool
) -> None:
    made = clip(frames=60)
    style = Style(pes_per_picture=3, lengths=lengths)
    frames, _, _ = play(mux(style, units_of(made.data)))
    times = [frame.pts for frame in frames]
    assert times[-50:] == made.times[-50:]
    for frame in frames[-50:]:
        picture = made.pictures[made.times.index(frame.pts)]
        assert quality(frame.view()[0], picture[0]) > 38


# --- real muxers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"omit_video_pes_length": "0"},
        {"mpegts_flags": "+resend_headers+pat_pmt_at_frames"},
        {"muxrate": "2000000"},
        {"pes_payload_size": "100"},
        {"mpegts_start_pid": "300", "mpegts_pmt_start_pid": "200"},
        {"mpegts_m2ts_mode": "0", "pcr_period": "20"},
    ],
    ids=repr,
)
def test_ffmpegs_muxer_in_all_its_moods(clip: Callable[..., Any], options: dict[str, str]) -> None:
    made = clip(frames=60, bframes=2, audio="aac", mux=options)
    frames, sounds, decoder = play(made.data)
    assert [frame.pts for frame in frames] == made.times
    assert sum(map(len, sounds)) >= made.audio_samples
    assert decoder.stats.damaged == decoder.stats.skipped == decoder.stats.lost_packets == 0


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_our_own_encoders_stream_comes_back_frame_by_frame(
    draw: Callable[..., Any], quality: Callable[..., float], codec: str
) -> None:
    encoder = SegmentEncoder(video=VideoOutput(fps=30), audio=AudioOutput(codec=codec))
    decoder = StreamDecoder()
    shown: list[VideoFrame] = []
    sounds: list[AudioFrame] = []
    late = 0

    def take(parts: Any) -> None:
        for part in parts:
            data, new = part
            if new:
                sort(decoder.end_segment())
            sort(decoder.feed(data))

    def sort(items: Any) -> None:
        for item in items:
            (shown if isinstance(item, VideoFrame) else sounds).append(item)

    wave = np.sin(2 * np.pi * 440 * np.arange(96_000) / 48_000).astype(np.float32) / 2
    for n in range(60):
        frame = VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8), time=1 + Fraction(n, 30))
        for plane, source in zip(frame.planes, draw(n, 160, 96), strict=True):
            plane[:] = source
        take(encoder.encode(frame))
        late += len(shown) < n + 1
        samples = np.tile(wave[n * 1600 : n * 1600 + 1600], (2, 1))
        take(
            encoder.encode(AudioFrame.from_ndarray(samples, rate=48_000, time=1 + Fraction(n, 30)))
        )
    take(encoder.flush())
    sort(decoder.end_segment() + decoder.flush())
    assert late == 0
    assert [f.time for f in shown] == [1 + Fraction(n, 30) for n in range(60)]
    for n, frame in enumerate(shown):
        assert quality(frame.view()[0], draw(n, 160, 96)[0]) > 30
    assert decoder.stats.damaged == decoder.stats.lost_packets == 0
    samples = np.concatenate([f.samples for f in sounds], axis=1)[0]
    times = float(sounds[0].time - 1) + np.arange(len(samples)) / 48_000
    body = slice(24_000, 72_000)
    phase = np.angle(np.sum(samples[body] * np.exp(-2j * np.pi * 440 * times[body]))) + np.pi / 2
    assert abs(((phase + np.pi) % (2 * np.pi) - np.pi) / (2 * np.pi * 440)) < 0.0005
