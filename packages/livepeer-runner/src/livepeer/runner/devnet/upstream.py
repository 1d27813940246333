"""Calls to a container (or, by a gateway, to an orchestrator), as the reference's HTTP client
makes them."""

from __future__ import annotations

import asyncio
import io
import json
import zlib
from collections.abc import AsyncGenerator, Coroutine, Mapping
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from livepeer.runner.devnet.urls import GoURL, parse_url

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
_IDLE = 60.0
"""Go keeps idle connections for so long (seconds)."""
_LARGEST_FIELD = 1024 * 1024


class UpstreamUnreachable(Exception):
    """No answer; `str()` is the reference's text. `gave_up`: the time limit or the caller."""

    def __init__(self, text: str, *, gave_up: bool = False) -> None:
        super().__init__(text)
        self.gave_up = gave_up


class AnswerBrokeOff(Exception):
    """A body ended before its end."""


def go_session(
    *, idle: float, verify: bool = True, connect: float | None = None, **options: Any
) -> aiohttp.ClientSession:
    """Connections as Go's HTTP client has them: any number, nothing unzipped unasked, no cookies,
    long headers, no limit of time but to connect. `idle` and `connect` in seconds."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=verify, keepalive_timeout=idle),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
        max_line_size=_LARGEST_FIELD,
        max_field_size=_LARGEST_FIELD,
        **options,
    )


class UpstreamClient:
    """The connections to all servers. Certificates are not looked at, as in the reference."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> UpstreamClient:
        self._session = go_session(
            idle=_IDLE, skip_auto_headers=("Accept", "Content-Type"), verify=False
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(
        self, url: GoURL, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> UpstreamAnswer:
        """Posts and waits at most `timeout` seconds for the headers of the answer.

        Redirects are followed; credentials stay with their host. Raises `UpstreamUnreachable`.
        """
        return await self._within(timeout, "Post", url, self._follow(url, body, headers))

    async def get(self, url: GoURL, headers: Mapping[str, str], timeout: float) -> UpstreamAnswer:
        """Gets, without following a redirect. Raises `UpstreamUnreachable`."""
        return await self._within(timeout, "Get", url, self._send("GET", url, b"", headers))

    async def _within(
        self,
        timeout: float,
        verb: str,
        url: GoURL,
        answer: Coroutine[None, None, UpstreamAnswer],
    ) -> UpstreamAnswer:
        try:
            # A limit below 0 fires at once in the reference: it gives up without a try.
            async with asyncio.timeout(max(timeout, 0)):
                return await answer
        except TimeoutError:
            text = f"{verb} {json.dumps(str(url))}: context canceled"
            raise UpstreamUnreachable(text, gave_up=True) from None

    async def _follow(self, url: GoURL, body: bytes, headers: Mapping[str, str]) -> UpstreamAnswer:
        method, content, sent = "POST", body, dict(headers)
        for _ in range(_MOST_REDIRECTS):
            answer = await self._send(method, url, content, sent)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            answer.close()
            try:
                target = parse_url(str(URL(str(url), encoded=True).join(URL(location))))
            except ValueError as bad:
                text = f"failed to parse Location header {json.dumps(location)}: {bad}"
                raise UpstreamUnreachable(f"Post {json.dumps(str(url))}: {text}") from None
            if _hostname(target) != _hostname(url):
                sent.pop("Authorization", None)
            sent["Referer"], url = str(url), target
            if answer.status in (301, 302, 303):
                method, content = "GET", b""
                sent.pop("Content-Type", None)
        raise UpstreamUnreachable(f"Post {json.dumps(str(url))}: stopped after 10 redirects")

    async def _send(
        self, method: str, url: GoURL, body: bytes, headers: Mapping[str, str]
    ) -> UpstreamAnswer:
        assert self._session is not None, "used outside of its context"
        what = f"{method.capitalize()} {json.dumps(str(url), ensure_ascii=False)}"
        if url.scheme not in ("http", "https"):
            scheme = json.dumps(url.scheme)
            raise UpstreamUnreachable(f"{what}: unsupported protocol scheme {scheme}")
        if not url.host:
            raise UpstreamUnreachable(f"{what}: http: no Host in request URL")
        fixed = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
        try:
            response = await self._session.request(
                method,
                URL(str(url), encoded=True),
                data=io.BytesIO(body) if method == "POST" else None,
                headers={**fixed, **headers},
                allow_redirects=False,
            )
        except aiohttp.ServerDisconnectedError:
            raise UpstreamUnreachable(f"{what}: EOF") from None
        except aiohttp.ClientConnectorDNSError as error:
            reason = f"dial tcp: lookup {error.host}: no such host"
            raise UpstreamUnreachable(f"{what}: {reason}") from None
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            reason = "connection refused" if refused else str(error.os_error)
            address = f"{error.host}:{error.port}"
            raise UpstreamUnreachable(f"{what}: dial tcp {address}: connect: {reason}") from None
        except aiohttp.ClientOSError as error:
            raise UpstreamUnreachable(f"{what}: {error}") from None
        except aiohttp.ClientResponseError:
            reason = "net/http: HTTP/1.x transport connection broken: malformed HTTP response"
            raise UpstreamUnreachable(f"{what}: {reason}") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise UpstreamUnreachable(f"{what}: {error}") from None
        return UpstreamAnswer(response)


class UpstreamAnswer:
    """An answer whose headers are here; gzip is undone, as it was asked for on the way."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """The whole body, without a time limit; raises `AnswerBrokeOff`."""
        return b"".join([data async for data in self.chunks()])

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces, as they arrive; raises `AnswerBrokeOff` if it is cut off."""
        if self.status == 101:
            await self._until_closed()
            return
        gzip = self.headers.get("Content-Encoding", "").lower() == "gzip"
        unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if gzip else None
        try:
            async for data in self._response.content.iter_any():
                yield unzip.decompress(data) if unzip else data
        except (aiohttp.ClientError, ConnectionError):
            raise AnswerBrokeOff("unexpected EOF") from None
        except zlib.error as error:
            raise AnswerBrokeOff(f"gzip: {error}") from None
        if unzip and (rest := unzip.flush()):
            yield rest

    async def _until_closed(self) -> None:
        # Go reads a body after "101 Switching Protocols" until the container ends the connection;
        # aiohttp hands over the raw connection instead and tells nobody of its end.
        while (connection := self._response.connection) is not None:
            transport = connection.transport
            if transport is None or transport.is_closing():
                return
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """Lets go; a connection in the middle of a body is closed."""
        self._response.close()


def _hostname(url: GoURL) -> str | None:
    return URL(str(url), encoded=True).host
