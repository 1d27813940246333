"""Live parameters that are read otherwise than the class says they are."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator

from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.source import PipelineSource, within


def untyped_params(cls: PipelineSource) -> Iterator[SourceFinding]:
    """`self.params.x` of a class that does not say what its parameters are: those are a dict."""
    if cls.kind != "live" or "params" in cls.attributes or not cls.whole:
        return
    for method in cls.methods.values():
        for node in within(method):
            if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)):
                continue
            if cls.source.dotted(node) == f"self.params.{node.attr}" and not hasattr(
                dict, node.attr
            ):
                yield cls.source.finding(
                    node,
                    "params_untyped",
                    "error",
                    f"self.params is a dict, which has no `{node.attr}`: the class does not say "
                    f"what its parameters are",
                    f"write `params: MyParams`, a pydantic model with `{node.attr}`, in the class",
                )
                return


def unknown_params(cls: PipelineSource) -> Iterator[SourceFinding]:
    """`self.params.x`, where the model of the parameters, in the same file, has no `x`."""
    statement, _ = cls.attributes.get("params", (None, None))
    if cls.kind != "live" or not isinstance(statement, ast.AnnAssign):
        return
    fields = _fields(cls, cls.source.dotted(statement.annotation))
    if fields is None:
        return
    for method in cls.methods.values():
        for node in within(method):
            if not isinstance(node, ast.Attribute) or node.attr in fields:
                continue
            if node.attr.startswith(("model_", "__")) or node.attr in ("copy", "dict", "json"):
                continue  # pydantic's own
            if cls.source.dotted(node) == f"self.params.{node.attr}":
                near = difflib.get_close_matches(node.attr, fields, n=1)
                known = ", ".join(sorted(fields)) or "nothing"
                yield cls.source.finding(
                    node,
                    "params_unknown",
                    "error",
                    f"the parameters have no `{node.attr}`",
                    f"write `self.params.{near[0]}`"
                    if near
                    else f"they have {known}: add it there",
                )


def _fields(cls: PipelineSource, model: str) -> set[str] | None:
    """What a model of this file has besides pydantic's own; None where that is not plain."""
    for node in cls.source.tree.body:
        if not isinstance(node, ast.ClassDef) or node.name != model:
            continue
        bases = [cls.source.dotted(base) for base in node.bases]
        if bases != ["pydantic.BaseModel"] or node.decorator_list:
            return None
        found: set[str] = set()
        for one in node.body:
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                found.add(one.target.id)
            elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(one.name)
            elif isinstance(one, ast.Assign):
                found |= {target.id for target in one.targets if isinstance(target, ast.Name)}
        return found
    return None
