"""How the page's server calls a pipeline, wherever that is: one protocol, several callers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from livepeer.trickle.text import printable
from livepeer.trickle.types import TLS

LARGEST_ERROR = 64 * 1024
"""Bytes of an answer that refuses, as far as they are read."""


class CallRefused(Exception):
    """A call that could not be made, or was refused; `error` is `{"type", "message", "fields"}`."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message")))
        self.status = status
        self.error = error


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer to a call. `chunks` is its body, to be read while the call is open."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]


class LiveCall(Protocol):
    """A live stream that runs. Leaving the context that gave it ends it."""

    @property
    def input_url(self) -> str | None:
        """Where the input goes; None for a pipeline that takes none."""

    @property
    def output_url(self) -> str:
        """Where the result is read."""

    @property
    def tls(self) -> TLS:
        """How the servers of these two are trusted."""

    def events(self) -> AsyncIterator[dict[str, Any]]:
        """What the pipeline reports about itself, until the stream is over."""

    def data(self) -> AsyncIterator[dict[str, Any]]:
        """The records that it makes, until the stream is over."""

    async def update(self, params: dict[str, Any]) -> dict[str, Any]:
        """Change parameters; all of them as they are now. Raises `CallRefused`."""

    async def control(self, message: dict[str, Any]) -> None:
        """Send a message to `on_control`. Raises `CallRefused`."""


class PipelineCaller(Protocol):
    """Calls one pipeline."""

    def call(self, body: bytes) -> AbstractAsyncContextManager[HttpAnswer]:
        """One request with a JSON body. Raises `CallRefused` where nobody can be reached."""

    def live(self, params: dict[str, Any], *, sends: bool) -> AbstractAsyncContextManager[LiveCall]:
        """One stream; `sends`: it has an input. Raises `CallRefused`."""


def refusal(status: int, body: bytes) -> CallRefused:
    """The error of an answer that is not 200: its own, if it has the shape of our errors, else its
    text."""
    try:
        error = json.loads(body)["error"]
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return CallRefused(status, error)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    text = printable(body[:LARGEST_ERROR].decode("utf-8", "replace").strip())
    return CallRefused(status, failure(text or f"it answered {status}"))


def failure(message: str, kind: str = "call_failed") -> dict[str, Any]:
    """An error of the page's own server, in the shape of all errors."""
    return {"type": kind, "message": message, "fields": []}
