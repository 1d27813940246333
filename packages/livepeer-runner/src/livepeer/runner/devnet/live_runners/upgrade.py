"""A connection that leaves HTTP: after a 101 bytes pass both ways (WebSocket and the like)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp
from aiohttp import web

_MOST_WAITING = 256 * 1024
"""Bytes of one direction that wait for the other side; above it the sender is not read."""
_PIECE = 64 * 1024


class _Connection(Protocol):
    """What aiohttp's protocols of both sides can do."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class _Pipe:
    """Takes the bytes of one side as aiohttp's payload parser does, and hands them out."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._waiting = bytearray()
        self._ended = False
        self._paused = False
        self._news = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._waiting += data
        self._news.set()
        if not self._paused and len(self._waiting) > _MOST_WAITING:
            self._paused = True
            self._connection.pause_reading()
        return self._ended, b""

    def is_eof(self) -> bool:
        """aiohttp asks it of what it read last, when the connection is given back."""
        return self._ended

    def feed_eof(self) -> None:
        self._ended = True
        self._news.set()

    def set_exception(self, exc: type[BaseException] | BaseException, *args: Any) -> None:
        self.feed_eof()

    async def read(self) -> bytes:
        """The next bytes; none at the end."""
        while not self._waiting and not self._ended:
            self._news.clear()
            await self._news.wait()
        data = bytes(self._waiting[:_PIECE])
        del self._waiting[:_PIECE]
        if self._paused and len(self._waiting) <= _MOST_WAITING // 2:
            self._paused = False
            self._connection.resume_reading()
        return data


def switching_head(headers: Mapping[str, str]) -> bytes:
    """The 101 for the caller."""
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def relay(request: web.Request, answer: aiohttp.ClientResponse, head: bytes) -> None:
    """Passes bytes both ways until one side ends; then both are over."""
    upstream = answer.connection
    if request.transport is None or upstream is None or upstream.transport is None:
        return
    assert upstream.protocol is not None
    loop = asyncio.get_running_loop()
    to_caller = asyncio.StreamWriter(request.transport, request.protocol, None, loop)
    to_runner = asyncio.StreamWriter(upstream.transport, upstream.protocol, None, loop)
    from_caller, from_runner = _Pipe(request.protocol), _Pipe(upstream.protocol)
    to_caller.write(head)
    # aiohttp hands out a connection that has left HTTP by its WebSocket reader's place.
    request.protocol.set_parser(from_caller)  # type: ignore[arg-type]
    upstream.protocol.set_parser(from_runner, from_runner)
    copying = [
        asyncio.create_task(_copy(from_caller, to_runner), name="devnet-upgrade"),
        asyncio.create_task(_copy(from_runner, to_caller), name="devnet-upgrade"),
    ]
    try:
        await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in copying:
            task.cancel()
        to_runner.close()
        to_caller.close()
        await asyncio.gather(*copying, return_exceptions=True)


async def _copy(pipe: _Pipe, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await pipe.read():
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other side is gone, and so is this
