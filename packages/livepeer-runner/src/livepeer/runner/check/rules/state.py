"""State that jobs and streams share without meaning to."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.rules.hooks import hooks_of
from livepeer.runner.check.source import Function, PipelineSource, is_self, within

MAKERS = (
    *("list", "dict", "set", "bytearray", "collections.deque", "collections.defaultdict"),
    *("collections.Counter", "collections.OrderedDict"),
)
CHANGERS = (
    *("append", "extend", "insert", "remove", "pop", "popleft", "appendleft", "clear", "add"),
    *("update", "setdefault", "discard", "sort", "reverse", "popitem"),
)
GROWERS = ("append", "extend", "appendleft", "add", "update", "setdefault", "insert")
UNSAFE = {
    "llama_cpp.Llama": "its context holds one conversation",
    "pocketsphinx.Decoder": "it holds one utterance",
    "mediapipe.solutions": "a graph takes one picture at a time",
    "tflite_runtime.interpreter.Interpreter": "its tensors are one set",
    "cv2.dnn": "measured: wrong results in two threads",
    "diffusers": "its scheduler counts the steps of one job",
}
_OF_PROCESS = ("setup", "warm_up", "teardown", "prepare_models")
_RUN_ELSEWHERE = ("asyncio.to_thread",)


def shared_state(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Containers of the class, or of `setup`, that the work of jobs or streams changes in place."""
    of_class = {
        name: value
        for name, (_, value) in cls.attributes.items()
        if value is not None and _is_container(cls, value)
    }
    of_setup = _made_in_setup(cls, lists_only=cls.kind == "batch")
    apart = _assigned_in(cls, ("on_stream_start",)) if cls.kind == "live" else set()
    made = _assigned_in(cls, ("setup", "__init__"))
    others = "streams" if cls.kind == "live" else "jobs"
    hooks = [hook for hook in hooks_of(cls) if hook not in _OF_PROCESS]
    told: set[str] = set()
    for method in cls.called_from(tuple(hooks)).values():
        for node, name, grows in _changes(method):
            if name in told or name in apart:
                continue
            if name in of_class and name not in made:
                told.add(name)
                yield cls.source.finding(
                    node,
                    "shared_state",
                    "warning",
                    f"self.{name} belongs to the class: all {others} change the same one in "
                    f"{cls.name}.{method.name}",
                    _fix(cls, name),
                )
            elif name in of_setup and grows:
                told.add(name)
                yield cls.source.finding(
                    node,
                    "shared_state",
                    "warning",
                    f"self.{name} is made in `{of_setup[name]}`: all {others} change the same one "
                    f"in {cls.name}.{method.name}",
                    _fix(cls, name),
                )


def _fix(cls: PipelineSource, name: str) -> str:
    if cls.kind == "live":
        return f"make it in `on_stream_start(self, params)`: `self.{name} = ...` is a stream's own"
    return "make it a variable of `predict`; what jobs are to share needs a lock and a bound"


def _is_container(cls: PipelineSource, value: ast.expr) -> bool:
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    return isinstance(value, ast.Call) and cls.source.dotted(value.func) in MAKERS


def _assigned_in(cls: PipelineSource, hooks: tuple[str, ...]) -> set[str]:
    return {name for _, name, _ in _assignments(cls, hooks)}


def _made_in_setup(cls: PipelineSource, *, lists_only: bool) -> dict[str, str]:
    """Names and hooks. Of a Pipeline only lists count: a dict is its cache, more often than not."""
    return {
        name: hook
        for hook, name, value in _assignments(cls, ("setup", "__init__"))
        if (isinstance(value, ast.List) if lists_only else _is_container(cls, value))
    }


def _assignments(
    cls: PipelineSource, hooks: tuple[str, ...]
) -> Iterator[tuple[str, str, ast.expr]]:
    """`self.name = value` of the hooks and of what they call: hook, name, value."""
    for hook in hooks:
        for method in cls.called_from((hook,)).values():
            for node in within(method):
                if isinstance(node, ast.Assign):
                    targets = [one for target in node.targets for one in _each(target)]
                elif isinstance(node, ast.AnnAssign) and node.value is not None:
                    targets = [node.target]
                else:
                    continue
                assert node.value is not None
                for target in targets:
                    if is_self(target):
                        yield hook, target.attr, node.value


def _each(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, ast.Tuple | ast.List):
        for one in target.elts:
            yield from _each(one)
    else:
        yield target


def _changes(method: Function) -> Iterator[tuple[ast.AST, str, bool]]:
    """Where a method changes `self.name` in place; and whether it grows by that."""
    for node in within(method):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in CHANGERS and is_self(node.func.value):
                yield node, node.func.value.attr, node.func.attr in GROWERS
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            if is_self(node.value):
                yield node, node.value.attr, isinstance(node.ctx, ast.Store)
        elif isinstance(node, ast.AugAssign) and is_self(node.target):
            yield node, node.target.attr, False


def unsafe_in_threads(cls: PipelineSource) -> Iterator[SourceFinding]:
    """A model that bears one call at a time, in a class that makes several."""
    models = {
        name: why
        for _, name, value in _assignments(cls, ("setup", "__init__"))
        if isinstance(value, ast.Call) and (why := _unsafe(cls, value))
    }
    capacity = cls.constant("capacity")
    several = isinstance(capacity, int) and capacity > 1
    if not models or not several:
        return
    hooks = tuple(hook for hook in hooks_of(cls) if hook not in ("setup", "prepare_models"))
    threads = cls.constant("thread_safe") is True
    told: set[str] = set()
    for method in cls.called_from(hooks).values():
        asynchronous = isinstance(method, ast.AsyncFunctionDef)
        for node in within(method):
            name = _model_of(node) if threads and not asynchronous else _elsewhere(cls, node)
            if name not in models or name in told:
                continue
            told.add(name)
            yield cls.source.finding(
                node,
                "unsafe_in_threads",
                "warning",
                f"self.{name} is called by up to {capacity} threads at once in "
                f"{cls.name}.{method.name}: {models[name]}",
                "take `thread_safe = True` away and call it in a plain `def`: such calls run one "
                "at a time; or hold a lock while it runs",
            )


def _unsafe(cls: PipelineSource, call: ast.Call) -> str:
    name = cls.source.dotted(call.func)
    return next((why for known, why in UNSAFE.items() if name.startswith(known)), "")


def _model_of(node: ast.AST) -> str:
    """`net` of `self.net(...)` and `self.net.forward(...)`."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    if is_self(function):
        return function.attr
    if isinstance(function, ast.Attribute) and is_self(function.value):
        return function.value.attr
    return ""


def _elsewhere(cls: PipelineSource, node: ast.AST) -> str:
    """The model that is handed to a thread: `asyncio.to_thread(self.net.forward, ...)`."""
    if not isinstance(node, ast.Call):
        return ""
    executor = isinstance(node.func, ast.Attribute) and node.func.attr == "run_in_executor"
    if cls.source.dotted(node.func) not in _RUN_ELSEWHERE and not executor:
        return ""
    for argument in node.args:
        if is_self(argument):
            return argument.attr
        if isinstance(argument, ast.Attribute) and is_self(argument.value):
            return argument.value.attr
    return ""
