"""Pipelines that the examples have no reason to be: `python pipelines.py NAME`."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel, Field

from livepeer.runner import LivePipeline, Pipeline, VideoFrame, serve


class Count(Pipeline):
    """Count until the caller leaves; says so in its log, for there is no other way to see it."""

    queue_timeout = 0  # who finds it full is to hear that at once

    async def predict(self) -> AsyncIterator[dict[str, int]]:
        i = 0
        try:
            while True:
                yield {"i": i}
                i += 1
                await asyncio.sleep(0.01)
        finally:
            self.log.info("the count was stopped")


class Who(Pipeline):
    """Say which process it is, once `folder` has the file `go`; each call has a file there too."""

    capacity = 2
    queue_timeout = 0

    async def predict(self, folder: str) -> int:
        place = Path(folder)
        (place / f"{os.getpid()}.{uuid.uuid4().hex}").touch()
        while not (place / "go").exists():  # noqa: ASYNC110 — another process makes it
            await asyncio.sleep(0.02)
        return os.getpid()


class PaintParams(BaseModel):
    u: int = Field(128, ge=0, le=255)


class Paint(LivePipeline):
    """Paint the picture, tell of it, and say in the log when a stream stops."""

    queue_timeout = 0
    params: PaintParams

    def on_stream_start(self, params: PaintParams) -> None:
        self.seen = 0

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.seen += 1
        frame.planes[1][:] = self.params.u
        self.emit_data({"seen": self.seen, "u": self.params.u})
        return frame

    def on_stream_stop(self) -> None:
        self.log.info("the painting was stopped")


if __name__ == "__main__":
    serve({cls.pipeline_id: cls for cls in (Count, Paint, Who)}[sys.argv[1]])
