"""The transport stream itself: its clock, and what the encoder says of itself in it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from livepeer.trickle.media import (
    AudioFrame,
    AudioOutput,
    MediaPacket,
    SegmentEncoder,
    StreamDecoder,
    VideoFrame,
    VideoOutput,
)
from livepeer.trickle.media.ts import tables

WRAP = 1 << 33


def picture(index: int, time: Fraction) -> VideoFrame:
    y, x = np.mgrid[0:96, 0:160]
    luma = 128 + 100 * np.sin((x + y + 7 * index) / 20)
    return VideoFrame.from_ndarray(luma.astype(np.uint8), "gray", time=time)


def stream(encoder: SegmentEncoder, items: list[Any]) -> bytes:
    pieces = [piece for item in items for piece in encoder.encode(item)] + encoder.flush()
    return b"".join(piece.data for piece in pieces)


def clock(data: bytes) -> list[tuple[int, int, int]]:
    """PID, clock reference in 27 MHz, and the time (pts) of what begins in the same packet."""
    out = []
    for at in range(0, len(data), 188):
        p = data[at : at + 188]
        if not p[3] & 0x20 or not p[4] or not p[5] & 0x10:
            continue
        base = int.from_bytes(p[6:12]) >> 15
        extension = int.from_bytes(p[6:12]) & 0x1FF
        pes = p[5 + p[4] :]
        assert p[1] & 0x40
        assert pes[:3] == b"\0\0\1"
        s = pes[9:14]
        pts = (s[0] >> 1 & 7) << 30 | s[1] << 22 | (s[2] >> 1) << 15 | s[3] << 7 | s[4] >> 1
        out.append(((p[1] & 0x1F) << 8 | p[2], base * 300 + extension, pts))
    return out


def clock_pids(data: bytes) -> set[int]:
    """Where the program's table says that its clock is."""
    tables = [data[at : at + 188] for at in range(0, len(data), 188) if data[at + 1] & 0x1F == 0x10]
    return {(p[13] & 0x1F) << 8 | p[14] for p in tables}


@pytest.mark.parametrize("start", [0, 90_000, WRAP - 4_500, WRAP - 45_000])
def test_each_picture_brings_the_clock_a_tenth_of_a_second_before_its_time(start: int) -> None:
    items: list[Any] = []
    for i in range(30):
        time = Fraction(start + 3_000 * i, 90_000)
        sound = np.zeros((1, 1600), np.float32)
        items += [picture(i, time), AudioFrame.from_ndarray(sound, rate=48_000, time=time)]
    data = stream(SegmentEncoder(), items)
    references = clock(data)
    assert {pid for pid, _, _ in references} == clock_pids(data) == {0x100}
    assert [pts for _, _, pts in references] == [(start + 3_000 * i) % WRAP for i in range(30)]
    for i, (_, reference, pts) in enumerate(references):
        # There is no time before 0: the first pictures come when they are shown.
        lead = 9_000 if start + 3_000 * i >= 9_000 else 0
        wanted = (pts - lead) % WRAP * 300
        assert reference == wanted or (not lead and reference <= pts * 300)


def test_sound_without_pictures_brings_the_clock_itself() -> None:
    samples = np.zeros((1, 960), np.float32)
    items = [
        AudioFrame.from_ndarray(samples, rate=48_000, time=1 + Fraction(i, 50)) for i in range(60)
    ]
    data = stream(SegmentEncoder(None, AudioOutput()), items)
    references = clock(data)
    assert {pid for pid, _, _ in references} == clock_pids(data) == {0x101}
    assert len(references) > 50
    assert all(reference == (pts - 9_000) * 300 for _, reference, pts in references)


