"""Where the channels of a stream may be: a caller's keys override the orchestrator's own in the
body of a start (go-livepeer: BYOC stream start), so any caller could send a container anywhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}
LONGEST_URL = 4096


@dataclass(frozen=True, slots=True)
class Allowed:
    """One orchestrator, and the hosts (`name` or `name:port`) that the operator added.

    `scheme` is the orchestrator's: what it speaks over TLS is not to be had without, anywhere.
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


def problem(value: object, allowed: Allowed | None) -> str | None:
    """What is wrong with a channel's URL, None where it is taken. `allowed` None takes any host."""
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
