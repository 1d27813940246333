"""The body of `POST /stream/start`, and whom it makes this container talk to."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from livepeer.runner.errors import FieldError, InvalidInput

# go-livepeer: BYOC stream start. Which of the last three are there is the caller's choice.
URLS = ("control_url", "events_url", "subscribe_url", "publish_url", "data_url")

LARGEST_STOP = 4096
"""Bytes of a stop's body that are looked at."""


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


def parse_start(
    body: bytes, stream_id: str, hosts: Collection[str] | None, *, fallback_id: str
) -> StartRequest:
    """Read it. Raises `InvalidInput` that names the field.

    `stream_id` is the `X-Stream-Id` header, which wins over the body's `gateway_request_id`.
    `hosts`: the only hosts (`name` or `name:port`) whose URLs are taken, None takes all. A caller's
    keys override the orchestrator's own in this body (go-livepeer: BYOC stream start), so without
    the check any caller could make a container send its output, or its requests, anywhere.
    """
    content = parse_object(body)
    urls: dict[str, str | None] = {}
    problems = []
    for name in URLS:
        value = content.get(name)
        if value is None or value == "":
            urls[name] = None
            continue
        problem = _problem(value, hosts)
        if problem is None:
            urls[name] = value
        else:
            problems.append(FieldError(name, problem))
    if problems:
        raise InvalidInput(
            "; ".join(f"{one.name} {one.message}" for one in problems), fields=problems
        )
    given = content.get("gateway_request_id") or content.get("stream_id")
    name = stream_id or (given if isinstance(given, str) else "") or fallback_id
    return StartRequest(name, content.get("params"), **urls)


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


def _problem(value: object, hosts: Collection[str] | None) -> str | None:
    if not isinstance(value, str):
        return f"is a URL, not {type(value).__name__}"
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"is no URL: {error}"
    if parts.scheme not in ("http", "https") or not host:
        return "is not an http(s) URL"
    if not parts.path.strip("/"):
        return "names no channel"
    if hosts is None:
        return None
    port = port or (443 if parts.scheme == "https" else 80)
    if host in hosts or f"{host}:{port}" in hosts:
        return None
    return (
        f"is at {host}:{port}, which is none of this container's orchestrators; "
        "LIVEPEER_TRICKLE_HOSTS allows more hosts"
    )
