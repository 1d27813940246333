"""`run_live`: a live class on a clip, with everything real and nothing to configure."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from livepeer.runner.author.live_pipeline import LivePipeline
from livepeer.runner.live.hooks import Hooks
from livepeer.runner.live.params import ParamsType
from livepeer.runner.local.host import serve
from livepeer.runner.local.stream import LiveResult, Source, Told
from livepeer.runner.settings import Settings

if TYPE_CHECKING:
    from livepeer.runner.local.stream import Frame


async def run_live(
    cls: type[LivePipeline],
    source: Source | None = None,
    *,
    params: dict[str, Any] | None = None,
    updates: Told = (),
    messages: Told = (),
    speed: float | None = None,
    seconds: float | None = None,
    on_frame: Callable[[Frame], None] | None = None,
) -> LiveResult:
    """Run a live class on a file, its bytes, or frames, and collect what it gives.

    It goes through a trickle server, real H.264 and AAC, and the app's own session, all on the
    loopback. `updates` are `(seconds, params)`: applied when the input has come so far; `messages`
    are the same for `on_control`. `speed`: None feeds as fast as the pipeline takes it and drops
    nothing; 1.0 is a live source, with whatever `realtime` says. `source` may be None for a class
    with `generate`, which `seconds` ends. `on_frame` gets each frame instead of its being
    collected.

    Raises `RuntimeError` where setup fails, `InvalidInput` for the first parameters, `ValueError`
    without a source for a class that makes no frames itself, and what the source or `on_frame`
    raises.
    """
    if source is None and not Hooks.of(cls).generates:
        raise ValueError(f"{cls.__name__} has no generate(): give it a source")
    ParamsType.of(cls).first(params)  # before a model is loaded for nothing
    if speed is None:
        cls = _lossless(cls)
    settings = dataclasses.replace(Settings.from_env({}), host="127.0.0.1")
    began = time.monotonic()
    async with serve(cls, settings) as hosted:
        result = await hosted.run_live(
            source,
            params=params,
            updates=updates,
            messages=messages,
            speed=speed,
            seconds=seconds,
            on_frame=on_frame,
        )
    result.seconds = time.monotonic() - began
    return result


def _lossless(cls: type[LivePipeline]) -> type[LivePipeline]:
    if not cls.realtime:
        return cls
    own = {"realtime": False, "pipeline_id": cls.pipeline_id, "__module__": cls.__module__}
    return type(cls.__name__, (cls,), own)
