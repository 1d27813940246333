"""Our encoder into our decoder: every frame, its picture, its time to the tick."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from livepeer.trickle.media import (
    AudioFrame,
    AudioOutput,
    SegmentEncoder,
    StreamDecoder,
    VideoFrame,
    VideoOutput,
    encode,
)

TICK = Fraction(1, 90_000)
WRAP = Fraction(1 << 33, 90_000)


def planes(index: int, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """A smooth moving picture as PyAV stacks yuv420p: (H * 3 / 2, W)."""
    y, x = np.mgrid[0:height, 0:width]
    luma = 128 + 60 * np.sin((x + 5 * index) / 17) + 50 * np.cos((y - 3 * index) / 13)
    chroma = np.full((height // 2, width), 100 + index % 50)
    return np.concatenate([luma, chroma]).astype(np.uint8)


def video(times: Iterable[Fraction], width: int = 160, height: int = 96) -> list[VideoFrame]:
    return [
        VideoFrame.from_ndarray(planes(i, width, height), "yuv420p", time=time)
        for i, time in enumerate(times)
    ]


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    error = float(np.mean((a.astype(float) - b.astype(float)) ** 2))
    return 99.0 if not error else float(10 * np.log10(255**2 / error))


def through(
    frames: Iterable[Any],
    output: VideoOutput = VideoOutput(),  # noqa: B008 — frozen
    audio: AudioOutput = AudioOutput(),  # noqa: B008 — frozen
) -> list[Any]:
    """Encoded, cut, and decoded in pieces that care for no border."""
    encoder, decoder = SegmentEncoder(output, audio), StreamDecoder()
    out: list[Any] = []
    begun = False
    for frame in [*frames, None]:
        for piece in encoder.flush() if frame is None else encoder.encode(frame):
            if piece.new_segment and begun:
                out += decoder.end_segment()
            begun = True
            for at in range(0, len(piece.data), 1000):
                out += decoder.feed(piece.data[at : at + 1000])
    out += decoder.flush()
    assert decoder.stats.lost_packets == 0
    return out


@pytest.mark.parametrize("fps", [1, 5, 10, 24, 25, 30, 50, 60, Fraction(30_000, 1001)])
def test_pictures_come_back_one_for_one_with_their_times(fps: Fraction | int) -> None:
    sent = video([2 + i / Fraction(fps) for i in range(45)])
    came = [f for f in through(sent) if isinstance(f, VideoFrame)]
    assert len(came) == 45
    for before, after in zip(sent, came, strict=True):
        assert after.time == round(before.time * 90_000) * TICK
        for ours, given in zip(after.view(), before.view(), strict=True):
            assert psnr(ours, given) > 35


def test_a_variable_rate_keeps_every_picture_and_its_time_to_the_tick() -> None:
    rng = np.random.default_rng(5)
    ticks = 90_000 + np.cumsum(rng.integers(1, 20_000, 120))
    sent = video([int(t) * TICK for t in ticks])
    came = [f for f in through(sent) if isinstance(f, VideoFrame)]
    assert [f.time for f in came] == [f.time for f in sent]
    for before, after in zip(sent, came, strict=True):
        assert psnr(after.view()[0], before.view()[0]) > 35


def test_times_run_on_through_the_wrap_of_the_33_bit_clock() -> None:
    start = round((WRAP - 1) * 90_000) * TICK
    sent: list[Any] = video([start + Fraction(i, 30) for i in range(60)])
    quiet = np.zeros((2, 960), np.float32)
    sent += [
        AudioFrame.from_ndarray(quiet, rate=48_000, time=start + Fraction(i, 50))
        for i in range(100)
    ]
    sent.sort(key=lambda frame: frame.time)
    came = through(sent)
    pictures = [f.time for f in came if isinstance(f, VideoFrame)]
    assert pictures == [start + i * 3000 * TICK for i in range(60)]
    heard = [f for f in came if isinstance(f, AudioFrame)]
    assert all(abs(b.time - a.time - a.duration) <= TICK for a, b in itertools.pairwise(heard))
    # The codec's run-in is before the first sample.
    assert abs(heard[0].time + Fraction(1024, 48_000) - start) <= TICK


@pytest.mark.parametrize("size", [(160, 96), (162, 98), (640, 360), (1280, 720), (96, 160)])
def test_any_even_size_comes_back_as_it_was(size: tuple[int, int]) -> None:
    sent = video([Fraction(i, 30) for i in range(4)], *size)
    came = through(sent)
    assert [(f.width, f.height) for f in came] == [size] * 4
    assert psnr(came[-1].view()[0], sent[-1].view()[0]) > 35


def test_a_change_of_size_in_mid_stream_loses_no_picture() -> None:
    times = [Fraction(i, 30) for i in range(40)]
    sent = video(times[:17]) + video(times, 320, 192)[17:]
    came = through(sent)
    assert [(f.width, f.time) for f in came] == [
        (160 if i < 17 else 320, round(t * 90_000) * TICK) for i, t in enumerate(times)
    ]
    for before, after in zip(sent, came, strict=True):
        assert psnr(after.view()[0], before.view()[0]) > 35


@pytest.mark.parametrize("codec", ["aac", "libopus"])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(
    "rate",
    [
        48_000,
        pytest.param(44_100, marks=pytest.mark.slow),
        pytest.param(16_000, marks=pytest.mark.slow),
    ],
)
def test_sound_comes_back_whole_and_at_its_time(codec: Any, layout: Any, rate: int) -> None:
    seconds = 2
    at = np.arange(rate * seconds) / rate
    wave = 0.4 * np.sin(2 * np.pi * 440 * at) * np.minimum(1, at * 20)
    wave = np.stack([wave] * (1 if layout == "mono" else 2)).astype(np.float32)
    size = rate // 50
    sent = [
        AudioFrame.from_ndarray(wave[:, i : i + size], rate=rate, time=1 + Fraction(i, rate))
        for i in range(0, wave.shape[1], size)
    ]
    came = through(sent, audio=AudioOutput(codec=codec))
    out_rate = came[0].rate
    # Opus decodes at 48 kHz, whatever went in.
    assert out_rate == (48_000 if codec == "libopus" else rate)
    assert {f.layout for f in came} == {layout}
    expected = came[0].time
    for part in came:
        assert abs(part.time - expected) <= 2 * TICK
        expected = part.time + Fraction(len(part), out_rate)
    heard = np.concatenate([f.samples for f in came], axis=1)
    # Line it up by its own timestamps: the tone has to be where it was, within a millisecond.
    begin = round(float(1 + Fraction(1, 2) - came[0].time) * out_rate)
    part = heard[0, begin : begin + out_rate]
    reference = 0.4 * np.sin(2 * np.pi * 440 * (0.5 + np.arange(len(part)) / out_rate))
    lags = range(-out_rate // 900, out_rate // 900 + 1)
    fits = {lag: float(np.dot(np.roll(part, lag), reference)) for lag in lags}
    assert abs(max(fits, key=lambda lag: fits[lag])) <= out_rate / 1000
    assert psnr(part * 255, reference * 255) > 28


@pytest.mark.parametrize("format", ["mpegts", "mp4", "matroska"])
def test_encode_makes_a_file_that_plain_pyav_reads(format: str) -> None:
    sent: list[Any] = video([Fraction(i, 30) for i in range(45)])
    tone = np.sin(np.arange(1600) / 20).astype(np.float32)
    sent += [AudioFrame.from_ndarray(tone, rate=48_000, time=Fraction(i, 30)) for i in range(45)]
    sent.sort(key=lambda frame: frame.time)
    data = encode(sent, format=format)
    assert data is not None
    with av.open(io.BytesIO(data)) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == 45
    steps = {round((b.time - a.time) * 30, 1) for a, b in itertools.pairwise(pictures)}
    assert steps == {1.0}
    with av.open(io.BytesIO(data)) as container:
        assert sum(f.samples for f in container.decode(audio=0)) >= 45 * 1600


def test_encode_writes_to_a_path_and_to_a_file(tmp_path: Any) -> None:
    sent = video([Fraction(i, 30) for i in range(3)])
    expected = encode(sent)
    assert encode(sent, tmp_path / "clip.ts") is None
    assert (tmp_path / "clip.ts").read_bytes() == expected
    buffer = io.BytesIO()
    encode(sent, buffer)
    assert buffer.getvalue() == expected
    encode(sent, str(tmp_path / "clip.mp4"), format="mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3


def test_a_track_that_begins_late_is_in_the_header_of_a_file() -> None:
    sent: list[Any] = video([Fraction(i, 30) for i in range(60)])
    for i in range(40, 60):
        quiet = np.zeros((1, 1600), np.float32)
        sent.append(AudioFrame.from_ndarray(quiet, rate=48_000, time=Fraction(i, 30)))
    sent.sort(key=lambda frame: frame.time)
    data = encode(sent, format="mp4")
    assert data is not None
    with av.open(io.BytesIO(data)) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]


def test_encode_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="nothing to encode"):
        encode([])
    with pytest.raises(ValueError, match="no such container"):
        encode(video([Fraction(0)]), format="mp5")
    with pytest.raises(TypeError, match="not int"):
        encode([1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="ogg cannot hold"):
        encode(video([Fraction(0)]), format="ogg")


def test_three_generations_keep_every_frame_and_time() -> None:
    frames: list[Any] = video([Fraction(i, 30) for i in range(40)])
    first = frames[20].view()[0].copy()
    times = [f.time for f in frames]
    for _ in range(3):
        frames = through(frames)
        assert [f.time for f in frames] == times
    assert psnr(frames[20].view()[0], first) > 33
