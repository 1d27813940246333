"""`run_live` itself: what it raises is what went wrong, bare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.errors import InvalidInput
from livepeer.runner.testing import run_live


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