def test_x264_is_set_to_its_fastest_and_to_no_delay_unless_told_otherwise() -> None:
    data = stream(
        SegmentEncoder(VideoOutput(codec="libx264"), None),
        [picture(i, Fraction(i, 30)) for i in range(40)],
    )
    first = StreamDecoder(video="packets").feed(data)[0]
    assert isinstance(first, MediaPacket)
    found = re.search(rb"x264 - .* options: ([^\0]+)", first.data)
    assert found is not None, "what x264 says of itself in its first picture"
    words = found[1].decode("ascii", "ignore").split()
    told = dict(word.split("=") for word in words if "=" in word)
    fastest = {"cabac": "0", "ref": "1", "me": "dia", "subme": "0", "trellis": "0", "8x8dct": "0"}
    at_once = {"bframes": "0", "mbtree": "0", "scenecut": "0"}
    assert {key: told.get(key) for key in fastest | at_once} == fastest | at_once
    with av.open(io.BytesIO(data), format="mpegts") as container:
        kinds = [PictureType(frame.pict_type) for frame in container.decode(video=0)]
    assert kinds == [PictureType.P if i % 30 else PictureType.I for i in range(40)]


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_sound_says_its_own_rate_and_channels(codec: Any, layout: Any, rate: int) -> None:
    samples = np.zeros((1, rate // 10), np.float32)
    items = [
        AudioFrame.from_ndarray(samples, rate=rate, time=1 + Fraction(i, 10)) for i in range(5)
    ]
    data = stream(SegmentEncoder(None, AudioOutput(codec=codec, layout=layout)), items)
    reader = StreamDecoder(audio="packets")
    came = [item for item in reader.feed(data) if isinstance(item, MediaPacket)]
    told = {(packet.parameters.rate, packet.parameters.channels) for packet in came}
    assert told == {(48_000 if codec == "libopus" else rate, 1 if layout == "mono" else 2)}


def test_a_channel_is_relayed_byte_for_byte_without_av_and_numpy() -> None:
    code = """
import asyncio, os, sys
from livepeer.trickle import TricklePublisher, TrickleServer, TrickleSubscriber, relay

async def main():
    bodies = [os.urandom(size) for size in (188, 1, 400_000)]
    async with asyncio.timeout(60), TrickleServer() as server:
        for name in ("in", "out"):
            server.create(name, "video/MP2T")
        source, sink = server.channel_url("in"), server.channel_url("out")
        relaying = asyncio.create_task(relay(source, sink, start=0))
        got = []
        async with TrickleSubscriber(sink, start=0) as reader:
            async with TricklePublisher(source, linger=0) as publisher:
                for body in bodies:
                    await publisher.write(body)
                    got.append(await (await anext(reader)).read())
        await relaying
    assert got == bodies

asyncio.run(main())
loaded = {"av", "numpy"} & set(sys.modules)
loaded |= {name for name in sys.modules if name.startswith("livepeer.trickle.media")}
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


def grainy(index: int) -> VideoFrame:
    """A picture that takes more bytes than a packet can tell."""
    grain = np.random.default_rng(index).integers(0, 255, (480, 640))
    return VideoFrame.from_ndarray(grain.astype(np.uint8), "gray", time=Fraction(index, 30))


def groups(count: int) -> list[bytes]:
    """The segments of a stream of such pictures, four in each."""
    encoder = SegmentEncoder(VideoOutput(gop_seconds=0.13), None)
    out: list[bytes] = []
    for index in range(4 * count):
        for piece in encoder.encode(grainy(index)):
            out = [*out, b""] if piece.new_segment else out
            out[-1] += piece.data
    return out


def test_a_first_picture_of_any_size_is_out_as_soon_as_its_bytes_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder, decoder = SegmentEncoder(VideoOutput(), None), StreamDecoder()
    data = b"".join(piece.data for piece in encoder.encode(grainy(0)))
    assert len(data) > 1 << 16
    assert len(decoder.feed(data)) == 1
    # Of a muxer that does not say so, its end is learned from the pictures behind it.
    monkeypatch.setattr(tables, "WHOLE", b"\x05\x04none")
    other = b"".join(piece.data for piece in SegmentEncoder(VideoOutput(), None).encode(grainy(0)))
    monkeypatch.undo()
    assert len(StreamDecoder().feed(other)) == 0


def test_a_muxer_that_says_so_and_stuffs_elsewhere_is_not_believed_twice() -> None:
    """What was given out too early is lost up to its next keyframe; nothing else is."""
    counter, lying = 0, b""
    segments = groups(4)
    for segment in segments:
        for at in range(0, len(segment), 188):
            packet = segment[at : at + 188]
            pid = (packet[1] & 0x1F) << 8 | packet[2]
            if pid != 0x100:
                lying += packet
                continue
            parts = [packet[4:]]
            if not packet[1] & 0x40 and packet[3] & 0x30 == 0x10 and counter % 5 == 0:
                half = packet[4:104]
                parts = [bytes((83, 0)) + b"\xff" * 82 + half, packet[104:]]
                parts[1] = (
                    bytes((183 - len(parts[1]), 0)) + b"\xff" * (182 - len(parts[1])) + parts[1]
                )
            for part in parts:
                control = 0x30 if len(parts) == 2 or packet[3] & 0x20 else 0x10
                lying += packet[:3] + bytes((control | counter & 15,)) + part
                counter += 1
    decoder = StreamDecoder()
    pictures = [
        frame for at in range(0, len(lying), 1880) for frame in decoder.feed(lying[at : at + 1880])
    ]
    pictures += decoder.flush()
    honest = StreamDecoder()
    wanted = {each.pts: each for each in honest.feed(b"".join(segments)) + honest.flush()}
    assert len(wanted) == 16 and 12 <= len(pictures) < 16  # it was believed first
    for frame in pictures[-12:]:
        assert np.array_equal(frame.planes[0], wanted[frame.pts].planes[0])
