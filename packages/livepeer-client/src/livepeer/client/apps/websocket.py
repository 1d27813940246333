"""A WebSocket to an app, by its orchestrator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConnectionFailedError,
    LivepeerError,
    ProtocolError,
)
from livepeer.client.payments.bill import Bill, unpaid
from livepeer.client.protocol.wire import compact_json
from livepeer.client.untrusted import loads
from livepeer.trickle.text import printable

MESSAGE_LIMIT: Final = 4 << 20
"""Bytes of one message, unless a caller says otherwise."""
_ORDERLY: Final = frozenset({1000, 1001, 1005})
_ENDED: Final = frozenset(
    {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED}
)


class AppWebSocket:
    """Messages in both directions; made by `AppSession.websocket`.

        async with await session.websocket("/chat") as ws:
            await ws.send("hello")
            async for message in ws:     # str or bytes
                print(message)

    The loop ends when the app closes in good order. An app that is gone, also without a word, is
    noticed within 30 s (`ConnectionFailedError`).
    """

    def __init__(
        self,
        ws: aiohttp.ClientWebSocketResponse,
        where: Mapping[str, Any],
        limit: int,
        closed: Callable[[AppWebSocket], None],
        bill: Bill | None = None,
        say: Callable[[Callable[[], Coroutine[Any, Any, None]]], object] = lambda work: None,
    ) -> None:
        """`bill`: what it, or its session, is paid by. `say` does what nobody waits for."""
        self._ws, self._where, self._limit, self._closed = ws, where, limit, closed
        self._bill, self._say = bill, say
        self._reason = ""
        self._problem: LivepeerError | None = None
        if bill is not None:
            bill.listen(self._end_unpaid)

    def __repr__(self) -> str:
        return f"AppWebSocket({'closed' if self._ws.closed else 'open'})"

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the app chose."""
        return self._ws.protocol

    @property
    def close_code(self) -> int | None:
        """The code of RFC 6455 it was closed with; None while it is open, 1006 if it broke."""
        return self._ws.close_code

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait 3 s for the app to do so too. Safe to repeat."""
        try:
            await self._ws.close(code=code, message=reason.encode()[:123])
        finally:
            self._leave()
            if not self._ws.closed:
                # Cancelled while aiohttp waited for a `receive` of another task: now it drops the
                # connection.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await self._ws.close()

    async def send(self, message: str | bytes) -> None:
        """Send text or bytes.

        Raises `ConnectionFailedError` if it is closed, `PaymentRequiredError` if that was because
        it could not be paid any longer.
        """
        if self._problem is not None:
            raise self._over()
        try:
            if isinstance(message, str):
                await self._ws.send_str(message)
            else:
                await self._ws.send_bytes(message)
        except (aiohttp.ClientError, OSError) as error:
            raise self._over() from error

    async def send_json(self, value: Any) -> None:
        """Send a value as JSON text."""
        await self.send(compact_json(value))

    async def receive(self, *, timeout: float | None = None) -> str | bytes:
        """The next message; without a `timeout` (seconds) however long that takes.

        Raises `ConnectionFailedError` once it is closed, `PaymentRequiredError` if that was because
        it could not be paid any longer, `CallTimeoutError` when the time is over (it stays open),
        `ProtocolError` for a message over its limit.
        """
        message = await self._next(timeout)
        if message is None:
            raise self._over()
        return message

    async def receive_json(self, *, timeout: float | None = None) -> Any:
        """`receive`, parsed as JSON. Raises `ProtocolError` if it is none."""
        message = await self.receive(timeout=timeout)
        try:
            return loads(message)
        except ValueError as error:
            raise ProtocolError("a message of the app is no JSON", **self._where) from error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._next(None)
        if message is not None:
            return message
        if self.close_code in _ORDERLY and self._problem is None:
            raise StopAsyncIteration
        raise self._over()

    async def _next(self, timeout: float | None) -> str | bytes | None:
        """The next message, None where there will be none."""
        if self._problem is not None:
            return None
        try:
            async with asyncio.timeout(timeout):
                message = await self._ws.receive()
        except TimeoutError as error:
            told = f"the app sent nothing for {timeout or 0:g} s"
            raise CallTimeoutError(told, phase="stream", **self._where) from error
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            content: str | bytes = message.data
            return content
        if message.type is aiohttp.WSMsgType.CLOSE:
            self._reason = printable(message.extra or "", 200)
        self._leave()
        if message.type is aiohttp.WSMsgType.ERROR:
            raise self._broken(message.data)
        assert message.type in _ENDED, message.type
        return None

    def _end_unpaid(self, problem: LivepeerError) -> None:
        """It is paid no longer, which is what is raised from now on, also by who waits."""
        self._problem = problem
        code = aiohttp.WSCloseCode.POLICY_VIOLATION
        self._say(partial(self.aclose, code, "not paid any longer"))

    def _leave(self) -> None:
        if self._bill is not None:
            self._bill.forget(self._end_unpaid)
        self._closed(self)

    def _broken(self, error: Any) -> LivepeerError:
        if getattr(error, "code", None) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
            told = f"a message of the app is over {self._limit:,} bytes: say max_bytes= for more"
            return ProtocolError(told, **self._where)
        if isinstance(error, aiohttp.WebSocketError):
            return ProtocolError("the app broke the WebSocket protocol", **self._where)
        return ConnectionFailedError("the WebSocket broke", may_have_run=True, **self._where)

    def _over(self) -> LivepeerError:
        if self._problem is not None:
            left = ConnectionFailedError(
                "the WebSocket is closed", may_have_run=True, **self._where
            )
            return unpaid(left, self._problem)
        code = self.close_code
        if code is None or code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
            told = "the WebSocket is closed: its connection broke"
        else:
            told = f"the WebSocket is closed ({code}{f' {self._reason}' if self._reason else ''})"
        return ConnectionFailedError(told, may_have_run=True, **self._where)
