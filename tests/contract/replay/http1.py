"""HTTP/1.1 over a raw socket, seen byte by byte: no library hides or repairs anything."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence

from .transcript import Mismatch

#: Longest head that is read; a recorded one is 1.1 MB.
LIMIT = 4 * 1024 * 1024
Headers = Sequence[tuple[str, str]]


class Incoming:
    """A message while it arrives; `until` waits for a state of it."""

    def __init__(self) -> None:
        self.start_line = ""
        self.headers: list[tuple[str, str]] = []
        self.provisional: list[int] = []
        self.has_head = False
        self.body = bytearray()
        self.ended = False  # complete as its framing says
        self.closed = False  # the other side has ended the connection
        self.broken = ""  # why it could not be understood
        self._changed = asyncio.Event()

    @property
    def status(self) -> int:
        return int(self.start_line.split(" ", 2)[1])

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def changed(self) -> None:
        self._changed.set()

    async def until(self, done: Callable[[], bool], limit: float, what: str) -> None:
        """Waits until `done()`, which is asked after each change."""
        try:
            async with asyncio.timeout(limit):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Mismatch(f"waited {limit} s for {what}; {self.describe()}") from None

    async def silent(self, seconds: float) -> bool:
        """Whether nothing arrives for so long."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return True
        return False

    def describe(self) -> str:
        tail = bytes(self.body[-200:])
        return (
            f"have {self.start_line!r}, {len(self.body)} bytes of body ending {tail!r}, "
            f"ended={self.ended}, closed={self.closed}"
            + (f", broken: {self.broken}" if self.broken else "")
        )


class Connection:
    """One connection of either side; messages arrive in a task of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.closed = asyncio.Event()

    @classmethod
    async def open(
        cls, host: str, port: int, tls: ssl.SSLContext | None, limit: float = 10
    ) -> Connection:
        async with asyncio.timeout(limit):
            return cls(*await asyncio.open_connection(host, port, ssl=tls, limit=LIMIT))

    async def write(self, data: bytes) -> None:
        # The other side may be gone: what matters is what it answered, so that is no error here.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._writer.write(data)
            await self._writer.drain()

    def write_soon(self, data: bytes) -> None:
        """Writes without waiting for a reader: one may come only after later steps."""
        self._writer.write(data)

    def close(self) -> None:
        """Sends what is buffered, then ends the connection."""
        self._writer.close()

    def abort(self) -> None:
        """Closes both ways at once."""
        self._writer.transport.abort()

    async def read(self, message: Incoming, *, request: bool) -> None:
        """Fills `message` with the next one; returns at its end or that of the connection."""
        try:
            while await self._read_head(message):
                if request or message.status >= 200 or message.status == 101:
                    break
                message.provisional.append(message.status)
                message.has_head = False
                message.changed()
            else:
                return
            message.changed()
            async for data in self._body(message, request):
                message.body += data
                message.changed()
            message.ended = True
            message.changed()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            self._mark_closed(message)
        except (ValueError, asyncio.LimitOverrunError) as error:
            message.broken = repr(error)
            message.changed()

    async def until_closed(self, message: Incoming) -> None:
        """Reads on after a message: bytes nobody asked for are a mistake, the end is noted."""
        try:
            if data := await self._reader.read(1):
                message.broken = f"{data!r} after the end of the message"
                message.changed()
                return
        except (ConnectionError, ssl.SSLError):
            pass
        self._mark_closed(message)

    @property
    def at_end(self) -> bool:
        return self.closed.is_set() or self._reader.at_eof() or self._writer.is_closing()

    def _mark_closed(self, message: Incoming) -> None:
        self.closed.set()
        message.closed = True
        message.changed()

    async def _read_head(self, message: Incoming) -> bool:
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                message.broken = f"half a head: {error.partial[:200]!r}"
            self._mark_closed(message)
            return False
        lines = head[:-4].decode("utf-8", "surrogateescape").split("\r\n")
        message.start_line = lines[0]
        message.headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise ValueError(f"not a header: {line!r}")
            message.headers.append((name, value.strip(" \t")))
        message.has_head = True
        return True

    async def _body(self, message: Incoming, request: bool) -> AsyncIterator[bytes]:
        length = message.header("content-length")
        if not request and message.status in (204, 304):
            return
        if (message.header("transfer-encoding") or "").lower() == "chunked":
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                while size:
                    data = await self._read_some(size)
                    size -= len(data)
                    yield data
                if await self._reader.readexactly(2) != b"\r\n":
                    raise ValueError("a chunk without its line end")
            if await self._reader.readuntil(b"\r\n") != b"\r\n":
                raise ValueError("trailers are not expected")
        elif length is not None:
            left = int(length)
            while left:
                data = await self._read_some(left)
                left -= len(data)
                yield data
        elif not request:
            while data := await self._reader.read(65536):
                yield data
            self._mark_closed(message)

    async def _read_some(self, most: int) -> bytes:
        data = await self._reader.read(min(most, 262_144))
        if not data:
            raise asyncio.IncompleteReadError(b"", most)
        return data


def head(start_line: str, headers: Headers) -> bytes:
    """A head as bytes; values are sent as they are."""
    lines = [start_line, *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


LAST_CHUNK = b"0\r\n\r\n"


def tls_unverified() -> ssl.SSLContext:
    """For loopback only: the certificate is self-signed and new at each start."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
