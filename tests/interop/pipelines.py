"""Containers for `test_orchestrator.py`: `python pipelines.py CLASS`, told by the environment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from pydantic import BaseModel, Field

from livepeer.runner import LivePipeline, Pipeline, VideoFrame, serve


class Echo(Pipeline):
    """Say it again."""

    capacity = 2

    def predict(self, text: str) -> dict[str, str]:
        return {"text": text}


class Count(Pipeline):
    """Count until the caller leaves."""

    async def predict(self) -> AsyncIterator[dict[str, int]]:
        i = 0
        while True:
            yield {"i": i}
            i += 1
            await asyncio.sleep(0.01)


class TintParams(BaseModel):
    u: int = Field(128, ge=0, le=255)


class Tint(LivePipeline):
    """Colour a video, and tell what it is coloured with."""

    params: TintParams

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        return frame

    def on_params_update(self, params: TintParams) -> None:
        self.emit_data({"u": params.u})


if __name__ == "__main__":
    serve({cls.__name__.lower(): cls for cls in (Echo, Count, Tint)}[sys.argv[1]])
