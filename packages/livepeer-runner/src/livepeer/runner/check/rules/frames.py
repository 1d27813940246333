"""What hooks give back: frames that get lost, results that are no JSON, events without a type."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.source import Function, PipelineSource, calls, ends, within


def not_returned(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Paths of a hook that end without what it gives on others."""
    names = ("predict",) if cls.kind == "batch" else ("process_video", "process_audio")
    for name in names:
        method = cls.methods.get(name)
        if method is None or _yields(method) or _may_be_none(method.returns):
            continue
        if _is_stub(method):
            continue
        given = [one for one in within(method) if isinstance(one, ast.Return) and one.value]
        bare = [
            one
            for one in within(method)
            if isinstance(one, ast.Return)
            and (one.value is None or (given and _is_none(one.value)))
        ]
        for node in bare:
            if cls.kind == "live" and node.value is not None:
                continue  # `return None` says that the frame is dropped
            yield _lost(cls, method, node)
        if not ends(method.body) and (given or not _says_nothing(cls, method)):
            yield _lost(cls, method, method.body[-1] if given else method)


def _lost(cls: PipelineSource, method: Function, node: ast.AST) -> SourceFinding:
    if cls.kind == "live":
        return cls.source.finding(
            node,
            "frame_not_returned",
            "warning",
            f"{cls.name}.{method.name} ends here without a frame: the frame is dropped",
            "write `return frame`; where it is to be dropped, `return None`, and say so in the "
            "type: `-> VideoFrame | None`",
        )
    return cls.source.finding(
        node,
        "result_not_returned",
        "warning",
        f"{cls.name}.{method.name} ends here without a result: its caller gets an error",
        "return a value on every path, or raise errors.InvalidInput or errors.PipelineError",
    )


def _says_nothing(cls: PipelineSource, method: Function) -> bool:
    """A hook that returns nothing anywhere, and means it: `-> None`, or an untyped `predict`,
    which is refused for that alone; or one of a class that passes nothing on."""
    if cls.kind == "batch":
        return method.returns is None or _yields(method)
    return cls.constant("passthrough") is False and method.returns is None


def _is_stub(method: Function) -> bool:
    """`...`, a docstring, `raise NotImplementedError`."""
    last = method.body[-1]
    return isinstance(last, ast.Raise) or (
        len(method.body) == 1
        and isinstance(last, ast.Expr)
        and isinstance(last.value, ast.Constant)
    )


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _may_be_none(hint: ast.expr | None) -> bool:
    """`None`, `X | None`, `Optional[X]`, `Any`, and the iterators, which may give nothing."""
    if hint is None:
        return False
    text = ast.unparse(hint)
    return any(word in text for word in ("None", "Optional", "Any", "Iter", "Generator"))


def _yields(function: ast.AST) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in within(function))


ARRAYS = ("numpy.", "cv2.", "torch.")


def array_returned(cls: PipelineSource) -> Iterator[SourceFinding]:
    """An array or a picture of Pillow, where a frame or a file is to be given."""
    for name in ("predict", "process_video", "process_audio"):
        method = cls.methods.get(name)
        if method is None:
            continue
        if name == "predict":
            made = cls.source.dotted(method.returns) if method.returns is not None else ""
            if made not in ("livepeer.runner.Image", "livepeer.runner.Audio"):
                continue
            fix = f"write `return {made.rpartition('.')[2]}.from_ndarray(...)`"
            wanted = f"is to give {made.rpartition('.')[2]}"
        else:
            fix = "write `return frame.replace(...)`, which keeps the frame's time"
            wanted = "is to give a frame"
        arrays = _arrays(cls, method)
        for node in within(method):
            if not isinstance(node, ast.Return | ast.Yield) or node.value is None:
                continue
            value = node.value
            named = isinstance(value, ast.Name) and value.id in arrays
            if named or _is_array(cls, value):
                yield cls.source.finding(
                    node,
                    "array_returned",
                    "error",
                    f"{cls.name}.{name} {wanted}, and gives an array",
                    fix,
                )


def _arrays(cls: PipelineSource, method: Function) -> set[str]:
    """Names that nothing but arrays are assigned to."""
    found: dict[str, list[bool]] = {}
    for node in within(method):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for one in ast.walk(target):
                    if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                        whole = one is target
                        found.setdefault(one.id, []).append(whole and _is_array(cls, node.value))
        elif isinstance(node, ast.For | ast.NamedExpr | ast.AnnAssign | ast.withitem):
            for one in ast.walk(node):
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                    found.setdefault(one.id, []).append(False)
    return {name for name, all_ in found.items() if all(all_)}


