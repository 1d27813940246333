"""From what a command was given to what it means, before anything is started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

TargetKind = Literal["class", "url", "image"]

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*)?")
"""`module`, `package.module:Class`."""


class TargetError(Exception):
    """The target cannot be had; the message says why and what to do."""

    code = "target"


@dataclass(frozen=True, slots=True)
class TargetReference:
    """A target that was named: `text` is a URL without a slash at its end, the name of an image,
    or what `packaging.load` takes."""

    kind: TargetKind
    text: str


def target_of(given: str | None) -> TargetReference:
    """What a command was pointed at.

    | Given | Means |
    | --- | --- |
    | `http://127.0.0.1:8000` | a container that runs |
    | nothing, a folder, `livepeer.yaml`, `pipeline.py:Class`, `module:Class` | a pipeline |
    | `me/app:1.0.0`, `app-livepeer-runner`, `localhost/app`, `...@sha256:...` | an image |

    Raises `TargetError` for a URL that cannot be one.
    """
    if given is None or "://" not in given:
        kind: TargetKind = "class" if given is None or _is_pipeline(given) else "image"
        return TargetReference(kind, given or ".")
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


def _is_pipeline(given: str) -> bool:
    place = given.partition(":")[0]
    return (
        place.endswith((".py", ".yaml", ".yml", "/"))
        or place.startswith((".", "/", "~"))
        or Path(place).exists()
        or _MODULE.fullmatch(given) is not None
    )


def offered_target(orchestrator: str, name: str | None) -> tuple[str, str]:
    """An orchestrator's URL, and the name of what it offers. Raises `TargetError`."""
    place = target_of(orchestrator)
    if name is None or place.kind != "url":
        raise TargetError(
            "--orch is an orchestrator's URL, such as https://host:8935, with the name of an app "
            "or a capability as TARGET"
        )
    return place.text, name
