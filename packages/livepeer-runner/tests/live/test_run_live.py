"""`run_live` itself: what it raises is what went wrong, bare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from livepeer.runner import AudioFrame, LivePipeline, VideoFrame
from livepeer.runner.errors import InvalidInput
from livepeer.runner.live import control
from livepeer.runner.local import stream
from livepeer.runner.testing import run_live

from .streams import clip


class Settings(BaseModel):
    level: int = 0


class Levelled(LivePipeline):
    params: Settings

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class Unready(LivePipeline):
    def setup(self) -> None:
        raise OSError("no weights")


class OutOfOrder(Exception):
    pass


async def test_parameters_that_are_refused_are_raised_with_their_fields(
    make_clip: Callable[..., Any],
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await run_live(Levelled, make_clip(3), params={"level": "high"})
    assert [field.name for field in caught.value.fields] == ["level"]


async def test_a_setup_that_fails_is_raised_with_its_reason(make_clip: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="no weights"):
        await run_live(Unready, make_clip(3))


async def test_a_source_that_cannot_be_read_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run_live(Levelled, tmp_path / "missing.mp4")


async def test_what_on_frame_raises_is_raised(make_clip: Callable[..., Any]) -> None:
    def refuse(frame: Any) -> None:
        raise OutOfOrder

    with pytest.raises(OutOfOrder):
        await run_live(Levelled, make_clip(30), on_frame=refuse)


class Told(LivePipeline):
    told = ""

    def on_control(self, message: dict[str, Any]) -> None:
        self.told = message["say"]

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.emit_data({"at": round(frame.time * 25), "told": self.told})
        return frame


async def test_messages_come_to_on_control_before_the_frame_at_which_they_are_due(
    make_clip: Callable[..., Any],
) -> None:
    result = await run_live(
        Told, make_clip(20, audio=False), messages=[(0.4, {"say": "b"}), (0.2, {"say": "a"})]
    )
    assert [one["told"] for one in result.data] == [""] * 5 + ["a"] * 5 + ["b"] * 10


class OnlySound(LivePipeline):
    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        self.emit_event({"type": "heard"})
        return frame


async def test_sound_alone_is_a_stream_with_figures_and_events(
    make_clip: Callable[..., Any],
) -> None:
    result = await run_live(OnlySound, make_clip(25, video=False))
    assert result.video == []
    assert sum(frame.samples.shape[1] for frame in result.audio) >= 48_000 * 0.9
    assert result.status["input_status"]["frames"] > 0
    assert result.status["inference_status"]["frames"] > 0
    assert result.emitted[0] == {"type": "heard"}
    assert {one["type"] for one in result.emitted} == {"heard"}
    assert (result.errors, result.warnings, result.reason) == ([], [], "the input ended")


class Film(LivePipeline):
    """Makes pictures and sound, in turn."""

    def generate(self) -> Iterator[VideoFrame | AudioFrame]:
        yield from self.frames()

    @staticmethod
    def frames() -> Iterator[VideoFrame | AudioFrame]:
        return clip(10)


async def test_what_is_generated_is_counted_in_pictures_where_there_are_any() -> None:
    result = await run_live(Film)
    assert len(result.video) == 10
    assert result.status["inference_status"]["frames"] == 10


async def test_a_class_that_makes_no_frames_itself_wants_a_source() -> None:
    with pytest.raises(ValueError, match=r"Levelled has no generate\(\): give it a source"):
        await run_live(Levelled)


async def test_a_caller_of_run_live_is_there_however_long_nothing_comes(
    monkeypatch: pytest.MonkeyPatch, make_clip: Callable[..., Any]
) -> None:
    monkeypatch.setattr(control, "FIRST_SIGN_SECONDS", 1.0)
    monkeypatch.setattr(stream, "KEEP_ALIVE_SECONDS", 0.2)

    def slow() -> Iterator[Any]:
        time.sleep(2.5)  # a source that is slow to begin
        yield from make_clip(3, audio=False)

    result = await run_live(Levelled, slow())
    assert (len(result.video), result.reason) == (3, "the input ended")


class Loads(Levelled):
    loaded = False

    def setup(self) -> None:
        type(self).loaded = True


async def test_parameters_are_looked_at_before_a_model_is_loaded(
    make_clip: Callable[..., Any],
) -> None:
    with pytest.raises(InvalidInput, match="did you mean 'level'"):
        await run_live(Loads, make_clip(3), params={"levle": 1})
    assert not Loads.loaded


class Surround(LivePipeline):
    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return frame.replace(np.tile(frame.samples[:1], (8, 1)))


async def test_sound_of_eight_channels_that_a_hook_returns_leaves_as_stereo() -> None:
    cases = Path(__file__).parents[3] / "livepeer-trickle/tests/media/differential/cases"
    result = await run_live(Surround, cases / "live71.ts")
    assert result.errors == []
    assert len(result.video) == 25
    assert sum(frame.duration for frame in result.audio) > 0.9
    assert {frame.layout for frame in result.audio} == {"stereo"}
