"""No frame comes between new parameters and `on_params_update`."""

from __future__ import annotations

import asyncio
from typing import Any

from livepeer.runner import LivePipeline, VideoFrame

SEEN: list[tuple[str, int]] = []


class Held(LivePipeline):
    async def on_stream_start(self, params: Any) -> None:
        SEEN.clear()

    async def process_video(self, frame: VideoFrame) -> None:
        SEEN.append(("frame", self.params["n"]))

    async def on_params_update(self, params: Any) -> None:
        SEEN.append(("update", params["n"]))


async def test_a_frame_that_waits_sees_an_update_whole(
    stage: Any,
) -> None:
    async with stage(Held) as it:
        await it.start(params={"n": 0})
        session = it.server.service.work.sessions["s"]
        queued = asyncio.run_coroutine_threadsafe(_update_then_frame(session), it.loop)
        await asyncio.wrap_future(queued)
        assert SEEN == [("update", 1), ("frame", 1)]


async def _update_then_frame(session: Any) -> None:
    await session.flowing()
    caller, copy = session.stream.caller, session.stream.copy
    async with caller.turn:
        session.update({"n": 1})
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it waits for its turn now
        frame = asyncio.create_task(caller.call(copy.process_video, None))
        await asyncio.sleep(0)  # and so does the frame
    await frame
    await session.applied()
