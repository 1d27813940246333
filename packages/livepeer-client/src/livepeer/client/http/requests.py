"""HTTP as this package uses it: no redirects, no cookies, no compression, bounded bodies, and the
transport's exceptions translated once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConnectionFailedError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.farewells import Farewells
from livepeer.client.http.in_flight import InFlight
from livepeer.client.http.tls import origin
from livepeer.client.http.translation import translate, uncallable, unsendable
from livepeer.client.http.websockets import CONNECT_LIMIT, WebSockets
from livepeer.trickle.exceptions import TrickleError, TrickleTimeout
from livepeer.trickle.http.call import Body, HTTPCall, HTTPCalls
from livepeer.trickle.text import printable
from livepeer.trickle.types import TLS

SMALL: Final = 1 << 20

# A kilobyte of gzip can hold a megabyte, and nobody here has a use for it.
_HEADERS: Final = {
    "User-Agent": "livepeer-client",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole, small answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """The connections of one event loop."""

    def __init__(self) -> None:
        self.farewells = Farewells()
        self.in_flight = InFlight()
        self._closing = asyncio.Lock()
        self.websockets = WebSockets()
        self._calls = HTTPCalls(_HEADERS)

    async def open(
        self,
        method: str,
        url: str,
        *,
        ssl: TLS,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        job: bool = False,
        where: Mapping[str, Any] | None = None,
    ) -> HTTPCall:
        """Send a request and wait for the headers of its answer.

        `job` says that the request has effects, so that an error tells whether it may have run.
        """
        left = deadline.remaining()
        connect = min(CONNECT_LIMIT, max(0.001, left - 0.01))
        if left <= 0:
            raise _late(url, deadline, False, where)
        try:
            call = self._calls.open(
                method, url, headers=headers, body=body, tls=ssl, connect=connect, limit=left
            )
        except TrickleError:  # it quotes the URL, and one of a session is a credential
            raise uncallable(url, dict(where or {})) from None
        except (TypeError, ValueError) as error:  # a header of ours that cannot be one
            raise unsendable(origin(url), error, dict(where or {})) from None
        try:
            if not await call.wait(left):
                raise _late(url, deadline, job, where)
            if not call.status:
                self._failed(call, deadline, connect, job, dict(where or {}))
            coding = call.headers.get("content-encoding")
            if coding is not None and coding.strip().lower() not in ("", "identity"):
                raise ProtocolError(
                    f"{origin(url)} answered in the coding {printable(coding, 40)!r}, which it was"
                    " told not to use",
                    may_have_run=job,
                    **(where or {}),
                )
        except BaseException:
            call.abort()
            raise
        return call

    def _failed(
        self, call: HTTPCall, deadline: Deadline, connect: float, job: bool, named: dict[str, Any]
    ) -> None:
        """Raise what became of a call that has no answer."""
        error = call.error
        assert error is not None
        if not call.sent and isinstance(error, TrickleTimeout):
            if connect < CONNECT_LIMIT:
                raise CallTimeoutError(
                    f"no connection to {origin(call.url)} within the {deadline.seconds:g} s of the"
                    " call",
                    phase="connect",
                    **named,
                ) from error
            raise ConnectionFailedError(
                f"no connection to {origin(call.url)} within {connect:g} s", **named
            ) from error
        if isinstance(error, TrickleTimeout):
            raise _late(call.url, deadline, job, named) from error
        raise translate(error, call, job=job, named=named) from error.__cause__ or error

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        ssl: TLS,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int = SMALL,
    ) -> Fetched:
        """Send a request that has no effects and read its whole answer, of `limit` bytes."""
        call = await self.open(
            method, url, ssl=ssl, deadline=deadline, headers=headers, body=body, where=where
        )
        data = await read(call, deadline, limit=limit, where=where)
        return Fetched(call.status, call.headers, data)

    async def aclose(self) -> None:
        """Safe to repeat; whoever comes while it is being closed waits for that."""
        async with self._closing, contextlib.AsyncExitStack() as stack:
            # Each also where another is cancelled.
            stack.push_async_callback(self._calls.aclose)
            stack.push_async_callback(self.websockets.aclose)
            stack.push_async_callback(self.in_flight.aclose)
            await self.farewells.aclose()


async def read(
    call: HTTPCall,
    deadline: Deadline,
    *,
    limit: int,
    job: bool = False,
    where: Mapping[str, Any] | None = None,
) -> bytes:
    """The whole body; the connection is closed where it was not read to its end."""
    try:
        if (call.content_length or 0) > limit:
            raise _too_long(call, limit, job, where)
        chunks: list[bytes] = []
        size = 0
        # Of a small answer all has come with its head: nothing is waited for.
        while chunk := await call.read(deadline.remaining()):
            size += len(chunk)
            if size > limit:
                raise _too_long(call, limit, job, where)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TrickleTimeout as error:
        raise CallTimeoutError(
            f"the answer of {origin(call.url)} was not complete within the"
            f" {deadline.seconds:g} s of this call",
            phase="answer",
            may_have_run=job,
            **(where or {}),
        ) from error
    except TrickleError as error:
        raise translate(error, call, job=job, named=dict(where or {})) from error
    finally:
        call.abort()


def _late(
    url: str, deadline: Deadline, job: bool, where: Mapping[str, Any] | None
) -> CallTimeoutError:
    return CallTimeoutError(
        f"no answer from {origin(url)} within the {deadline.seconds:g} s of this call (give it more"
        " with timeout=)",
        phase="answer",
        may_have_run=job,
        **(where or {}),
    )


def _too_long(
    call: HTTPCall, limit: int, job: bool, where: Mapping[str, Any] | None
) -> ProtocolError:
    return ProtocolError(
        f"the answer of {origin(call.url)} is over {limit:,} bytes",
        may_have_run=job,
        **(where or {}),
    )
