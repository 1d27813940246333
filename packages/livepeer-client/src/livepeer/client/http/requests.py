"""HTTP as this package uses it: no redirects, no cookies, no compression, bounded bodies, and
aiohttp's exceptions translated once."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from yarl import URL

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConnectionFailedError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.farewells import Farewells
from livepeer.client.http.in_flight import InFlight
from livepeer.client.http.tls import Ssl, origin
from livepeer.client.http.translation import translate, unsendable
from livepeer.client.http.websockets import CONNECT_LIMIT, HEADER_LIMIT, WebSockets
from livepeer.client.untrusted import LARGE
from livepeer.trickle.text import printable

KEEP_ALIVE: Final = 30.0
"""go-livepeer's server ends idle connections late; ours go first, so that none is used as it
dies."""
SMALL: Final = 1 << 20

_LIMITS: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT)
"""Of nearly every request: the whole of it is bounded by its call's deadline."""

Body = bytes | aiohttp.FormData | AsyncIterable[bytes]


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
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            # A kilobyte of gzip can hold a megabyte, and nobody here has a use for it.
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
        )
        self.websockets = WebSockets(self._session.connector)

    async def open(
        self,
        method: str,
        url: str | URL,
        *,
        ssl: Ssl,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        job: bool = False,
        where: Mapping[str, Any] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the headers of its answer.

        `job` says that the request has effects, so that an error tells whether it may have run.
        """
        named = dict(where or {})
        connect = min(CONNECT_LIMIT, max(0.001, deadline.remaining() - 0.01))
        try:
            async with deadline.timeout():
                response = await self._session.request(
                    method,
                    url,
                    data=_payload(body),
                    headers=headers,
                    ssl=ssl,
                    allow_redirects=False,
                    timeout=_LIMITS
                    if connect == CONNECT_LIMIT
                    else aiohttp.ClientTimeout(total=None, sock_connect=connect),
                )
        except aiohttp.ConnectionTimeoutError as error:
            if connect < CONNECT_LIMIT:
                raise CallTimeoutError(
                    f"no connection to {origin(str(url))} within the {deadline.seconds:g} s of the"
                    " call",
                    phase="connect",
                    **named,
                ) from error
            raise ConnectionFailedError(
                f"no connection to {origin(str(url))} within {connect:g} s", **named
            ) from error
        except TimeoutError as error:
            raise CallTimeoutError(
                f"no answer from {origin(str(url))} within the {deadline.seconds:g} s of this"
                " call (give it more with timeout=)",
                phase="answer",
                may_have_run=job,
                **named,
            ) from error
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            # They quote the whole URL, and one of a session is a credential.
            raise translate(error, str(url), job=job, named=named) from None
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error, str(url), job=job, named=named) from error
        except (TypeError, ValueError) as error:  # a header of ours that cannot be one
            raise unsendable(origin(str(url)), error, named) from None
        coding = response.headers.get("Content-Encoding")
        if coding is not None and coding.strip().lower() not in ("", "identity"):
            response.close()
            raise ProtocolError(
                f"{origin(str(url))} answered in the coding {printable(coding, 40)!r}, which it was"
                " told not to use",
                may_have_run=job,
                **named,
            )
        return response

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        ssl: Ssl,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int = SMALL,
    ) -> Fetched:
        """Send a request that has no effects and read its whole answer, of `limit` bytes."""
        response = await self.open(
            method, url, ssl=ssl, deadline=deadline, headers=headers, body=body, where=where
        )
        data = await read(response, deadline, limit=limit, where=where)
        return Fetched(response.status, response.headers, data)

    async def aclose(self) -> None:
        """Safe to repeat; whoever comes while it is being closed waits for that."""
        async with self._closing, contextlib.AsyncExitStack() as stack:
            # Each also where another is cancelled.
            stack.push_async_callback(self._session.close)
            stack.push_async_callback(self.websockets.aclose)
            stack.push_async_callback(self.in_flight.aclose)
            await self.farewells.aclose()


def _payload(body: Body | None) -> Body | io.BytesIO | None:
    """A large body goes out piece by piece, or aiohttp would hold the loop up for all of it."""
    return io.BytesIO(body) if isinstance(body, bytes) and len(body) > LARGE else body


async def read(
    response: aiohttp.ClientResponse,
    deadline: Deadline,
    *,
    limit: int,
    job: bool = False,
    where: Mapping[str, Any] | None = None,
) -> bytes:
    """The whole body; the connection is given back, or closed where that cannot be."""
    named = dict(where or {})
    content = response.content
    whole = False
    try:
        if (response.content_length or 0) > limit:
            raise _too_long(response, limit, job, named)
        if content.is_eof():  # it came with its head, as small ones do: nothing is waited for
            body = content.read_nowait()
            if len(body) > limit:
                raise _too_long(response, limit, job, named)
        else:
            chunks: list[bytes] = []
            size = 0
            async with deadline.timeout():
                while chunk := await content.readany():
                    size += len(chunk)
                    if size > limit:
                        raise _too_long(response, limit, job, named)
                    chunks.append(chunk)
            body = b"".join(chunks)
        whole = True
    except TimeoutError as error:
        raise CallTimeoutError(
            f"the answer of {origin(str(response.url))} was not complete within the"
            f" {deadline.seconds:g} s of this call",
            phase="answer",
            may_have_run=job,
            **named,
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise translate(error, str(response.url), job=job, named=named, begun=True) from error
    finally:
        if whole:
            response.release()
        else:
            response.close()
    return body


def _too_long(
    response: aiohttp.ClientResponse, limit: int, job: bool, named: dict[str, Any]
) -> ProtocolError:
    place = origin(str(response.url))
    return ProtocolError(
        f"the answer of {place} is over {limit:,} bytes", may_have_run=job, **named
    )
