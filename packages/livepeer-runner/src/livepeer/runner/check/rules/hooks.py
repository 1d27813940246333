"""Names that the SDK never looks for: of hooks, of metadata; and hooks that are written wrongly."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator

from livepeer.runner.author.definition import (
    BATCH_HOOKS,
    HOOK_ARGUMENTS,
    LIVE_HOOKS,
    WORKING_HOOKS,
    nearest_hook,
)
from livepeer.runner.author.pipeline import is_pipeline_id
from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.source import PipelineSource

PROCESS_HOOKS = ("setup", "teardown", "prepare_models")
ELSEWHERE = {
    "setUp": "setup",
    "load": "setup",
    "load_model": "setup",
    "load_models": "setup",
    "initialize": "setup",
    "init": "setup",
    "startup": "setup",
    "on_startup": "setup",
    "start": "setup",
    "tearDown": "teardown",
    "cleanup": "teardown",
    "shutdown": "teardown",
    "on_shutdown": "teardown",
    "download": "prepare_models",
    "download_models": "prepare_models",
    "download_weights": "prepare_models",
    "prepare": "prepare_models",
}
"""What other frameworks call the hooks of the process, and what they are called here."""
ELSEWHERE_LIVE = {
    "warmup": "warm_up",
    "transform": "process_video",
    "process_frame": "process_video",
    "on_frame": "process_video",
    "on_start": "on_stream_start",
    "start_stream": "on_stream_start",
    "on_stop": "on_stream_stop",
    "on_end": "on_stream_stop",
    "on_stream_end": "on_stream_stop",
    "stop_stream": "on_stream_stop",
    "update_params": "on_params_update",
    "on_params": "on_params_update",
    "on_update": "on_params_update",
    "on_message": "on_control",
}
METADATA = (
    *("pipeline_id", "version", "description", "capacity", "queue_timeout", "queue_size"),
    *("thread_safe", "gpu", "min_vram_gb", "max_batch_size", "max_batch_wait_ms"),
)
METADATA_BATCH = (*METADATA, "timeout")
METADATA_LIVE = (
    *(*METADATA, "realtime", "passthrough", "output", "audio_output", "hook_timeout"),
    *("on_error", "max_errors", "idle_timeout", "params"),
)
ELSEWHERE_METADATA = {
    "name": "pipeline_id",
    "id": "pipeline_id",
    "max_concurrency": "capacity",
    "concurrency": "capacity",
    "vram": "min_vram_gb",
    "vram_gb": "min_vram_gb",
}
ALIKE = 0.85

_ARGUMENTS = {"__init__": (), "setup": (), "teardown": (), "warm_up": (), **HOOK_ARGUMENTS}


def hooks_of(cls: PipelineSource) -> tuple[str, ...]:
    """Every hook that the SDK looks for in a class of this kind."""
    return (
        (*BATCH_HOOKS, *PROCESS_HOOKS)
        if cls.kind == "batch"
        else (*LIVE_HOOKS, "warm_up", *PROCESS_HOOKS)
    )


def misspelt_hooks(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Methods that read like a hook, and are none."""
    hooks = hooks_of(cls)
    missing = [hook for hook in hooks if hook not in cls.methods]
    elsewhere = ELSEWHERE | (ELSEWHERE_LIVE if cls.kind == "live" else {})
    for name, method in cls.methods.items():
        if name in hooks or name.startswith("_") or name in cls.used or method.decorator_list:
            continue
        if near := nearest_hook(name, missing):
            yield cls.source.finding(
                method,
                "hook_misspelt",
                "error",
                f"{cls.name}.{name} is never called: it reads like `{near}`",
                f"call it `{near}`, or `_{name}` if it is a method of your own",
            )
        elif (meant := elsewhere.get(name)) and meant in missing:
            works = any(hook in cls.methods for hook in WORKING_HOOKS)
            relays = cls.kind == "live" and meant in WORKING_HOOKS and not works
            yield cls.source.finding(
                method,
                "hook_unknown",
                "error" if relays else "warning",
                f"{cls.name}.{name} is called by nothing in this file, and is no hook",
                f"call it `{meant}`, which the SDK calls; or `_{name}` if it is your own",
            )


