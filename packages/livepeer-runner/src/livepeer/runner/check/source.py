"""A pipeline's file as text and tree: its names, its classes, and which of them are pipelines.

Nothing is imported here. A name stands for what the file itself imports or defines it as:
`np.load` is `numpy.load` after `import numpy as np`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeGuard

from livepeer.runner.check.findings import FindingLevel, SourceFinding

LARGEST = 1024 * 1024
"""Bytes of one file."""
DEEPEST_BASES = 20

Function = ast.FunctionDef | ast.AsyncFunctionDef
Kind = Literal["batch", "live"]

_IGNORED = re.compile(r"#.*\blivepeer:\s*ignore(?:\[([\w\s,]*)\])?")
_BASES: dict[str, Kind] = {"Pipeline": "batch", "LivePipeline": "live"}
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


class Source:
    """One Python file. Raises `SyntaxError` or `ValueError` for one that is none."""

    def __init__(self, path: Path, text: bytes) -> None:
        if len(text) > LARGEST:
            raise ValueError(f"is over {LARGEST // 1024} KiB")
        self.path = path
        self.tree = ast.parse(text, filename=str(path))
        self._lines = text.decode("utf-8-sig", "replace").splitlines()

    def finding(
        self, node: ast.AST | None, code: str, level: FindingLevel, message: str, fix: str
    ) -> SourceFinding:
        """A mistake at a node of this file."""
        line = getattr(node, "lineno", 0)
        column = getattr(node, "col_offset", -1) + 1
        return SourceFinding(code, level, self.path, line, column, message, fix)

    def ignores(self, finding: SourceFinding) -> bool:
        """Whether its line says `# livepeer: ignore[code]`, or `# livepeer: ignore` for all."""
        if not 0 < finding.line <= len(self._lines):
            return False
        match = _IGNORED.search(self._lines[finding.line - 1])
        if match is None:
            return False
        codes = match[1]
        return codes is None or finding.code in re.split(r"[\s,]+", codes.strip())

    @cached_property
    def names(self) -> dict[str, str]:
        """What each imported name stands for, dotted, wherever in the file it is imported."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    found[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return found

    @cached_property
    def defined(self) -> frozenset[str]:
        """Every name that the file has at its top, however it came there."""
        stores = {
            one.id
            for one in ast.walk(self.tree)
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
        }
        named = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        return frozenset(
            stores
            | set(self.names)
            | {one.name for one in self.tree.body if isinstance(one, named)}
        )

    def dotted(self, node: ast.AST) -> str:
        """`requests.get` for the expression that means it; `self.x` as it is; else empty."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        parts.append(self.names.get(node.id, node.id))
        return ".".join(reversed(parts))

    @cached_property
    def classes(self) -> list[PipelineSource]:
        """The pipelines of the file, in its order."""
        nodes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}
        found = []
        for node in nodes.values():
            line = _lineage(node, nodes)
            kinds = [kind for one in line for base in one.bases if (kind := _kind(self, base))]
            if kinds:
                found.append(PipelineSource(self, node, tuple(line), kinds[0]))
        return found


def _lineage(node: ast.ClassDef, nodes: dict[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """The class and those of this file that it is derived from, nearest first."""
    line = [node]
    for one in line:
        for base in one.bases:
            if isinstance(base, ast.Name) and (known := nodes.get(base.id)) and known not in line:
                line.append(known)
        if len(line) > DEEPEST_BASES:
            break
    return line


def _kind(source: Source, base: ast.expr) -> Kind | None:
    name = source.dotted(base)
    module, _, last = name.rpartition(".")
    return _BASES.get(last) if module.startswith("livepeer.") else None


@dataclass(frozen=True, eq=False)
class PipelineSource:
    """A pipeline class as it is written. `lineage`: itself and its bases in this file."""

    source: Source
    node: ast.ClassDef
    lineage: tuple[ast.ClassDef, ...]
    kind: Kind

    @property
    def name(self) -> str:
        return self.node.name

    @cached_property
    def whole(self) -> bool:
        """Whether all that it inherits is in this file, or the SDK's."""
        known = {one.name for one in self.lineage}
        return all(
            _kind(self.source, base) or (isinstance(base, ast.Name) and base.id in known)
            for one in self.lineage
            for base in one.bases
        )

    @cached_property
    def methods(self) -> dict[str, Function]:
        found: dict[str, Function] = {}
        for owner in self.lineage:
            for one in owner.body:
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                    found.setdefault(one.name, one)
        return found

    @cached_property
    def attributes(self) -> dict[str, tuple[ast.stmt, ast.expr | None]]:
        """What is assigned or annotated in the class's body: the statement, and its value."""
        found: dict[str, tuple[ast.stmt, ast.expr | None]] = {}
        for owner in self.lineage:
            for one in owner.body:
                if isinstance(one, ast.Assign):
                    for target in one.targets:
                        if isinstance(target, ast.Name):
                            found.setdefault(target.id, (one, one.value))
                elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                    found.setdefault(one.target.id, (one, one.value))
        return found

    def constant(self, name: str) -> object:
        """A literal that the class's body says; None for everything else."""
        _, value = self.attributes.get(name, (None, None))
        try:
            return ast.literal_eval(value) if value is not None else None
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None

    @cached_property
    def used(self) -> frozenset[str]:
        """Names that the file reads as an attribute of anything: `self.x`, `model.x`."""
        return frozenset(
            node.attr
            for node in ast.walk(self.source.tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        )

    def called_from(self, names: tuple[str, ...]) -> dict[str, Function]:
        """The named methods and those that they call by `self`, however deep."""
        found: dict[str, Function] = {}
        waiting = [name for name in names if name in self.methods]
        while waiting:
            name = waiting.pop(0)
            if name in found:
                continue
            found[name] = self.methods[name]
            waiting += [
                node.func.attr
                for node in ast.walk(found[name])
                if isinstance(node, ast.Call)
                and is_self(node.func)
                and node.func.attr in self.methods
            ]
        return found


def is_self(node: ast.AST) -> TypeGuard[ast.Attribute]:
    """Whether it is `self.x` (or `cls.x`)."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    )


def within(function: ast.AST) -> Iterator[ast.AST]:
    """Every node of a function's own body: not those of functions and classes inside of it."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting = list(ast.iter_child_nodes(node)) + waiting


def calls(function: ast.AST) -> Iterator[ast.Call]:
    """The calls in a function's own body, in their order."""
    return (node for node in within(function) if isinstance(node, ast.Call))


def ends(body: list[ast.stmt]) -> bool:
    """Whether control never runs past the end of these statements, as far as can be seen."""
    return any(_ends(one) for one in body)


def _ends(node: ast.stmt) -> bool:
    match node:
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
            return True
        case ast.If():
            return bool(node.orelse) and ends(node.body) and ends(node.orelse)
        case ast.With() | ast.AsyncWith():
            return ends(node.body)
        case ast.While():
            endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
            return endless and not any(isinstance(one, ast.Break) for one in _of_loop(node))
        case ast.Try() | ast.TryStar():
            if ends(node.finalbody):
                return True
            tried = ends(node.body) or ends(node.orelse)
            return tried and all(ends(handler.body) for handler in node.handlers)
        case ast.Match():
            last = node.cases[-1]
            whole = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
            return whole and last.guard is None and all(ends(case.body) for case in node.cases)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="sys"), attr="exit"))):
            return True
        case _:
            return False


def _of_loop(loop: ast.AST) -> Iterator[ast.AST]:
    """What belongs to a loop itself, without loops inside of it."""
    for node in ast.iter_child_nodes(loop):
        yield node
        if not isinstance(node, (*_LOOPS, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _of_loop(node)
