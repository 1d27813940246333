"""The body of `POST /stream/start`: a stream's id, parameters and channels, each checked."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from livepeer.runner.errors import FieldError, InvalidInput

LONGEST_ID = 256
"""Bytes of a stream's id, which is in every status event."""
LONGEST_URL = 4096
LARGEST_STOP = 4096
"""Bytes of a stop's body that are looked at."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ChannelUrls:
    """The URLs of a stream's channels, as this container reaches them; any may be missing.

    The names are those of a start's body (go-livepeer: BYOC stream start).
    """

    control_url: str | None = None
    events_url: str | None = None
    subscribe_url: str | None = None
    publish_url: str | None = None
    data_url: str | None = None


URLS = tuple(ChannelUrls.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A stream to be started, with any subset of the channels."""

    stream_id: str
    params: object
    urls: ChannelUrls
    owner: str = ""
    """The address of the orchestrator that started it; empty if the container is open to all."""

    @property
    def key(self) -> str:
        return key_of(self.owner, self.stream_id)


def key_of(owner: str, stream_id: str) -> str:
    """What a stream is known by. Two orchestrators may use one id, and neither has the other's:
    callers choose ids, so the id alone would let one change or end what it does not own."""
    return f"{owner} {stream_id}" if owner else stream_id


def label(stream_id: str) -> str:
    """An id for logs: printable, in one line, 64 letters at most."""
    shown = stream_id if len(stream_id) <= 64 else f"{stream_id[:64]}..."
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in shown)


def id_in_body(content: dict[str, Any]) -> str:
    """The id that a start's body gives its stream, or ""."""
    given = content.get("gateway_request_id") or content.get("stream_id")
    return given if isinstance(given, str) else ""


def checked_id(stream_id: str) -> str:
    """The same id. Raises `InvalidInput` for one that is too long."""
    if len(stream_id.encode("utf-8", "surrogatepass")) > LONGEST_ID:
        raise InvalidInput(f"a stream's id has {LONGEST_ID} bytes at most")
    return stream_id


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object; an empty body and `null` count as an empty one. Raises `InvalidInput`."""
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


# --- channels that a body names ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allowed:
    """Where a stream's channels may be: at its orchestrator, and at hosts that the operator added.

    A caller's keys override the orchestrator's own in the body of a start (go-livepeer: BYOC stream
    start), so without this any caller could send a container anywhere.

    `scheme` is the orchestrator's: if that is https, no channel may be without TLS. `more` are
    hosts, `name` or `name:port`.
    """

    scheme: str
    host: str
    port: int
    more: frozenset[str] = frozenset()

    @classmethod
    def at(cls, orchestrator: str, more: Collection[str] = ()) -> Self:
        parts = urlsplit(orchestrator)
        port = parts.port or _PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname or "", port, frozenset(more))

    def problem(self, parts: SplitResult) -> str | None:
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        own = host == self.host and port == self.port
        if not own and host not in self.more and f"{host}:{port}" not in self.more:
            return (
                f"is at {host[:100]}:{port}, which is not the orchestrator of this stream; "
                "LIVEPEER_TRICKLE_HOSTS allows more hosts"
            )
        if parts.scheme != self.scheme and not (parts.scheme == "https" and not own):
            return f"is {parts.scheme}, where the orchestrator of this stream is {self.scheme}"
        return None


def urls_in_body(content: dict[str, Any], allowed: Allowed | None) -> ChannelUrls:
    """The channels that a start's body names. Raises `InvalidInput` that names each wrong field.

    `allowed` None takes any host.
    """
    urls: dict[str, str | None] = {}
    problems = []
    for name in URLS:
        value = content.get(name)
        if value is None or value == "":
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
    return ChannelUrls(**urls)


def problem(value: object, allowed: Allowed | None) -> str | None:
    """What is wrong with a channel's URL, or None. `allowed` None takes any host."""
    if not isinstance(value, str):
        return f"is a URL, not {type(value).__name__}"
    if len(value) > LONGEST_URL:
        return f"has over {LONGEST_URL} letters"
    if not value.isprintable() or " " in value:
        return "is no URL: it has spaces or control characters"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        return f"is no URL: {error}"
    if parts.scheme not in _PORTS or not parts.hostname:
        return "is not an http(s) URL"
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        return "has a user or a password in it"
    if not parts.path.strip("/"):
        return "names no channel"
    return None if allowed is None else allowed.problem(parts)


# --- channels that a session of a live runner has ------------------------------------------------


class SessionChannel(NamedTuple):
    """A channel by its field in `ChannelUrls`, and what it carries."""

    field: str
    mime_type: str


SESSION_CHANNELS = {
    "in": SessionChannel("subscribe_url", "video/MP2T"),
    "out": SessionChannel("publish_url", "video/MP2T"),
    "events": SessionChannel("events_url", "application/json"),
    "data": SessionChannel("data_url", "application/jsonl"),
    "control": SessionChannel("control_url", "application/json"),
}
"""By the name that callers of live runners know them by."""


def channels_wanted(content: dict[str, Any]) -> dict[str, str]:
    """The channels, each with its MIME type, that a start's `channels` lists; by default all of
    them. Raises `InvalidInput`."""
    listed = content.get("channels")
    names = list(SESSION_CHANNELS) if listed is None else listed
    if not isinstance(names, list) or not names:
        raise InvalidInput("channels is a list of names, not empty")
    for name in names:
        if not isinstance(name, str) or name not in SESSION_CHANNELS:
            known = ", ".join(SESSION_CHANNELS)
            raise InvalidInput(f"channels has {str(name)[:40]!r}: there are {known}")
    return {name: SESSION_CHANNELS[name].mime_type for name in names}
