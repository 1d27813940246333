"""Files of kinds that people report as trouble: counts, order, times, turns and pixel shapes."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from numpy.typing import NDArray

from livepeer.trickle.media import (
    AudioFrame,
    StreamDecoder,
    VideoFrame,
    VideoOutput,
    decode,
    encode,
)
from livepeer.trickle.media.file.clock import FileClock

CASES = Path(__file__).parents[1] / "differential" / "cases"
STEP = Fraction(1, 25)


def pictures_of(source: Any) -> list[VideoFrame]:
    return [frame for frame in decode(source, audio=False) if isinstance(frame, VideoFrame)]


@pytest.mark.parametrize(
    ("name", "pictures", "sounds"),
    [
        ("b_pictures.avi", 50, 0),
        ("five_au_per_pes.ts", 50, 0),
        ("gst_nal_alignment.ts", 50, 0),
        ("headers_apart.ts", 50, 0),
        ("latm.ts", 50, 95),
        ("live71.ts", 25, 48),
        ("mpeg2_pts_on_ip.ts", 50, 0),
        ("no_pts.h264", 50, 0),
        ("one_packet_twice.ts", 50, 0),
        ("one_second.ts", 25, 0),
        ("pts_every_3.ts", 50, 0),
        ("rotated.mp4", 50, 0),
        ("sound71.m4a", 0, 15),
    ],
)
def test_every_picture_of_a_file_comes_at_its_time_and_is_kept_by_encode(
    name: str, pictures: int, sounds: int
) -> None:
    frames = list(decode(CASES / name))
    shown = [frame for frame in frames if isinstance(frame, VideoFrame)]
    heard = [frame for frame in frames if isinstance(frame, AudioFrame)]
    assert (len(shown), len(heard)) == (pictures, sounds)
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    steps = {after.time - before.time for before, after in itertools.pairwise(shown)}
    assert steps <= {STEP}
    for before, after in itertools.pairwise(heard):
        assert after.time == before.time + before.duration
    if shown:
        data = encode(shown, format="mp4")
        assert data is not None
        assert len(pictures_of(data)) == pictures


def test_a_stream_whose_clock_starts_anew_each_second_goes_on_in_a_file() -> None:
    shown = pictures_of((CASES / "one_second.ts").read_bytes() * 4)
    assert [frame.time for frame in shown] == [n * STEP for n in range(100)]


def test_tracks_whose_clock_starts_anew_stay_in_sync() -> None:
    once = list(decode(CASES / "latm.ts"))
    frames = list(decode((CASES / "latm.ts").read_bytes() * 3))
    assert len(frames) == 3 * len(once)
    shown = [frame for frame in frames if isinstance(frame, VideoFrame)]
    heard = [frame for frame in frames if isinstance(frame, AudioFrame)]
    apart = heard[0].time - shown[0].time
    for n in (1, 2):
        assert abs(heard[95 * n].time - shown[50 * n].time - apart) < Fraction(1, 10)


def packet(seconds: Any, track: int = 0) -> Any:
    dts = round(Fraction(seconds) * 90_000)
    return SimpleNamespace(
        pts=dts, dts=dts, duration=3_600, time_base=Fraction(1, 90_000), stream_index=track
    )


def test_one_wrong_time_moves_no_clock_and_a_pause_stays() -> None:
    clock = FileClock()
    told = [0, 0.04, 0.08, 5_000, 0.16, 0.2, 90, 90.04, 0.5, 90.12]
    placed = []
    for seconds in told:
        one = packet(seconds)
        clock.place(one)
        placed.append(round(one.dts / 90_000, 2))
    assert placed == [0, 0.04, 0.08, 0.12, 0.16, 0.2, 90, 90.04, 90.08, 90.12]


def quadrants(width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """Red, green; blue, white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2, 0] = 255
    pixels[: height // 2, width // 2 :, 1] = 255
    pixels[height // 2 :, : width // 2, 2] = 255
    pixels[height // 2 :, width // 2 :] = 255
    return pixels


def seen(pixels: NDArray[np.uint8]) -> str:
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    height, width, _ = pixels.shape
    spots = [pixels[y * height // 4, x * width // 4] > 128 for y in (1, 3) for x in (1, 3)]
    return "".join(names[tuple(int(value) for value in spot)] for spot in spots)


def clip(
    *, turn: tuple[float, bool, bool] | None = None, shape: Fraction | None = None, frames: int = 3
) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        if turn is not None:
            stream.set_display_rotation(turn[0], hflip=turn[1], vflip=turn[2])
        if shape is not None:
            stream.codec_context.sample_aspect_ratio = shape
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quadrants())))
        container.mux(stream.encode())
    return target.getvalue()


@pytest.mark.parametrize(
    ("turn", "corners"),
    [
        ((0, False, False), "RGBW"),
        ((90, False, False), "GWRB"),
        ((180, False, False), "WBGR"),
        ((270, False, False), "BRWG"),
        ((0, True, False), "GRWB"),
        ((0, False, True), "BWRG"),
        ((90, True, False), "WGBR"),
        ((90, False, True), "RBGW"),
    ],
)
def test_pictures_of_a_file_are_upright_and_stay_so_when_encoded(
    turn: tuple[float, bool, bool], corners: str
) -> None:
    frames = pictures_of(clip(turn=turn, shape=Fraction(4, 3)))
    quarter = turn[0] % 180 == 90
    for frame in frames:
        assert (frame.width, frame.height) == ((48, 64) if quarter else (64, 48))
        assert frame.sample_aspect_ratio == (Fraction(3, 4) if quarter else Fraction(4, 3))
        assert seen(frame.to_ndarray()) == corners
    data = encode(frames, format="mp4")
    assert data is not None
    [first, *_] = pictures_of(data)
    assert seen(first.to_ndarray()) == corners
    with av.open(io.BytesIO(data)) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_a_phones_clip_is_upright() -> None:
    assert {(f.width, f.height) for f in pictures_of(CASES / "rotated.mp4")} == {(48, 64)}


def test_a_live_stream_that_tells_its_turn_and_pixel_shape_comes_out_upright() -> None:
    data = encode(
        [VideoFrame.from_ndarray(quadrants(), time=n * STEP) for n in range(4)], format="mp4"
    )
    assert data is not None
    turned = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(turned, "w", format="mpegts") as sink:
        track = source.streams.video[0]
        filters = BitStreamFilterContext(
            "h264_mp4toannexb,h264_metadata=display_orientation=insert:rotate=90:"
            "sample_aspect_ratio=4/3",
            track,
        )
        stream = sink.add_stream_from_template(track)
        for one in source.demux(track):
            for filtered in filters.filter(one if one.dts is not None else None):
                filtered.stream = stream
                sink.mux(filtered)
    decoder = StreamDecoder()
    frames = decoder.feed(turned.getvalue()) + decoder.flush()
    assert len(frames) == 4
    for frame in frames:
        assert isinstance(frame, VideoFrame)
        assert (frame.width, frame.height) == (48, 64)
        assert frame.sample_aspect_ratio == Fraction(3, 4)
        assert seen(frame.to_ndarray()) in ("GWRB", "BRWG")


@pytest.mark.parametrize("format", ["mpegts", "mp4", "matroska"])
def test_the_shape_of_pixels_is_told_and_kept(format: str) -> None:
    shape = Fraction(16, 15)
    frames = pictures_of(clip(shape=shape))
    assert {frame.sample_aspect_ratio for frame in frames} == {shape}
    assert frames[0].snapshot().sample_aspect_ratio == shape
    changed = [frame.replace(255 - frame.to_ndarray()) for frame in frames]
    data = encode(changed, format=format)
    assert data is not None
    again = pictures_of(data)
    assert {frame.sample_aspect_ratio for frame in again} == {shape}


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (VideoOutput(), Fraction(16, 11)),
        (VideoOutput(width=32), Fraction(16, 11)),
        (VideoOutput(width=32, height=48), Fraction(32, 11)),
        (VideoOutput(width=92, height=48), Fraction(1)),
    ],
)
def test_a_picture_that_is_scaled_keeps_its_shape(output: VideoOutput, shape: Fraction) -> None:
    data = encode(pictures_of(clip(shape=Fraction(16, 11))), video=output)
    assert data is not None
    found = pictures_of(data)[0].sample_aspect_ratio
    assert abs(found - shape) < Fraction(1, 50)


