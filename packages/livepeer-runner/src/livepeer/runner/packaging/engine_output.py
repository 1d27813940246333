"""What engines print, line by line: the steps of a build, and why a push failed."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

TAIL = 40
"""Lines of a failing step that are shown."""

LOCKING = "choosing the packages"
READING_SCHEMA = "reading the schema in the image"
PUSHING = "pushing"
READING_DIGEST = "reading the digest back"
OWN_STEPS = frozenset({LOCKING, READING_SCHEMA, PUSHING, READING_DIGEST})
"""What is done beside an engine's steps, said in the same way."""

_STEP = re.compile(
    r"^(?:STEP|Step) \d+/\d+ ?: (?P<one>.+)$|^#\d+ \[(?:[\w-]+ )? *\d+/\d+\] (?P<two>.+)$"
)
_BASE = re.compile(r"^#\d+ \[internal\] load metadata for (\S+)$")
"""BuildKit's look at the base, before any step."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def is_step(line: str) -> bool:
    """Whether a step of a build begins with this line, or is one that has no engine's number."""
    return _STEP.match(line) is not None or line in OWN_STEPS


@dataclass(slots=True)
class StepLog:
    """A build so far: how many steps, how many of them from the cache, and the present one with its
    last lines."""

    steps: int = 0
    reused: int = 0
    step: str = ""
    _last: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

    def read(self, line: str) -> str:
        """Take in a line of the engine's; the line without its colours."""
        line = _COLOUR.sub("", line.rstrip())
        if (match := _STEP.match(line)) is not None:
            self.steps, self.step = self.steps + 1, match["one"] or match["two"]
            self._last.clear()
        elif (base := _BASE.match(line)) is not None:
            self.step = f"FROM {base[1]}"
        elif "Using cache" in line or line.endswith(" CACHED"):
            self.reused += 1
        else:
            self._last.append(line)
        return line

    @property
    def tail(self) -> str:
        """The last lines of the present step, without the whole of it, which engines repeat where
        it fails."""
        return "\n".join(line for line in self._last if not self.step or self.step not in line)


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it failed without a word"


def push_refusal(tag: str, output: str) -> str:
    """Why a push failed, in one sentence and the engine's last words."""
    host, words = tag.partition("/")[0], last_line(output)
    if re.search(r"unauthorized|no basic auth|denied", output, re.IGNORECASE):
        return (
            f"{host} refused the push ({words}): run `docker login {host}` (or the like), as "
            f"somebody who may push to this name"
        )
    if re.search(r"no space left", output, re.IGNORECASE):
        return f"the disk is full: {words}"
    if re.search(r"connection refused|no such host|timeout|\beof\b", output, re.IGNORECASE):
        return f"{host} cannot be reached: {words}"
    return f"the push of {tag} failed: {words}"
