"""From what a command was given to what it means, before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

TargetKind = Literal["class", "url"]


class TargetError(Exception):
    """The target cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class TargetReference:
    """A target that was named: `text` is a URL without a slash at its end, or what
    `packaging.load` takes."""

    kind: TargetKind
    text: str


def target_of(given: str | None) -> TargetReference:
    """A URL is a container that runs; everything else is a pipeline, as for other commands.

    Raises `TargetError` for a URL that cannot be one.
    """
    if given is None or "://" not in given:
        return TargetReference("class", given or ".")
    try:
        parts = urlsplit(given)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known or parts.username is not None or parts.query or parts.fragment:
        raise TargetError(
            "a running container is named by its URL, such as http://127.0.0.1:8000, without user, "
            "query or fragment"
        )
    return TargetReference("url", given.rstrip("/"))
