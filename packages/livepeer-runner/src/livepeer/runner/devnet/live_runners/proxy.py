"""Passes requests on to a runner, as Go's `httputil.ReverseProxy` does in the reference."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from livepeer.runner.devnet.go_http import Untyped, UntypedStream, error, read_on, sniff
from livepeer.runner.devnet.listener import end_connection
from livepeer.runner.devnet.live_runners.upgrade import relay, switching_head
from livepeer.runner.devnet.upstream import go_session
from livepeer.runner.devnet.urls import GoURL

MOST_REQUESTS = 1_000
"""Requests that are passed on at one time. The reference has no limit."""
_CONNECT_SECONDS = 30.0
_IDLE_SECONDS = 90.0
_PIECE = 64 * 1024
_HOP_BY_HOP = (
    "Connection",
    "Proxy-Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Te",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)
_FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")
_TOKENS = re.compile(r"[^,\s][^,]*")


class _GoRequest(aiohttp.ClientRequest):
    """A request without a body says `Content-Length: 0` only where Go's client does."""

    def update_body_from_data(self, body: Any, *args: Any, **options: Any) -> None:
        super().update_body_from_data(body, *args, **options)
        if body is None and self.method not in ("POST", "PUT", "PATCH"):
            self.headers.pop(hdrs.CONTENT_LENGTH, None)


class RunnerProxy:
    """The connections to all runners. Requests have no time limit: one ends with its answer or when
    its caller leaves."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._passing = 0

    async def __aenter__(self) -> RunnerProxy:
        self._session = go_session(
            idle=_IDLE_SECONDS,
            connect=_CONNECT_SECONDS,
            request_class=_GoRequest,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
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

    async def pass_on(
        self, request: web.Request, url: GoURL, added: Mapping[str, str]
    ) -> web.StreamResponse:
        """Forwards a request and streams the answer back; 502 if the runner gives none.

        `added` are the headers that tell the runner of the session; a caller cannot set them.
        """
        assert self._session is not None, "used outside of its context"
        if self._passing >= MOST_REQUESTS:
            return error(503, f"over {MOST_REQUESTS} requests are passed on already")
        headers = _outgoing(request.headers, added)
        # Where the caller did not say what it can undo, the reference asks for gzip and undoes it.
        unzips = not (
            hdrs.ACCEPT_ENCODING in headers or hdrs.RANGE in headers or request.method == "HEAD"
        )
        if unzips:
            headers[hdrs.ACCEPT_ENCODING] = "gzip"
        self._passing += 1
        try:
            async with self._session.request(
                request.method,
                URL(str(url), encoded=True),
                headers=headers,
                data=await _body(request),
                allow_redirects=False,
            ) as answer:
                return await _pass_back(request, answer, unzips=unzips)
        except (aiohttp.ClientError, TimeoutError, ValueError) as failure:
            return error(502, _reason(failure))
        finally:
            self._passing -= 1


async def _body(request: web.Request) -> AsyncIterator[bytes] | bytes | None:
    """The body to pass on: at once if it is all there, else in pieces, as it arrives."""
    if not request.body_exists:
        return None
    return await request.read() if request.content.is_eof() else read_on(request)


async def _pass_back(
    request: web.Request, answer: aiohttp.ClientResponse, *, unzips: bool
) -> web.StreamResponse:
    if answer.status == 101:
        return await _switch(request, answer)
    headers = CIMultiDict(answer.headers)
    for name in (*_listed(headers), *_HOP_BY_HOP):
        headers.popall(name, None)
    unzip = None
    if unzips and headers.get(hdrs.CONTENT_ENCODING, "").lower() == "gzip":
        unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        headers.popall(hdrs.CONTENT_ENCODING)
        headers.popall(hdrs.CONTENT_LENGTH, None)
    try:
        if unzip is None and _is_short(request, headers) and answer.content.is_eof():
            return _whole(request, answer.status, headers, await answer.read())
        chunks = answer.content.iter_any()
        first = b""
        if hdrs.CONTENT_TYPE not in headers and hdrs.CONTENT_LENGTH in headers:
            # Go's server guesses from the first bytes, but where the head went out without any.
            first = await anext(chunks, b"")
            if first:
                headers[hdrs.CONTENT_TYPE] = sniff(first)
        kind = web.StreamResponse if hdrs.CONTENT_TYPE in headers else UntypedStream
        response = kind(status=answer.status, headers=headers)
        if hdrs.UPGRADE in request.headers:
            response.force_close()  # the connection is not read as HTTP any more
        await response.prepare(request)
        if first:
            await response.write(first)
        async for data in chunks:
            for part in _parts(data, unzip):
                await response.write(part)
        await response.write_eof()
    except (aiohttp.ClientError, zlib.error):
        # Once it has begun, the caller can only be told by a broken connection.
        return end_connection(request)
    return response


def _is_short(request: web.Request, headers: CIMultiDict[str]) -> bool:
    """Whether the answer's length is known and its body is one that is sent."""
    return hdrs.CONTENT_LENGTH in headers and request.method != "HEAD"


