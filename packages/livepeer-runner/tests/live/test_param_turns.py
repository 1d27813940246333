"""No frame comes between new parameters and `on_params_update`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.testing import run_live


class Derives(LivePipeline):
    """What it derives from its parameters is what its frames need of them."""

    def on_stream_start(self, params: Any) -> None:
        self.derived = params.get("n", 0)

    def on_params_update(self, params: Any) -> None:
        time.sleep(0.02)
        self.derived = params["n"]

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        assert self.derived == self.params.get("n", 0)
        time.sleep(0.005)
        return frame


class DerivesAsync(Derives):
    async def on_params_update(self, params: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0.02)
        self.derived = params["n"]


@pytest.mark.parametrize("cls", [Derives, DerivesAsync])
async def test_frames_see_new_parameters_and_what_is_derived_of_them_together(
    stage: Any, make_clip: Callable[..., Any], cls: type[Derives]
) -> None:
    async with stage(cls, {}) if False else stage(cls) as it:
        await it.start(params={"n": 0})
        feeding = asyncio.create_task(it.feed("s", make_clip(50, audio=False)))
        n = 0
        while not feeding.done():
            n += 1
            (await it.post("params", "s", {"n": n})).raise_for_status()
            await asyncio.sleep(0.03)
        await feeding
        session = it.server.service.work.sessions.get("s")
        assert session is None or session.status.errors == 0
        await it.until(lambda: not it.server.service.work.running)


async def test_an_update_in_a_test_is_whole_before_its_frame(make_clip: Callable[..., Any]) -> None:
    result = await run_live(Derives, make_clip(30, audio=False), updates=[(0.4, {"n": 7})])
    assert result.errors == []
    assert result.status["inference_status"]["last_params"] == {"n": 7}
