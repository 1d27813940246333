"""Names of images: `docker.io/me/app:v2`, `ghcr.io/me/app@sha256:...`.

The grammar is that of the distribution project, which every registry and engine follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

HUB = "docker.io"
"""Docker Hub, as engines name it."""
LONGEST_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HERE = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")


class InvalidReference(ValueError):
    """A text that names no image; the message says what to write."""

    code = "image_name"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image in a registry; with a digest, exactly one.

    `registry` is `host` or `host:port`; `repository` has its full name (`library/python` on Docker
    Hub). Where neither a tag nor a digest is given, the tag is `latest`.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read a reference as engines do. Raises `InvalidReference`."""
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise InvalidReference(
                f"{_short(text)}: a digest is sha256: and 64 hexadecimal digits in lower case"
            )
        head, slash, tail = rest.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost"):
            registry, name = head, tail
        else:
            registry, name = HUB, rest
        if not _HOST.fullmatch(registry):
            raise InvalidReference(f"{_short(text)}: {_short(registry)} is no host of a registry")
        if registry in ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"):
            registry = HUB
        repository, colon, tag = name.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise InvalidReference(
                f"{_short(text)}: a tag has 1 to 128 letters, digits, dots, dashes or underscores"
            )
        if not _REPOSITORY.fullmatch(repository):
            raise InvalidReference(_why(text, repository))
        if len(f"{registry}/{repository}") > LONGEST_NAME:
            raise InvalidReference(
                f"{_short(text)}: the name is longer than {LONGEST_NAME} characters"
            )
        if registry == HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry, repository, tag or (None if digest else "latest"), digest or None)

    @property
    def name(self) -> str:
        """The repository with its registry, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest, else the tag."""
        return self.digest or self.tag or "latest"

    def pinned(self, digest: str) -> ImageReference:
        """The same repository at a digest."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def is_here(registry: str) -> bool:
    """Whether a registry is on this machine, where engines speak plain HTTP with it."""
    return _HERE.fullmatch(registry) is not None


def is_digest(text: str) -> bool:
    """Whether it is `sha256:` and 64 hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def _why(text: str, repository: str) -> str:
    if not repository:
        return f"{_short(text)!r} names no image: write registry/owner/name:tag"
    lower = repository.lower()
    if lower != repository and _REPOSITORY.fullmatch(lower):
        return f"{_short(text)}: registries take lower case only: write {lower}"
    return (
        f"{_short(text)}: {_short(repository)} is no name of a repository: lower-case letters and "
        f"digits, with single dots, underscores or dashes between them, parts divided by /"
    )


def _short(text: str) -> str:
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= 120 else f"{shown[:119]}…"
