"""Every legal way to write a stream gives what PyAV's own demuxer gives: pictures, times, sound.

Where times are not told for each picture PyAV leaves them out; here they are what was encoded.
PyAV's reading is plainly wrong where a packet is sent twice (it takes the bytes twice, which gives
a picture too many), and where the time of decoding is wrong: it is not compared there.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livepeer.trickle.media import AudioFrame, MediaPacket, StreamDecoder, VideoFrame
from livepeer.trickle.media.frame.clock import MPEG_WRAP

from .permuting_muxer import Muxer, Style, Unit, by_ffmpeg, draw, units_of

QUICK, ALL = 24, 200

CLIPS: dict[str, dict[str, Any]] = {
    "h264": {"audio": "aac"},
    "h264 slices, b": {"bframes": 2, "options": {"slices": "3"}, "audio": "mp2"},
    "h264 b": {"bframes": 2, "audio": "ac3"},
    "hevc": {"codec": "libx265", "bframes": 2, "audio": "aac"},
    "mpeg2": {"codec": "mpeg2video", "bframes": 0, "audio": "mp2"},
    "mpeg2 b": {"codec": "mpeg2video", "options": {"bf": "2"}, "audio": "eac3"},
    "mpeg4": {"codec": "mpeg4"},
    "hevc slices": {
        "codec": "libx265",
        "options": {
            "x265-params": "log-level=none:keyint=12:min-keyint=12:slices=2:pools=1:bframes=0"
        },
    },
}
CODECS = {
    "hevc": "hevc",
    "hevc slices": "hevc",
    "mpeg2": "mpeg2video",
    "mpeg2 b": "mpeg2video",
    "mpeg4": "mpeg4",
}


@pytest.fixture(scope="module")
def source(clip: Callable[..., Any]) -> Callable[[str], Any]:
    @cache
    def read(name: str) -> tuple[list[Unit], list[Unit], list[Any], int]:
        made = clip(width=96, height=64, frames=36, gop=12, **CLIPS[name])
        sounds = units_of(made.data, "audio") if CLIPS[name].get("audio") else []
        pictures, heard = by_ffmpeg(made.data)
        return units_of(made.data, "video"), sounds, pictures, sum(s.samples for s in heard)

    return read


def chunks(data: bytes, sizes: str, rng: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = rng.choice((1, 7, 188, 1316, 65_536)) if sizes == "mixed" else int(sizes)
        yield data[at : at + size]
        at += size


def play(parts: Iterator[bytes]) -> tuple[list[VideoFrame], list[AudioFrame], StreamDecoder]:
    decoder = StreamDecoder(threads=1)
    out = [item for part in parts for item in decoder.feed(part)]
    out += decoder.end_segment() + decoder.flush()
    pictures = [item for item in out if isinstance(item, VideoFrame)]
    return pictures, [item for item in out if isinstance(item, AudioFrame)], decoder


def undecoded(data: bytes) -> tuple[list[MediaPacket], list[MediaPacket]]:
    decoder = StreamDecoder(video="packets", audio="packets")
    out = [*decoder.feed(data), *decoder.end_segment(), *decoder.flush()]
    packets = [item for item in out if isinstance(item, MediaPacket)]
    assert decoder.stats.skipped == 0
    return [p for p in packets if p.kind == "video"], [p for p in packets if p.kind == "audio"]


def digest(pictures: list[VideoFrame], sounds: list[AudioFrame]) -> list[tuple[Any, ...]]:
    seen: list[tuple[Any, ...]] = [
        (p.pts, [zlib.crc32(np.ascontiguousarray(plane)) for plane in p.view()]) for p in pictures
    ]
    return seen + [(s.pts, s.rate, s.layout, zlib.crc32(s.samples)) for s in sounds]


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=() if n < QUICK else pytest.mark.slow) for n in range(ALL)]
)
def test_a_stream_written_in_any_way_comes_out_whole_and_at_its_ticks(
    source: Callable[[str], Any], seed: int
) -> None:
    rng = random.Random(seed)
    name = list(CLIPS)[seed % len(CLIPS)]
    codec, audio = CODECS.get(name, "h264"), CLIPS[name].get("audio")
    style = draw(rng, codec)
    pictures, sounds, shown, samples = source(name)
    data = Muxer(style, codec, audio).mux(pictures, sounds)
    frames, heard, decoder = play(chunks(data, "65536", rng))
    stats = decoder.stats

    assert stats.damaged == stats.skipped == stats.lost_packets == stats.clock_restarts == 0, style
    told = sorted(unit.pts + style.shift for unit in pictures)
    if style.times == "none":
        # There is no clock for pictures: they begin where the stream is, and go on at its rate.
        assert [b.pts - a.pts for a, b in pairwise(frames)] == [3_000] * 35, style
    else:
        shown_at = [frame.pts for frame in frames]
        # A clock that wraps may begin below zero.
        assert shown_at[0] - told[0] in (0, -MPEG_WRAP), style
        assert [pts - shown_at[0] for pts in shown_at] == [pts - told[0] for pts in told], style
    for frame, picture in zip(frames, shown, strict=True):
        planes = frame.view()
        assert all(map(np.array_equal, planes, VideoFrame(picture, pts=0).view())), style
    assert sum(map(len, heard)) == samples
    if sounds:
        at = Fraction(sounds[0].pts + style.shift, 90_000)
        if style.times == "late" and frames[0].pts < 0:
            at -= Fraction(MPEG_WRAP, 90_000)
        for sound in heard:
            assert abs(sound.time - at) <= Fraction(1, 90_000), style
            at += sound.duration

    seen = digest(frames, heard)
    sizes = ["188", "mixed"] + ["1"] * (seed % 8 == 0 or seed >= QUICK)
    for size in sizes:
        again = play(chunks(data, size, random.Random(seed)))
        assert digest(*again[:2]) == seen, (style, size)

    passed, heard_of = undecoded(data)
    begin = pictures[0].pts
    if style.times != "none":
        assert [p.pts - passed[0].pts for p in passed] == [u.pts - begin for u in pictures], style
    assert len(passed) == len(pictures), style
    assert all(packet.dts <= packet.pts for packet in passed), style
    assert style.times == "late" or all(b.dts > a.dts for a, b in pairwise(passed)), style
    assert len(heard_of) == len(sounds), style

    if not style.repeats and style.times != "late":
        by_pyav, sound_by_pyav = by_ffmpeg(data)
        assert len(by_pyav) == len(frames), style
        for picture, frame in zip(by_pyav, frames, strict=True):
            # It takes a clock that is about to wrap for one below zero, and what it makes up for
            # pictures of which no time is told is wrong across that.
            if style.shift and style.cuts in ("bytes", "group"):
                continue
            assert picture.pts is None or (picture.pts - frame.pts) % MPEG_WRAP == 0, style
        if style.programs != "sound first":
            assert sum(sound.samples for sound in sound_by_pyav) == samples, style


RECORDED = sorted(Path(__file__).parents[1].joinpath("recorded").glob("*.ts"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_other_muxers_wrote_is_read_as_pyav_reads_it_in_any_pieces(path: Path) -> None:
    """FFmpeg's, mediacommon's, GStreamer's and VLC's own files."""
    data = path.read_bytes()
    pictures, sounds = by_ffmpeg(data, broken="vlc" in path.stem)
    seen = None
    for size in ("65536", "1316", "188", "mixed", "1"):
        frames, heard, _ = play(chunks(data, size, random.Random(size)))
        assert [frame.pts for frame in frames] == [picture.pts for picture in pictures]
        planes = [VideoFrame(picture, pts=0).view() for picture in pictures]
        for frame, wanted in zip(frames, planes, strict=True):
            assert all(map(np.array_equal, frame.view(), wanted))
        assert sum(map(len, heard)) == sum(sound.samples for sound in sounds)
        assert heard[0].time * 90_000 == sounds[0].pts
        assert seen in (None, seen := digest(frames, heard))


@pytest.mark.parametrize("first", [1, 7, 10_000])
def test_sound_before_the_first_time_that_is_told_is_heard_and_in_its_place(
    source: Callable[[str], Any], first: int
) -> None:
    pictures, sounds, _, samples = source("h264")
    data = Muxer(Style(sound_first=first), "h264", "aac").mux(pictures, sounds)
    frames, heard, decoder = play(chunks(data, "1316", random.Random(0)))
    assert sum(map(len, heard)) == samples
    for before, after in pairwise(heard):
        assert after.time - before.time == before.duration
    begin = Fraction(sounds[0].pts, 90_000)
    if first < len(sounds):
        assert abs(heard[0].time - begin) <= Fraction(1, 90_000)
    else:
        # It is told nowhere: where the pictures were.
        assert abs(heard[0].time - frames[0].time) <= Fraction(1, 10)
    assert decoder.stats.skipped == 0
