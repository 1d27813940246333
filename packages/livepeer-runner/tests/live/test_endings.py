"""How a stream ends where its caller says how: what it waits for, and what it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.live.request import reads_no_more

FOR_EVER = 600.0


class Echo(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.emit_data({"picture": True})
        return frame


async def fed(it: Any, make_clip: Any) -> Any:
    """A stream amid its input, whose channels would stay for readers for ever."""
    await it.start()
    feeding = asyncio.create_task(it.feed("s", make_clip(500)))
    session = it.server.service.work.sessions["s"]
    await it.until(lambda: session.status.output.count > 3)
    feeding.cancel()
    await asyncio.wait([feeding])
    return session


async def test_a_stop_whose_caller_reads_no_more_waits_for_no_reader(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Echo, linger=FOR_EVER) as it:
        session = await fed(it, make_clip)
        stopped = await it.post("stop", "s", {"reason": "enough", "linger": 0})
        assert stopped.status_code == 200
        assert session.over, "it waits for readers"
        assert it.free == 1
        for ending in ("-out", "-events", "-data"):
            assert it.trickle.get(f"s{ending}") is None


async def test_a_later_stop_ends_the_wait_for_readers(stage: Any, make_clip: Any) -> None:
    async with stage(Echo, linger=FOR_EVER) as it:
        session = await fed(it, make_clip)
        waiting = asyncio.create_task(it.post("stop", "s"))
        # It is slower than the last frames, and waits for their readers from then on.
        await asyncio.wait([waiting], timeout=1)
        assert not waiting.done()
        assert not session.over
        await it.post("stop", "s", {"linger": 0})
        assert (await waiting).status_code == 200
        assert session.over


@pytest.mark.parametrize(
    "body", [b"", b"stream ended", b'{"linger": 1}', b'{"linger": false}', b"[0]", b"[" * 5000]
)
def test_any_other_stop_keeps_the_channels_for_readers_that_are_behind(body: bytes) -> None:
    assert not reads_no_more(body)
    assert reads_no_more(b'{"linger": 0}')
    assert not reads_no_more(b'{"linger": 0, "why": "' + b"x" * 5000 + b'"}')
