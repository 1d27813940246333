"""Every shape of a hook on real H.264 and AAC: which frames come out, their pixels and times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from livepeer.runner import AudioFrame, BatchItem, LivePipeline, VideoFrame
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.live.hooks import Hooks
from livepeer.runner.testing import LiveResult, run_live

Clip = Callable[..., Any]
COUNT = 30


def brightness(frame: VideoFrame) -> float:
    return float(frame.view()[0].mean())


def darker(frame: VideoFrame) -> VideoFrame:
    y, _, _ = frame.planes
    y[:] = y // 2
    return frame


def quieter(frame: AudioFrame) -> AudioFrame:
    return frame.replace(frame.samples * 0.25)


def loudness(frames: list[AudioFrame]) -> float:
    samples = np.concatenate([frame.samples[0] for frame in frames])
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return float(np.sqrt((middle**2).mean()))


class VideoReturns(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return darker(frame)


class VideoReturnsAsync(LivePipeline):
    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        await asyncio.sleep(0)
        return darker(frame)


class VideoYields(LivePipeline):
    def process_video(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        yield darker(frame)


class VideoYieldsAsync(LivePipeline):
    async def process_video(self, frame: VideoFrame) -> AsyncIterator[VideoFrame]:
        yield darker(frame)


class VideoReturnsList(LivePipeline):
    async def process_video(self, frame: VideoFrame) -> list[VideoFrame]:
        return [darker(frame)]


class VideoBatch(LivePipeline):
    def process_video_batch(self, items: list[BatchItem]) -> list[VideoFrame]:
        return [darker(item.frame) for item in items]


@pytest.mark.parametrize(
    "cls",
    [
        VideoReturns,
        VideoReturnsAsync,
        VideoYields,
        VideoYieldsAsync,
        VideoReturnsList,
        VideoBatch,
    ],
)
async def test_what_a_video_hook_gives_comes_out_in_time_and_sound_passes(
    cls: type[LivePipeline], make_clip: Clip
) -> None:
    result = await run_live(cls, make_clip(COUNT))
    assert result.reason == "the input ended"
    assert result.errors == []
    assert [frame.time for frame in result.video] == [Fraction(i, 25) for i in range(COUNT)]
    for index, frame in enumerate(result.video):
        # 16 + level * 219 / 255 is the level's luma; the hook halves it.
        luma = 16 + (40 + index * 3 % 180) * 219 / 255
        assert abs(brightness(frame) - luma / 2) < 3
    assert abs(sum(frame.duration for frame in result.audio) - Fraction(COUNT, 25)) < 0.06
    assert loudness(result.audio) == pytest.approx(0.4 / 2**0.5, rel=0.05)


class AudioReturns(LivePipeline):
    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return quieter(frame)


class AudioReturnsAsync(LivePipeline):
    async def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return quieter(frame)


class AudioYields(LivePipeline):
    def process_audio(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        yield quieter(frame)


@pytest.mark.parametrize("cls", [AudioReturns, AudioReturnsAsync, AudioYields])
async def test_what_an_audio_hook_gives_comes_out_and_pictures_pass_undecoded(
    cls: type[LivePipeline], make_clip: Clip
) -> None:
    result = await run_live(cls, make_clip(COUNT))
    assert result.errors == []
    assert [frame.time for frame in result.video] == [Fraction(i, 25) for i in range(COUNT)]
    assert loudness(result.audio) == pytest.approx(0.1 / 2**0.5, rel=0.1)
    assert result.audio[0].time - result.video[0].time < Fraction(3, 100)


class Both(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return darker(frame)

    async def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return quieter(frame)


async def test_both_hooks_have_both_tracks_in_sync(make_clip: Clip) -> None:
    result = await run_live(Both, make_clip(COUNT))
    assert len(result.video) == COUNT
    assert loudness(result.audio) == pytest.approx(0.1 / 2**0.5, rel=0.1)
    assert abs(result.audio[0].time - result.video[0].time) < Fraction(3, 100)


class Neither(LivePipeline):
    pass


async def test_a_class_without_hooks_relays_every_byte(make_clip: Clip) -> None:
    result = await run_live(Neither, make_clip(COUNT))
    assert [frame.time for frame in result.video] == [Fraction(i, 25) for i in range(COUNT)]
    assert loudness(result.audio) == pytest.approx(0.4 / 2**0.5, rel=0.05)


class Every3rd(LivePipeline):
    def on_stream_start(self, params: Any) -> None:
        self.seen = 0

    def process_video(self, frame: VideoFrame) -> VideoFrame | None:
        self.seen += 1
        return frame if self.seen % 3 == 1 else None


async def test_none_leaves_a_frame_out(make_clip: Clip) -> None:
    result = await run_live(Every3rd, make_clip(COUNT))
    assert [frame.time for frame in result.video] == [Fraction(i, 25) for i in range(0, COUNT, 3)]


class Twice(LivePipeline):
    def process_video(self, frame: VideoFrame) -> list[VideoFrame]:
        later = frame.replace(frame.to_ndarray("rgb24"))
        later.time = frame.time + Fraction(1, 50)
        return [frame, later]


async def test_an_iterable_gives_several_frames(make_clip: Clip) -> None:
    result = await run_live(Twice, make_clip(COUNT, audio=False))
    assert [frame.time for frame in result.video] == [Fraction(i, 50) for i in range(2 * COUNT)]


class Words(LivePipeline):
    passthrough = False

    async def process_audio(self, frame: AudioFrame) -> None:
        await self.emit_data({"samples": len(frame)})

    def on_stream_stop(self) -> None:
        self.emit_data({"last": True})


async def test_a_class_may_give_data_alone(make_clip: Clip) -> None:
    result = await run_live(Words, make_clip(COUNT))
    assert result.video == [] == result.audio
    assert result.data[-1] == {"last": True}
    assert sum(record["samples"] for record in result.data[:-1]) >= RATE_OF_CLIP * COUNT // 25


class Measures(LivePipeline):
    """Emits what models give, and what it may not."""

    def on_stream_start(self, params: Any) -> None:
        self.refused: list[str] = []
        self.emit_data({"scores": np.array([0.5, 1], np.float32), "best": np.int64(1)})
        for value in (np.float32("nan"), [1.0, float("inf")], object(), b"\xff"):
            try:
                self.emit_data({"boxes": [{"x": value}]})
            except ValueError as error:
                self.refused.append(str(error))
        self.emit_event({"type": "refused", "why": self.refused, "count": np.int64(4)})


async def test_records_take_values_of_numpy_and_name_the_key_of_what_is_no_json(
    make_clip: Clip,
) -> None:
    result = await run_live(Measures, make_clip(COUNT, audio=False))
    assert result.data == [{"scores": [0.5, 1.0], "best": 1}]
    (event,) = [event for event in result.events if event["type"] == "refused"]
    assert event["count"] == 4
    for told, words in zip(
        event["why"],
        ["`boxes.0.x` is nan", "`boxes.0.x.1` is infinite", "of type object", "bytes that are no"],
        strict=True,
    ):
        assert words in told


RATE_OF_CLIP = 48_000


class Smaller(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame.replace(frame.to_ndarray("rgb24")[:48, :80])


async def test_frames_of_another_size_come_out_at_that_size(make_clip: Clip) -> None:
    result = await run_live(Smaller, make_clip(10, audio=False))
    assert {(frame.width, frame.height) for frame in result.video} == {(80, 48)}
    assert len(result.video) == 10


async def test_a_change_of_resolution_goes_through_both_ways(make_clip: Clip) -> None:
    def changing() -> Iterator[VideoFrame]:
        for index, frame in enumerate(make_clip(30, audio=False)):
            if 10 <= index < 20:
                yield frame.replace(np.full((64, 96, 3), 200, np.uint8))
            else:
                yield frame

    result = await run_live(VideoReturns, changing())
    sizes = [(frame.width, frame.height) for frame in result.video]
    assert sizes == [(160, 96)] * 10 + [(96, 64)] * 10 + [(160, 96)] * 10


class MadeAnew(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return VideoFrame.from_ndarray(np.full((96, 160, 3), 90, np.uint8))


async def test_a_frame_made_anew_gets_the_time_of_its_input(make_clip: Clip) -> None:
    result = await run_live(MadeAnew, make_clip(10, audio=False))
    assert [frame.time for frame in result.video] == [Fraction(i, 25) for i in range(10)]


class Generates(LivePipeline):
    def generate(self) -> Iterator[VideoFrame]:
        for index in range(12):
            yield VideoFrame.from_ndarray(
                np.full((96, 160, 3), 20 * index, np.uint8), time=Fraction(index, 50)
            )


class GeneratesAsync(LivePipeline):
    async def generate(self) -> AsyncIterator[VideoFrame]:
        for index in range(12):
            yield VideoFrame.from_ndarray(
                np.full((96, 160, 3), 20 * index, np.uint8), time=Fraction(index, 50)
            )


class GeneratesForEver(LivePipeline):
    def generate(self) -> Iterator[VideoFrame]:
        while True:
            yield VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8))


@pytest.mark.parametrize("cls", [Generates, GeneratesAsync])
async def test_generate_makes_a_stream_without_input(cls: type[LivePipeline]) -> None:
    result = await run_live(cls, seconds=30)
    assert [frame.time for frame in result.video] == [Fraction(i, 50) for i in range(12)]


async def test_generated_frames_without_a_time_are_paced_and_stop_when_asked() -> None:
    result = await run_live(GeneratesForEver, seconds=1.0)
    assert 15 <= len(result.video) <= 60  # 30 in a second, on a machine that may be busy


class WrongType(LivePipeline):
    max_errors = 5

    def process_video(self, frame: VideoFrame) -> Any:
        return frame.to_ndarray("rgb24")[0]


async def test_what_is_no_frame_is_told_with_what_to_return(make_clip: Clip) -> None:
    result = await run_live(WrongType, make_clip(COUNT, audio=False))
    assert "errors in a row" in result.reason
    assert result.video == []


def test_two_hooks_for_pictures_are_refused() -> None:
    class TwoOfThem(LivePipeline):
        def process_video(self, frame: VideoFrame) -> VideoFrame:
            return frame

        def process_video_batch(self, items: list[BatchItem]) -> list[VideoFrame]:
            return [item.frame for item in items]

    with pytest.raises(SignatureError, match="keep one of them"):
        Hooks.of(TwoOfThem)


def test_a_hook_that_is_no_method_is_refused() -> None:
    class NoMethod(LivePipeline):
        process_video = 3

    with pytest.raises(SignatureError, match="process_video is no method"):
        Hooks.of(NoMethod)


def test_a_result_tells_its_last_status() -> None:
    assert LiveResult().status == {}
    assert LiveResult(events=[{"type": "status", "n": 1}, {"type": "x"}]).status["n"] == 1
