"""What a capability's name asks for: an app, a version of it, or exactly one image. No I/O.

| Name | Stands for |
| --- | --- |
| `sentiment`, `acme/sentiment` | whatever is offered under that name |
| `acme/sentiment:2.1.0` | that version of it; `:2` and `:2.1` any that begins so, `:v2` as `:2` |
| `byoc/REPOSITORY@sha256:DIGEST` | exactly that image |

`specs/identity.md` has what each registry can say, and what it cannot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from livepeer.client.protocol.discovery import RunnerEntry

_PINNED: Final = re.compile(r"(?:byoc/)?([^@\s]+)@(sha256:[0-9a-f]{64})")
_TAGGED: Final = re.compile(r"([^:\s]+):v?(\d+(?:\.\d+){0,2}(?:[-+][0-9A-Za-z.+-]+)?)")
HUB: Final = "docker.io/"


@dataclass(frozen=True, slots=True)
class Identity:
    """A name, as it is understood. At most one of `digest` and `version` is set."""

    name: str
    app: str
    """The app or repository, without what pins it."""
    digest: str = ""
    version: str = ""

    @classmethod
    def of(cls, name: str) -> Identity:
        """Every text is a name; one that has neither form stands for itself."""
        if pinned := _PINNED.fullmatch(name):
            return cls(name, _repository(pinned[1]), digest=pinned[2])
        if tagged := _TAGGED.fullmatch(name):
            return cls(name, tagged[1], version=tagged[2])
        return cls(name, name)

    def fits(self, runner: RunnerEntry) -> bool:
        """Whether a live runner is what is asked for, by what it tells.

        One that is registered under the very name fits, unless it tells that it is another image.
        """
        image = image_of(runner)
        if self.digest:
            if image:
                repository, _, digest = image.partition("@")
                return digest == self.digest and repository == self.app
            return runner.app == self.name
        if runner.app == self.name:
            return True
        return bool(self.version) and runner.app == self.app and self._is_version(runner)

    def resembles(self, runner: RunnerEntry) -> bool:
        """Whether it is the same app, in another version or image than is asked for."""
        if self.digest:
            image = image_of(runner)
            same = image.partition("@")[0] == self.app or runner.app == self.app
            return same or runner.app == self.name
        return bool(self.version) and runner.app == self.app

    def _is_version(self, runner: RunnerEntry) -> bool:
        told = version_of(runner)
        return told == self.version or told.startswith(f"{self.version}.")


def image_of(runner: RunnerEntry) -> str:
    """`REPOSITORY@sha256:DIGEST` of a runner's container; empty where it tells none."""
    told = runner.metadata.get("image")
    pinned = _PINNED.fullmatch(told) if isinstance(told, str) else None
    return f"{_repository(pinned[1])}@{pinned[2]}" if pinned else ""


def version_of(runner: RunnerEntry) -> str:
    """The version that a runner tells; empty where it tells none."""
    told = runner.told.get("version")
    return told.removeprefix("v") if isinstance(told, str) else ""


def _repository(text: str) -> str:
    """As it is compared: Docker Hub's name and a tag may be left out."""
    head, slash, tail = text.removeprefix(HUB).rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}"
