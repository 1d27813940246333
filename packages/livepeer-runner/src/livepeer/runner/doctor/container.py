"""The container that is examined, as its orchestrator sees it: HTTP, bounded in bytes and time."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from livepeer.runner.doctor.finding import SubjectLost
from livepeer.trickle.text import printable

_LARGE = 1 << 20
"""aiohttp warns of a body that is larger, and of bytes."""
MOST_BYTES = 64 * 1024 * 1024
"""Of the answer to a job."""
MOST_TOLD = 8 * 1024 * 1024
"""Of what a container says of itself."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the doctor waits, in seconds. The defaults are go-livepeer's own limits."""

    job: float = 120.0
    """For a valid job."""
    call: float = 10.0
    """For any other call."""
    health: float = 3.0
    """A static live runner that misses this once loses all its sessions."""
    idle: float = 60.0
    """An orchestrator keeps a connection that long."""
    event: float = 10.0
    """A gateway looks that often whether a stream still says something."""
    output: float = 30.0
    """A gateway gives up on an output that stalls longer."""
    gone: float = 15.0
    """For a place to be free again, once its caller is gone or its stream was stopped."""
    stop: float = 40.0
    """From a SIGTERM to the end of the process."""
    load: float = 300.0
    """For a setup."""


@dataclass(frozen=True, slots=True)
class Force:
    """How much the abuse cases send, at most."""

    body: int = 160 * 1024 * 1024
    """Bytes of a body without an end."""
    rounds: int = 50
    """Jobs or streams between two looks at what the process holds."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer of the container. `truncated`: it had more than it may have."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    truncated: bool = False

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip()

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        words = self.body[:200].decode("utf-8", "replace").strip()
        return f"{self.status}" + (f" {words!r}" if words else "")


class ContainerRoad(Protocol):
    """One way to send requests to the container."""

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]: ...


@dataclass(frozen=True, slots=True)
class DirectRoad:
    """Straight to the container, with the token that it gave to its orchestrator."""

    url: str
    session: aiohttp.ClientSession
    token: str | None = None

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        sent = io.BytesIO(body) if body is not None and len(body) > _LARGE else body
        given = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return self.session.request(
            method, self.url + path, data=sent, headers={**given, **headers}, allow_redirects=False
        )


@dataclass(frozen=True)
class HttpContainer:
    """The container, called over one road with bounded patience."""

    road: ContainerRoad
    patience: Patience

    async def get(self, path: str, seconds: float | None = None) -> Heard:
        return await self.call("GET", path, seconds=seconds)

    async def post(
        self,
        path: str,
        body: bytes | Mapping[str, Any] = b"",
        *,
        stream: str | None = None,
        seconds: float | None = None,
        most: int = MOST_TOLD,
    ) -> Heard:
        """As an orchestrator posts; `stream` is the id in `X-Stream-Id`."""
        headers = {} if stream is None else {"X-Stream-Id": stream}
        if path != "/stream/stop":
            headers["Content-Type"] = "application/json"
        return await self.call("POST", path, _bytes(body), headers, seconds, most)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
        most: int = MOST_TOLD,
    ) -> Heard:
        """One exchange, of whose answer at most so many bytes are read. Raises `SubjectLost`."""
        limit = seconds or self.patience.call
        try:
            async with asyncio.timeout(limit):
                try:
                    return await self._exchanged(method, path, body, headers, most)
                except (aiohttp.ClientOSError, ConnectionResetError) as error:
                    if isinstance(error, aiohttp.ClientConnectorError):
                        raise
                    # A connection that was kept, and was closed meanwhile: nothing went out on it.
                    return await self._exchanged(method, path, body, headers, most)
        except TimeoutError:
            raise SubjectLost(f"{method} {path} had no answer within {limit:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise SubjectLost(f"{method} {path} ended with {named(error)}") from None

    async def _exchanged(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        most: int,
    ) -> Heard:
        began = time.monotonic()
        async with self.request(method, path, body, headers) as answer:
            content, truncated = await read_bounded(answer, most)
            took = time.monotonic() - began
            return Heard(answer.status, answer.headers, content, took, truncated)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """An answer as it comes; whoever leaves early drops the connection."""
        return self.road.request(method, path, body, headers or {})


async def read_bounded(answer: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """The body, and whether there was more of it than `most` bytes."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > most:
            del content[most:]
            return bytes(content), True
    return bytes(content), False


def _bytes(body: bytes | Mapping[str, Any]) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def named(error: Exception) -> str:
    """What happened to an exchange, for people."""
    match error:
        case aiohttp.ClientConnectorError():
            return f"no connection ({error.strerror or error})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionResetError():
            return "a closed connection"
        case aiohttp.ClientPayloadError():
            return "an answer that broke off"
        case aiohttp.ClientResponseError():
            words = printable(" ".join(error.message.split()), 200)
            return f"an answer that is no HTTP/1.1 ({words})"
    return f"{type(error).__name__} ({printable(str(error), 200)})"