def test_a_shape_that_is_none_is_refused_by_name() -> None:
    frame = VideoFrame.from_ndarray(quadrants(), time=0)
    frame.sample_aspect_ratio = Fraction(0)
    with pytest.raises(ValueError, match="sample_aspect_ratio"):
        encode([frame])


def test_a_cover_picture_is_no_video() -> None:
    target = io.BytesIO()
    with av.open(target, "w", format="mp3") as container:
        sound = container.add_stream("libmp3lame", rate=44_100)
        cover = container.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(quadrants())))
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 44_100), np.float32), "fltp", "stereo")
        silence.sample_rate = 44_100
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    frames = list(decode(target.getvalue()))
    assert frames
    assert all(isinstance(frame, AudioFrame) for frame in frames)


def test_the_tiles_of_a_still_picture_are_no_video() -> None:
    with pytest.raises(ValueError, match="no video"):
        list(decode(CASES / "grid.heic"))


@pytest.mark.parametrize("begin", [2, 40])
def test_sound_that_begins_late_in_a_transport_stream_is_not_lost(begin: int) -> None:
    frames: list[Any] = []
    for n in range(45):
        frames.append(VideoFrame.from_ndarray(quadrants(), time=n))
        if n >= begin:
            tone = np.full((2, 48_000), 0.1, np.float32)
            frames.append(AudioFrame.from_ndarray(tone, rate=48_000, time=n))
    data = encode(frames)
    assert data is not None
    found = list(decode(data))
    assert sum(isinstance(frame, VideoFrame) for frame in found) == 45
    heard = sum(frame.duration for frame in found if isinstance(frame, AudioFrame))
    assert abs(heard - (45 - begin)) < Fraction(1, 10)


def test_a_transport_stream_without_its_tables_is_left_to_ffmpeg() -> None:
    data = (CASES / "one_second.ts").read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    pictures = [one for one in packets if (one[1] & 0x1F) << 8 | one[2] == 0x100]
    assert len(pictures_of(b"".join(pictures))) == 25
