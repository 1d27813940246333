"""An array made in `setup` is every stream's: who writes into it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from livepeer.runner import LivePipeline, VideoFrame


class OneCanvasForAll(LivePipeline):
    def setup(self) -> None:
        self.canvas = np.zeros((96, 160, 3), np.uint8)
        self.weights = np.arange(1000.0)

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.canvas[:] = int(self.weights[100])
        return frame.replace(self.canvas)


async def test_an_array_that_streams_share_by_mistake_is_warned_of(
    stage: Any, make_clip: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(OneCanvasForAll) as it:
        await it.start()
        await it.feed("s", make_clip(5), speed=None)
        await it.post("stop", "s")
    assert "OneCanvasForAll.canvas was made in setup()" in caplog.text
    assert "OneCanvasForAll.weights" not in caplog.text
