"""What the tools of one server share: the folder, the children, and how a failure is told."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool

from livepeer.runner.mcp.children import ChildFailed, Children, Ended
from livepeer.runner.mcp.results import last_document
from livepeer.runner.mcp.root import OutsideRoot, Root
from livepeer.runner.mcp.served import Background

LARGEST_INPUT = 1 << 20
"""Bytes of an input as JSON."""


def failed(what: str, why: str, next_step: str) -> ToolError:
    return ToolError(f"{what}: {why.strip()}\nNext: {next_step}")


@dataclass(frozen=True, slots=True)
class Workbench:
    """One for all tools of a server."""

    root: Root
    children: Children
    background: Background

    def path(self, given: str, *, must_exist: bool = True) -> Path:
        """A path within the root. Raises `ToolError`."""
        try:
            return self.root.resolve(given, must_exist=must_exist)
        except OutsideRoot as error:
            raise failed("the path is refused", str(error), "name a path within it") from None

    def output(self, given: str | None) -> Path | None:
        """A file to be written within the root. Raises `ToolError`."""
        if given is None:
            return None
        path = self.path(given, must_exist=False)
        if not path.parent.is_dir():
            raise failed(
                "the path is refused", f"there is no folder for {given}", "name one that is there"
            )
        return path

    def target(self, given: str) -> tuple[Path, str]:
        """The folder of a pipeline, and its name there. Raises `ToolError`."""
        try:
            return self.root.target(given)
        except OutsideRoot as error:
            raise failed(
                "the pipeline is not found",
                str(error),
                "name a folder with a pipeline.py, the file, or FILE.py:Class; `scaffold` makes "
                "a new one",
            ) from None

    def arguments(self, input: Mapping[str, Any], folder: Path) -> list[str]:
        """`-i` arguments: what is JSON in a file in `folder`, files by their paths."""
        files, rest = {}, {}
        for name, value in input.items():
            if isinstance(value, str) and value.startswith("@"):
                files[name] = self.path(value[1:])
            else:
                rest[name] = value
        for name, path in files.items():
            if not path.is_file():
                raise failed("the input is refused", f"{path} is no file", f"name one for {name}")
        text = json.dumps(rest)
        if len(text) > LARGEST_INPUT:
            raise failed(
                "the input is refused",
                f"it has over {LARGEST_INPUT} bytes",
                "write large values into files, and name these as @path",
            )
        whole = folder / "input.json"
        whole.write_text(text, encoding="utf-8")
        named = [f"-i{name}=@{path}" for name, path in files.items()]
        return [f"-i@{whole}", *named] if rest or not named else named

    def fields(self, given: Mapping[str, Any]) -> list[str]:
        """Each of them as `K=V`, for a command that does not know the signature; `@path` is a file
        within the root."""
        found = []
        for name, value in given.items():
            if isinstance(value, str) and value.startswith("@"):
                found.append(f"{name}=@{self.path(value[1:])}")
            else:
                found.append(f"{name}={json.dumps(value)}")
        return found

    async def livepeer(
        self,
        ctx: ToolContext,
        *arguments: str,
        folder: Path,
        seconds: float,
        next_step: str,
        good: Sequence[int] = (0,),
    ) -> Ended:
        """A command to its end, with its progress told. Raises `ToolError`."""
        try:
            return await self.children.livepeer(
                *arguments,
                folder=folder,
                seconds=seconds,
                tell=lambda at, what: ctx.report_progress(at, None, what or None),
                good=good,
            )
        except ChildFailed as error:
            raise failed(f"livepeer {arguments[0]} failed", str(error), next_step) from None

    async def document(
        self,
        ctx: ToolContext,
        *arguments: str,
        folder: Path,
        seconds: float,
        next_step: str,
        good: Sequence[int] = (0,),
    ) -> Any:
        """The document that a command prints. Raises `ToolError`."""
        ended = await self.livepeer(
            ctx, *arguments, folder=folder, seconds=seconds, next_step=next_step, good=good
        )
        try:
            return last_document(ended.out)
        except ValueError as error:
            told = f"{error}\n{ended.said}"
            raise failed(f"livepeer {arguments[0]} failed", told, next_step) from None


ToolContext = Context[Workbench, Any]


def made_tool(function: Callable[..., Any], **more: Any) -> Tool:
    """A tool, described by its docstring; it takes no argument that it does not name."""
    tool = Tool.from_function(function, description=inspect.getdoc(function), **more)
    tool.parameters["additionalProperties"] = False
    return tool


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for one call."""
    return tempfile.TemporaryDirectory(prefix="livepeer-mcp-")
