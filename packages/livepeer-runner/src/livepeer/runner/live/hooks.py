"""An author's hooks: which there are."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from livepeer.runner.author.definition import LIVE_HOOKS, check_arguments, check_hooks, check_live
from livepeer.runner.author.live_pipeline import LivePipeline
from livepeer.runner.exceptions import SignatureError


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks that a class has."""

    names: frozenset[str]

    @classmethod
    def of(cls, pipeline: type[LivePipeline]) -> Hooks:
        """Look them up. Raises `SignatureError` for what can never be called as it stands."""
        found = set()
        for name in LIVE_HOOKS:
            hook = getattr(pipeline, name, None)
            if hook is None:
                continue
            check_arguments(pipeline, name, _ARGUMENTS[name])
            found.add(name)
        if {"process_video", "process_video_batch"} <= found:
            raise SignatureError(
                f"{pipeline.__name__} has process_video and process_video_batch: keep one of them"
            )
        check_arguments(pipeline, "warm_up", ())
        check_hooks(pipeline, (*LIVE_HOOKS, "warm_up"))
        check_live(pipeline)
        return cls(frozenset(found))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def video(self) -> bool:
        return "process_video" in self or "process_video_batch" in self

    @property
    def audio(self) -> bool:
        return "process_audio" in self

    @property
    def generates(self) -> bool:
        return "generate" in self

    @property
    def relays(self) -> bool:
        """Whether input goes to output as it is, byte for byte."""
        return not (self.video or self.audio or self.generates)


_ARGUMENTS = {
    "on_stream_start": ("params",),
    "process_video": ("frame",),
    "process_audio": ("frame",),
    "process_video_batch": ("items",),
    "generate": (),
    "on_params_update": ("params",),
    "on_control": ("message",),
    "on_stream_stop": (),
}


def is_async(hook: Any) -> bool:
    """Whether it is written `async def`, with `yield` or without."""
    return inspect.iscoroutinefunction(hook) or inspect.isasyncgenfunction(hook)
