"""A model that is not thread-safe, four streams, default settings: every result is right."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from livepeer.runner import LivePipeline, VideoFrame

# Where the packages of the examples are, which CI runs this with, it may not be missing.
STRICT = os.environ.get("LIVEPEER_EXAMPLES_STRICT") == "1"
cv2: Any = importlib.import_module("cv2") if STRICT else pytest.importorskip("cv2")

# Layers without weights: the result is a function of the picture alone.
NET = b"""
name: "small"
input: "data"
input_shape { dim: 1 dim: 1 dim: 96 dim: 160 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
        pooling_param { pool: AVE kernel_size: 9 stride: 1 } }
layer { name: "norm" type: "LRN" bottom: "pool" top: "norm" }
layer { name: "max" type: "Pooling" bottom: "norm" top: "max"
        pooling_param { pool: MAX kernel_size: 7 stride: 1 } }
"""


def infer(net: Any, luma: np.ndarray) -> float:
    # Two calls on shared state: another stream in between would get this one's picture.
    net.setInput(cv2.dnn.blobFromImage(luma))
    return float(net.forward().mean())


class Measures(LivePipeline):
    capacity = 4

    def setup(self) -> None:
        self.net = cv2.dnn.readNetFromCaffe(np.frombuffer(NET, np.uint8))

    def process_video(self, frame: VideoFrame) -> None:
        luma = np.ascontiguousarray(frame.view()[0])
        alone = infer(cv2.dnn.readNetFromCaffe(np.frombuffer(NET, np.uint8)), luma)
        self.emit_data({"shared": infer(self.net, luma), "alone": alone})


async def test_one_net_for_four_streams_is_never_mixed_up(
    stage: Any, make_clip: Callable[..., Any]
) -> None:
    async with stage(Measures) as it:
        names = ["a", "b", "c", "d"]
        for name in names:
            await it.start(name)
        sessions = [it.server.service.work.sessions[name] for name in names]
        data = [asyncio.create_task(it.records(f"{name}-data")) for name in names]
        await asyncio.gather(*(it.feed(name, make_clip(30, audio=False)) for name in names))
        found = await asyncio.gather(*data)
        await it.until(lambda: all(session.over for session in sessions))
    for records, session in zip(found, sessions, strict=True):
        assert len(records) + session.status.dropped == 30
        assert len(records) > 0
        assert all(record["shared"] == record["alone"] for record in records)
