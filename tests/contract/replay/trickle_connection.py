"""A raw HTTP/1.1 client connection for replays: it sends what it is told and parses no more than
it must, so that it sees what a well-behaved client library would hide."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field


@dataclass
class RawAnswer:
    """What arrived of one answer so far."""

    version: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = b""
    ended: bool = False
    provisional: list[tuple[int, float]] = field(default_factory=list)
    """Status and arrival of each 1xx, in seconds of the loop's clock."""


class RawConnection:
    """One TCP connection. A task of its own keeps reading; `close` ends it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str = "GET"
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._method = method
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read())
        self.answer = RawAnswer()
        self.eof = False
        """The server ended the connection."""
        self.dropped = False
        self.sent_at = 0.0
        self.chunked = False
        """The request that is being sent is chunked."""
        self.taken = 0
        """Bytes of the answer's body that were looked at already."""
        self.taken_provisional = 0

    @classmethod
    async def open(cls, host: str, port: int) -> RawConnection:
        reader, writer = await asyncio.open_connection(host, port)
        return cls(reader, writer)

    @property
    def usable(self) -> bool:
        """Whether a client would send another request on it."""
        asked_to_close = self.answer.headers.get("connection", "").lower() == "close"
        return not (self.eof or self.dropped or asked_to_close)

    def begin(self, method: str) -> None:
        """A new request: the answers that arrive from now on are its own."""
        self._method = method
        self.answer = RawAnswer()
        self.taken = self.taken_provisional = 0
        self.sent_at = asyncio.get_running_loop().time()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def half_close(self) -> None:
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def close(self) -> None:
        self.dropped = True
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def news(self, limit: float) -> bool:
        """Wait until something arrives; False after `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(256 * 1024):
                self._buffer += data
                while self._parse():
                    pass
                self._news.set()
        self.eof = True
        answer = self.answer
        if answer.status and not answer.ended and self._until_close():
            answer.ended = True
        self._news.set()

    def _parse(self) -> bool:
        """Take what can be taken of the buffer; False where nothing could."""
        answer = self.answer
        if answer.ended:
            return False
        if not answer.status:
            return self._parse_head()
        if self._until_close():
            answer.body += self._buffer
            taken, self._buffer = bool(self._buffer), b""
            return taken
        if "transfer-encoding" in answer.headers:
            return self._parse_chunk()
        missing = int(answer.headers["content-length"]) - len(answer.body)
        data, self._buffer = self._buffer[:missing], self._buffer[missing:]
        answer.body += data
        answer.ended = len(data) == missing
        return bool(data) or answer.ended

    def _parse_head(self) -> bool:
        head, mark, rest = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return False
        self._buffer = rest
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ", 2)[:2]
        answer = self.answer
        if status.startswith("1"):
            now = asyncio.get_running_loop().time()
            answer.provisional.append((int(status), now - self.sent_at))
            return True
        answer.version = version
        answer.status = int(status)
        for line in lines:
            name, _, value = line.partition(":")
            answer.headers[name.lower()] = value.strip()
        if self._method == "HEAD" or answer.status in (204, 304):
            answer.ended = True
        return True

    def _parse_chunk(self) -> bool:
        size, mark, rest = self._buffer.partition(b"\r\n")
        if not mark:
            return False
        length = int(size.partition(b";")[0], 16)
        if len(rest) < length + 2:
            return False
        self.answer.body += rest[:length]
        self._buffer = rest[length + 2 :]
        self.answer.ended = length == 0
        return True

    def _until_close(self) -> bool:
        headers = self.answer.headers
        return "transfer-encoding" not in headers and "content-length" not in headers
