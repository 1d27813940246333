"""A live container made with pytrickle: pictures pass as they are. Needs a Python that has it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from pytrickle import StreamProcessor  # type: ignore[import-not-found]


async def video(frame: Any) -> Any:
    return frame


async def load(**settings: Any) -> None:
    """There is no model."""


if __name__ == "__main__":
    processor = StreamProcessor(
        video_processor=video,
        model_loader=load,
        name="through",
        port=int(sys.argv[1]),
        host="127.0.0.1",
    )
    asyncio.run(processor.run_forever())