def _whole(
    request: web.Request, status: int, headers: CIMultiDict[str], body: bytes
) -> web.Response:
    """An answer that has arrived already: it leaves in one piece."""
    if body and hdrs.CONTENT_TYPE not in headers:
        headers[hdrs.CONTENT_TYPE] = sniff(body)
    kind = web.Response if hdrs.CONTENT_TYPE in headers else Untyped
    response = kind(status=status, headers=headers, body=body)
    if hdrs.UPGRADE in request.headers:
        response.force_close()
    return response


def _parts(data: bytes, unzip: Any) -> Iterator[bytes]:
    """The bytes themselves, or what they unzip to, in pieces that do not fill the memory."""
    if unzip is None:
        yield data
        return
    while data:
        if part := unzip.decompress(data, _PIECE):
            yield part
        data = unzip.unconsumed_tail


async def _switch(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    wanted, given = request.headers.get(hdrs.UPGRADE, ""), answer.headers.get(hdrs.UPGRADE, "")
    if wanted.lower() != given.lower() or not wanted:
        return error(
            502,
            f'backend tried to switch protocol "{given[:64]}" when "{wanted[:64]}" was requested',
        )
    headers = CIMultiDict(answer.headers)
    for name in (*_listed(headers), *_HOP_BY_HOP):
        headers.popall(name, None)
    headers[hdrs.CONNECTION], headers[hdrs.UPGRADE] = "Upgrade", given
    await relay(request, answer, switching_head(headers))
    return end_connection(request)


def _outgoing(sent: CIMultiDictProxy[str], added: Mapping[str, str]) -> CIMultiDict[str]:
    headers = CIMultiDict(sent)
    upgrade = headers.get(hdrs.UPGRADE, "") if "upgrade" in _lower(_listed(headers)) else ""
    trailers = "trailers" in _lower(_TOKENS.findall(headers.get("Te", "")))
    # The caller is told to go on by us, when the runner's connection takes its body.
    for name in (*_listed(headers), *_HOP_BY_HOP, *_FORWARDING, hdrs.EXPECT, hdrs.HOST):
        headers.popall(name, None)
    if trailers:
        headers["Te"] = "trailers"
    if upgrade:
        headers[hdrs.CONNECTION], headers[hdrs.UPGRADE] = "Upgrade", upgrade
    for name, value in added.items():
        headers[name] = value
    return headers


def _listed(headers: CIMultiDict[str]) -> list[str]:
    """The header names that `Connection` says are for one hop only."""
    values = headers.getall(hdrs.CONNECTION, [])
    return [name.strip() for value in values for name in _TOKENS.findall(value)]


def _lower(names: list[str]) -> set[str]:
    return {name.strip().lower() for name in names}


def _reason(failure: Exception) -> str:
    """The reference's words, without the runner's URL: its path may be a secret."""
    match failure:
        case aiohttp.ServerDisconnectedError():
            return "EOF"
        case aiohttp.ClientConnectorDNSError():
            return f"dial tcp: lookup {failure.host}: no such host"
        case aiohttp.ClientConnectorError():
            refused = isinstance(failure.os_error, ConnectionRefusedError)
            reason = "connection refused" if refused else type(failure.os_error).__name__
            return f"dial tcp {failure.host}:{failure.port}: connect: {reason}"
        case TimeoutError():
            return "dial tcp: i/o timeout"
    return f"the runner gave no answer: {type(failure).__name__}"