def wrong_kind(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Hooks of the other kind of pipeline."""
    if cls.kind == "batch":
        own: tuple[str, ...] = BATCH_HOOKS
        others: tuple[str, ...] = tuple(name for name in LIVE_HOOKS if name != "generate")
    else:
        own, others = WORKING_HOOKS, BATCH_HOOKS
    works = any(name in cls.methods for name in own)
    for name in others:
        if name in cls.methods and name not in cls.used:
            other = "LivePipeline" if cls.kind == "batch" else "Pipeline"
            yield cls.source.finding(
                cls.methods[name],
                "hook_of_other_kind",
                "warning" if works else "error",
                f"{cls.name}.{name} is never called: it is a hook of {other}",
                f"derive the class from {other}, or name the method otherwise",
            )


def wrong_arguments(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Hooks that cannot be called with what they are given."""
    for name, wanted in _ARGUMENTS.items():
        method = cls.methods.get(name)
        if method is None or method.decorator_list or (name == "generate" and cls.kind == "batch"):
            continue
        given = method.args
        positional = len(given.posonlyargs) + len(given.args)
        required = positional - len(given.defaults)
        more = sum(default is None for default in given.kw_defaults)
        count = len(wanted) + 1
        if required <= count and not more and (positional >= count or given.vararg):
            continue
        written = f"def {name}({', '.join(('self', *wanted))})"
        yield cls.source.finding(
            method,
            "hook_arguments",
            "error",
            f"{cls.name}.{name} cannot be called: it is given {_listed(wanted)}",
            f"write `{written}`",
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "nothing but self"


def class_hook(cls: PipelineSource) -> Iterator[SourceFinding]:
    """`prepare_models` is called on the class."""
    method = cls.methods.get("prepare_models")
    if method is None or method.decorator_list or not method.args.args:
        return
    yield cls.source.finding(
        method,
        "prepare_not_classmethod",
        "error",
        f"{cls.name}.prepare_models is called on the class, while an image is built",
        "write `@classmethod` above it, and `def prepare_models(cls) -> None:`",
    )


def unannotated(cls: PipelineSource) -> Iterator[SourceFinding]:
    """A `predict` whose parameters or result have no type: there is no schema to be made."""
    method = cls.methods.get("predict")
    if cls.kind != "batch" or method is None or "predict_batch" in cls.methods:
        return
    arguments = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
    defaults = dict(
        zip(
            [
                one.arg
                for one in reversed(arguments[: len(arguments) - len(method.args.kwonlyargs)])
            ],
            reversed(method.args.defaults),
            strict=False,
        )
    )
    static = any(ast.unparse(one) == "staticmethod" for one in method.decorator_list)
    for argument in arguments[0 if static else 1 :]:
        if argument.annotation is None:
            yield cls.source.finding(
                argument,
                "type_missing",
                "error",
                f"{cls.name}.predict: parameter `{argument.arg}` has no type hint",
                f"write `{argument.arg}: {_type_of(defaults.get(argument.arg))}` or what else it "
                f"is (int, float, list[str], a BaseModel, Image, ...)",
            )
    if method.returns is None:
        yield cls.source.finding(
            method,
            "type_missing",
            "error",
            f"{cls.name}.predict has no return type",
            "write `-> str`, `-> dict[str, Any]`, a BaseModel, or what else it returns",
        )


def _type_of(default: ast.expr | None) -> str:
    """What a parameter with this default is, most likely."""
    value = getattr(default, "value", None)
    return type(value).__name__ if isinstance(value, bool | int | float | str) else "str"


def metadata(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Attributes of the class that read like metadata, and names that a registry refuses."""
    known = METADATA_BATCH if cls.kind == "batch" else METADATA_LIVE
    for name, (statement, _) in cls.attributes.items():
        if name in known or name.startswith("_") or name in cls.used:
            continue
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=ALIKE)
        meant = near[0] if near else ELSEWHERE_METADATA.get(name)
        if meant is not None and meant not in cls.attributes:
            yield cls.source.finding(
                statement,
                "metadata_unknown",
                "warning",
                f"{cls.name}.{name} is read by nobody: it reads like `{meant}`",
                f"write `{meant} = ...`",
            )
    given = cls.constant("pipeline_id")
    if isinstance(given, str) and not is_pipeline_id(given):
        yield cls.source.finding(
            cls.attributes["pipeline_id"][0],
            "name_refused",
            "error",
            f"{cls.name}.pipeline_id is {given!r}, which registries of images refuse",
            f"write small letters, digits and single dashes: {_plain(given)!r}",
        )


def _plain(name: str) -> str:
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return made or "text-to-image"
