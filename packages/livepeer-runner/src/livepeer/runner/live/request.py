"""The body of `POST /stream/start`, and whom it makes this container talk to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from livepeer.runner.errors import FieldError, InvalidInput
from livepeer.runner.live.addresses import Allowed, problem

# go-livepeer: BYOC stream start. Which of the last three are there is the caller's choice.
URLS = ("control_url", "events_url", "subscribe_url", "publish_url", "data_url")

LARGEST_STOP = 4096
"""Bytes of a stop's body that are looked at."""


LONGEST_ID = 256
"""Bytes of a stream's id: it is in every status event."""


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A stream to be started. Absent URLs are None: any subset works."""

    stream_id: str
    params: object
    control_url: str | None = None
    events_url: str | None = None
    subscribe_url: str | None = None
    publish_url: str | None = None
    data_url: str | None = None
    owner: str = ""
    """The address of the orchestrator that started it; empty where the container is open to all."""

    @property
    def key(self) -> str:
        return key_of(self.owner, self.stream_id)


def key_of(owner: str, stream_id: str) -> str:
    """What a stream is known by. Two orchestrators may use one id, and neither has the other's:
    callers choose ids, so the id alone would let one change or end what it does not own."""
    return f"{owner} {stream_id}" if owner else stream_id


def label(stream_id: str) -> str:
    """An id for logs: in one line, and not longer than a line."""
    shown = stream_id if len(stream_id) <= 64 else f"{stream_id[:64]}..."
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in shown)


def parse_start(
    body: bytes, stream_id: str, allowed: Allowed | None, *, fallback_id: str, owner: str = ""
) -> StartRequest:
    """Read it. Raises `InvalidInput` that names the field.

    `stream_id` is the `X-Stream-Id` header, which wins over the body's `gateway_request_id`: that
    is the caller's to choose. `allowed` is where the channels may be.
    """
    content = parse_object(body)
    urls: dict[str, str | None] = {}
    problems = []
    for name in URLS:
        value = content.get(name)
        if value is None or value == "":
            urls[name] = None
            continue
        wrong = problem(value, allowed)
        if wrong is None and value.rstrip("/") in urls.values():
            wrong = "is the same channel as another of this stream"
        if wrong is None:
            urls[name] = value.rstrip("/")
        else:
            problems.append(FieldError(name, wrong))
    if problems:
        raise InvalidInput(
            "; ".join(f"{one.name} {one.message}" for one in problems), fields=problems
        )
    given = content.get("gateway_request_id") or content.get("stream_id")
    name = stream_id or (given if isinstance(given, str) else "") or fallback_id
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_ID:
        raise InvalidInput(f"a stream's id has {LONGEST_ID} bytes at most")
    return StartRequest(name, content.get("params"), **urls, owner=owner)


def reads_no_more(body: bytes) -> bool:
    """Whether the body of a stop says `"linger": 0`: its caller reads nothing any more.

    The body is anything that any caller, or a gateway, may send (go-livepeer: BYOC stream stop), so
    whatever else it holds is an ordinary stop.
    """
    if not 0 < len(body) <= LARGEST_STOP:
        return False
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return False
    linger = content.get("linger") if isinstance(content, dict) else None
    return isinstance(linger, int | float) and not isinstance(linger, bool) and linger == 0


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object; nothing and `null` count as an empty one. Raises `InvalidInput`."""
    if not body.strip():
        return {}
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is no JSON: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidInput(f"the body is a JSON object, not {type(content).__name__}")
    return content
