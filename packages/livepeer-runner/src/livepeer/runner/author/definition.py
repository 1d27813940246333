"""What is wrong with a class as it is written, though Python takes it: its metadata, its hooks."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Collection, Iterable
from typing import Any

from livepeer.runner.exceptions import SignatureError

# Every hook that the SDK looks for. Those that work are no methods of the base classes, so that
# each may be sync or async, return or yield, and still type-check under mypy strict.
BATCH_HOOKS = ("predict", "predict_batch")
WORKING_HOOKS = ("process_video", "process_audio", "process_video_batch", "generate")
"""Those that make or change frames; a live class without any relays its input."""
LIVE_HOOKS = (
    *WORKING_HOOKS,
    "on_stream_start",
    "on_params_update",
    "on_control",
    "on_stream_stop",
)
HOOK_ARGUMENTS = {
    "on_stream_start": ("params",),
    "process_video": ("frame",),
    "process_audio": ("frame",),
    "process_video_batch": ("items",),
    "generate": (),
    "on_params_update": ("params",),
    "on_control": ("message",),
    "on_stream_stop": (),
}
"""What a live hook is called with, besides `self`."""
_PROCESS_HOOKS = ("setup", "teardown")
_WORKERS = ("run", "infer", "inference", "forward", "process", "handle", "generate", "__call__")
"""What other frameworks call the one that does the work."""
_FRAMES = ("process", "transform", "on_frame", "on_video", "on_audio", *_WORKERS)
_ALIKE = 0.85
"""As alike as `process_vidoe` and `process_video`, not as `predict` and `predict_one`."""


def check(cls: type, name: str, good: bool, what: str) -> None:
    """Raises `ValueError` that says what to write, unless it is good."""
    if not good:
        value = getattr(cls, name)
        raise ValueError(f"{cls.__name__}.{name} is {value!r}: write {what}")


def is_number(value: object, *, zero: bool = False) -> bool:
    """A finite number above 0, or 0 where `zero` allows it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and (value > 0 or (zero and value == 0))


def is_count(value: object, *, zero: bool = False) -> bool:
    """A whole number, 1 or more, or 0 where `zero` allows it."""
    return isinstance(value, int) and is_number(value, zero=zero)


def check_class_hook(cls: type, name: str) -> None:
    """For what is called on the class itself. Raises `SignatureError` for a plain method."""
    hook = cls.__dict__.get(name)
    if inspect.isfunction(hook) and inspect.signature(hook).parameters:
        raise SignatureError(
            f"{cls.__name__}.{name} is called on the class, while an image is built: write "
            f"`@classmethod` above it, and `def {name}(cls) -> None:`"
        )


def check_arguments(cls: type, name: str, arguments: tuple[str, ...]) -> None:
    """Raises `SignatureError` for a hook that cannot be called with these."""
    hook = getattr(object.__new__(cls), name)  # as it will be called: without `self`
    if not callable(hook):
        raise SignatureError(f"{cls.__name__}.{name} is no method: write `def {name}`")
    wanted = ", ".join(("self", *arguments))
    try:
        signature = inspect.signature(hook)
    except ValueError as error:
        if not inspect.ismethod(hook):
            return  # something that Python cannot look into
        raise SignatureError(
            f"{cls.__name__}.{name}() has no `self`; write `def {name}({wanted})`"
        ) from error
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise SignatureError(
            f"{cls.__name__}.{name}{signature} cannot be called: {error}; "
            f"write `def {name}({wanted})`"
        ) from error


def check_hooks(cls: type, hooks: Collection[str]) -> None:
    """Raises `SignatureError` for a method whose name is nearly that of a hook that is not there.

    A name that begins with an underscore is the author's own.
    """
    for name in _PROCESS_HOOKS:
        check_arguments(cls, name, ())
    hooks = (*hooks, *_PROCESS_HOOKS, "prepare_models")
    written = set(_own_methods(cls))
    missing = [hook for hook in hooks if hook not in written]
    for name in sorted(written.difference(hooks)):
        if near := nearest_hook(name, missing):
            raise SignatureError(
                f"{cls.__name__}.{name} is never called: did you mean `{near}`? (If it is a "
                f"method of your own, call it `_{name}`.)"
            )


def check_live(cls: type) -> None:
    """A live class without a hook that works on frames relays, unless it was meant otherwise: then
    raises `SignatureError`."""
    written = set(_own_methods(cls))
    if written & set(WORKING_HOOKS):
        return
    if of_batch := sorted(written & set(BATCH_HOOKS)):
        raise SignatureError(
            f"{cls.__name__}.{of_batch[0]} is never called: it belongs to a `Pipeline`, and a "
            f"LivePipeline has process_video, process_audio, generate; derive from Pipeline, or "
            f"write one of those"
        )
    for name in sorted(written):
        if name in _FRAMES or name.startswith("process_"):
            raise SignatureError(
                f"{cls.__name__}.{name} is never called: a LivePipeline works in "
                f"`def process_video(self, frame)`, `process_audio` or `generate`"
            )


def instead_of_predict(cls: type) -> str:
    """What a class that has no `predict` may have meant, as the middle of a sentence."""
    written = set(_own_methods(cls))
    if found := sorted(written & set(LIVE_HOOKS)):
        return f"; it has `{found[0]}`, a hook of LivePipeline: derive from that, or"
    for name in _WORKERS:
        if name in written:
            return f"; it has `{name}`: call that `predict`, or"
    if near := nearest_hook("predict", sorted(written)):
        return f"; it has `{near}`: did you mean that? Call it `predict`, or"
    return ";"


def _own_methods(cls: type) -> Iterable[str]:
    """The public methods that an author wrote, those of an author's bases too."""
    for owner in cls.__mro__:
        if owner is object or owner.__module__.partition(".")[0] == "livepeer":
            continue
        for name, value in vars(owner).items():
            if name == "__call__" or (not name.startswith("_") and _is_method(value)):
                yield name


def _is_method(value: Any) -> bool:
    return isinstance(value, classmethod | staticmethod) or inspect.isroutine(value)


def nearest_hook(name: str, hooks: Collection[str]) -> str | None:
    """Of the hooks the one that a name is meant for, by how alike the letters are, in either case;
    None for a name that is like none of them."""
    plain = {hook.replace("_", "").lower(): hook for hook in hooks}
    found = difflib.get_close_matches(name.replace("_", "").lower(), plain, n=1, cutoff=_ALIKE)
    return plain[found[0]] if found else None
