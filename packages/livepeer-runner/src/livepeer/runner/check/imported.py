"""What a pipeline is once it is imported, by a process that may print, hang or crash."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from livepeer.runner.check.findings import FindingLevel, SourceFinding
from livepeer.runner.check.source import PipelineSource, Source
from livepeer.runner.packaging.load import Reference
from livepeer.trickle.text import printable

LARGEST = 256 * 1024
"""Bytes of what the process may tell."""
LONGEST_TEXT = 2000
_METHOD = re.compile(r"(\w+)\.(\w+)(?:\(\))?")
_PARAMETER = re.compile(r"parameter `(\w+)`")
_FIX = re.compile(
    r"(?:[;:] (?=write|derive|use|take|keep|did you mean|call it|pip)|\. (?=Import it))(.*)",
    re.DOTALL,
)
_COVERED = {
    "signature": (
        *("type_missing", "hook_misspelt", "hook_of_other_kind", "hook_arguments"),
        "prepare_not_classmethod",
    ),
    "metadata": ("name_refused",),
    "no_pipeline": ("no_pipeline", "manifest"),
    "package_missing": ("import_unknown",),
    "import_fails": ("import_unknown",),
}
"""What the text has shown already, in more words: it is not told twice."""


class Import:
    """A process that imports a pipeline, from `with` to its end. Its output goes nowhere."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._process: subprocess.Popen[bytes] | None = None
        self._reads = -1

    def __enter__(self) -> Self:
        self._reads, writes = os.pipe()
        try:
            # -P: the present folder goes on the path by what the target says.
            self._process = subprocess.Popen(
                (
                    *(sys.executable, "-P", "-m", f"{__package__}.child"),
                    *(str(writes), str(self._reference)),
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(writes,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._reads)
            raise
        finally:
            os.close(writes)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it started must not stay either
        self._process.wait()
        os.close(self._reads)

    def result(self, seconds: float) -> ImportResult:
        """What it told within so many seconds."""
        told, ended = self._read(time.monotonic() + seconds)
        if not ended:
            return ImportResult(
                False,
                {
                    "code": "import_hangs",
                    "message": f"the import has not ended within {seconds:g} s",
                    "fix": "move what takes so long into `setup`, which has no such limit, and "
                    'what serves or trains below `if __name__ == "__main__":`',
                },
            )
        try:
            document = json.loads(told)
        except ValueError:
            return ImportResult(
                False,
                {
                    "code": "import_crashes",
                    "message": "the import ended its whole process",
                    "fix": "import the file by hand to see why: "
                    f"python -c 'import {self._reference.module}'",
                },
            )
        return ImportResult(bool(document.get("imported")), document.get("problem"))

    def _read(self, deadline: float) -> tuple[bytes, bool]:
        """What came until its end, and whether the end came."""
        found = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._reads, selectors.EVENT_READ)
            while len(found) <= LARGEST:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return found, False
                piece = os.read(self._reads, 65536)
                if not piece:
                    return found, True
                found += piece
        return b"", True


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Whether the pipeline could be imported, and what is wrong with its class."""

    imported: bool
    problem: dict[str, Any] | None

    def findings(
        self,
        reference: Reference,
        sources: Sequence[Source | SourceFinding],
        known: Sequence[SourceFinding],
    ) -> list[SourceFinding]:
        """The problem at its place. `known` is what the text has shown already."""
        if self.problem is None:
            return []
        code, message = str(self.problem["code"]), str(self.problem["message"])
        covered = _COVERED.get(code, ())
        if any(one.code in covered and one.level == "error" for one in known):
            return []
        files = [one for one in sources if isinstance(one, Source)]
        message = printable(message, LONGEST_TEXT)
        fix = printable(str(self.problem.get("fix") or ""), LONGEST_TEXT)
        if not fix:
            message, fix = _apart(message)
        level: FindingLevel = (
            "note" if code == "package_missing" and _listed(reference) else "error"
        )
        file, line, column = self._place(reference, files, message)
        finding = SourceFinding(
            code, level, file, line, column, message, fix or f"`livepeer explain {code}` says more"
        )
        if any(one.path == file and one.ignores(finding) for one in files):
            return []
        return [finding]

    def _place(
        self, reference: Reference, files: Sequence[Source], message: str
    ) -> tuple[Path, int, int]:
        problem = self.problem or {}
        if problem.get("file"):
            return Path(problem["file"]), int(problem.get("line") or 0), 1
        if problem.get("module"):
            for source in files:
                if (node := _import_of(source, problem["module"])) is not None:
                    return source.path, node.lineno, node.col_offset + 1
        for source in files:
            for cls in source.classes:
                if (node := _meant(cls, message, problem.get("attribute"))) is not None:
                    return source.path, node.lineno, node.col_offset + 1
        return reference.file or reference.folder, 1 if reference.file else 0, 1


def _apart(message: str) -> tuple[str, str]:
    """What is wrong, and what to write: messages of the SDK have both in one sentence."""
    match = _FIX.search(message)
    if match is None:
        return message, ""
    return message[: match.start()], match[1]


def _meant(cls: PipelineSource, message: str, attribute: Any) -> Any:
    """The node of a class that a message of the SDK speaks of."""
    if isinstance(attribute, str) and attribute in cls.attributes:
        return cls.attributes[attribute][0]
    for owner, name in _METHOD.findall(message):
        if owner == cls.name and name in cls.attributes:
            return cls.attributes[name][0]
        method = cls.methods.get(name)
        if owner != cls.name or method is None:
            continue
        found = _PARAMETER.search(message)
        arguments = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
        if found is not None:
            for argument in arguments:
                if argument.arg == found[1]:
                    return argument
        if "return type" in message and method.returns is not None:
            return method.returns
        return method
    return cls.node if re.search(rf"\b{cls.name}\b", message) else None


def _import_of(source: Source, module: str) -> ast.stmt | None:
    top = module.partition(".")[0]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            if any(alias.name.partition(".")[0] == top for alias in node.names):
                return node
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.partition(".")[0] == top:
                return node
    return None


def _listed(reference: Reference) -> bool:
    """Whether the pipeline says somewhere what has to be installed for it, besides the SDK."""
    manifest = reference.manifest
    if manifest is not None and manifest.python.packages:
        return True
    named = manifest.python.requirements if manifest is not None else None
    try:
        text = (reference.folder / (named or "requirements.txt")).read_text()
    except (OSError, UnicodeDecodeError):
        return False
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return any(line and not line.startswith("livepeer-") for line in lines)
