"""The answers of the server that are not a segment, and the bodies that come with requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from livepeer.trickle.protocol import wire

DRAIN: Final = 30.0
"""Seconds that the body of a request that has no use for one may take."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TEXT: Final = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
}


def answer(
    status: int,
    text: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    close: bool = False,
) -> web.Response:
    """A short answer. `close` also asks the client to end the connection."""
    reason = "Resync" if status == wire.STATUS_RESYNC else None
    if text is None:
        response = web.Response(status=status, headers=headers)
    else:
        fields = {**(headers or {}), **_TEXT}
        response = web.Response(status=status, reason=reason, headers=fields, body=text.encode())
    if close:
        response.force_close()
    return response


async def drain(request: web.BaseRequest) -> None:
    """Read a body to its end and drop it; the reference answers only then."""
    content = request.content
    if content.at_eof():
        return
    send_continue(request)
    try:
        async with asyncio.timeout(DRAIN):
            while await content.readany():
                pass
    except TimeoutError:
        pass  # the answer goes out, and aiohttp ends the connection


def expects_continue(request: web.BaseRequest) -> bool:
    """Whether the client waits for a 100 before it sends its body."""
    return (
        request.headers.get("Expect", "").lower() == "100-continue"
        and request.version >= (1, 1)  # HTTP/1.0 knows no provisional answers
    )


def send_continue(request: web.BaseRequest) -> None:
    """Send `100 Continue` where the client waits for it."""
    if expects_continue(request):
        _write_continue(request)


def _write_continue(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is not None and not transport.is_closing():
        transport.write(_CONTINUE)


class ContinueTimer:
    """Sends `100 Continue` every `interval` seconds while a POST waits with its first byte.

    It keeps proxies and NAT tables from dropping the connection. aiohttp has no API for provisional
    answers, so the bytes go to the transport: nothing else is written before the final answer.
    """

    __slots__ = ("_handle", "_interval", "_request")

    def __init__(self, request: web.BaseRequest, interval: float) -> None:
        self._request = request
        self._interval = interval
        self._handle: asyncio.TimerHandle | None = None
        if request.version >= (1, 1):
            self._start()

    def _start(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(self._interval, self._fire)

    def _fire(self) -> None:
        _write_continue(self._request)
        self._start()

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