def _is_array(cls: PipelineSource, node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("to_ndarray", "to_tensor"):
        return True
    return cls.source.dotted(node.func).startswith(ARRAYS)


def read_only(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Writing into `frame.view()`, whose arrays are the decoder's own."""
    for method in cls.methods.values():
        viewed: set[str] = set()
        for node in within(method):
            if isinstance(node, ast.Assign) and _is_view(node.value):
                for target in node.targets:
                    viewed |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
        if not viewed:
            continue
        for node in within(method):
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id in viewed
            ):
                yield cls.source.finding(
                    node,
                    "view_written",
                    "error",
                    f"`{node.value.id}` comes of frame.view(), which is read-only",
                    "take `y, u, v = frame.planes`, which are writable; or work on "
                    "`frame.to_ndarray()` and return `frame.replace(...)`",
                )
                break


def _is_view(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "view"
        and not node.args
        and isinstance(node.func.value, ast.Name)
    )


def not_json(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Values of a result, a record or an event that JSON has no form for."""
    work = ("predict", "predict_batch") if cls.kind == "batch" else tuple(cls.methods)
    for name in work:
        method = cls.methods.get(name)
        if method is None:
            continue
        values: list[ast.expr] = []
        if cls.kind == "batch":
            values = [
                one.value
                for one in within(method)
                if isinstance(one, ast.Return | ast.Yield) and one.value is not None
            ]
        for call in calls(method):
            if cls.source.dotted(call.func) in ("self.emit_data", "self.emit_event"):
                values += call.args[:1]
        for value in values:
            for node in _inside(value):
                if what := _no_form(cls, node):
                    yield cls.source.finding(
                        node,
                        "output_not_json",
                        "warning",
                        f"{cls.name}.{name} gives {what}, which JSON has no form for",
                        "give text, numbers, lists, objects or a BaseModel; a picture or a sound "
                        "as Image or Audio of livepeer.runner",
                    )


def _inside(value: ast.expr) -> Iterator[ast.expr]:
    """The values of displays, however deep, and the value itself."""
    match value:
        case ast.Dict():
            for one in value.values:
                yield from _inside(one)
        case ast.List() | ast.Tuple() | ast.Set():
            for one in value.elts:
                yield from _inside(one)
        case _:
            yield value


def _no_form(cls: PipelineSource, node: ast.expr) -> str:
    match node:
        case ast.GeneratorExp():
            return "a generator"
        case ast.Lambda():
            return "a function"
        case ast.Constant(value=complex()):
            return "a complex number"
        case ast.Name(id="self"):
            return "the pipeline itself"
        case ast.Call():
            name = cls.source.dotted(node.func)
            if name == "open" or name == "PIL.Image.open":
                return f"what {name}() opens"
            if name == "float" and node.args and isinstance(node.args[0], ast.Constant):
                text = str(node.args[0].value).lower().lstrip("+-")
                return f"float({text!r})" if text in ("nan", "inf", "infinity") else ""
            return ""
        case _:
            return (
                cls.source.dotted(node)
                if cls.source.dotted(node) in ("math.nan", "math.inf", "numpy.nan", "numpy.inf")
                else ""
            )


def event_without_type(cls: PipelineSource) -> Iterator[SourceFinding]:
    """`emit_event({...})` without a "type", or with one that is the SDK's own."""
    from livepeer.runner.author.live_pipeline import OWN_TYPES

    for method in cls.methods.values():
        for call in calls(method):
            if cls.source.dotted(call.func) != "self.emit_event" or not call.args:
                continue
            event = call.args[0]
            if not isinstance(event, ast.Dict) or None in event.keys:
                continue
            keys = [getattr(key, "value", None) for key in event.keys]
            kind = event.values[keys.index("type")] if "type" in keys else None
            own = getattr(kind, "value", None) in OWN_TYPES
            if kind is not None and not own:
                continue
            yield cls.source.finding(
                call,
                "event_type",
                "error",
                f"{cls.name}.{method.name} emits an event "
                + ("of a type that is the SDK's own" if own else "without a type"),
                'write `self.emit_event({"type": "detection", ...})`, with a name of your own',
            )
