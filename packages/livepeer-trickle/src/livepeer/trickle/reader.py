"""One segment, read while it is written: `SegmentReader`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from livepeer.trickle.exceptions import ProtocolError, TrickleConnectionError, TrickleTimeout
from livepeer.trickle.protocol.wire import Answer

if TYPE_CHECKING:
    from livepeer.trickle.http.download import Download
    from livepeer.trickle.mending import Mender


MAX_READ: Final = 256 * 1024 * 1024
"""Bytes that `SegmentReader.read` takes at most, unless told otherwise."""
_TAIL: Final = 64
"""Bytes compared where a reader resumes, so that another segment of the same number is noticed."""


class SegmentReader:
    """One segment to read, from a `TrickleSubscriber`, while it is written.

    Iterate over its chunks (their borders mean nothing), or `read()` it whole. Asking the
    subscriber for the next segment gives up what was not read of this one.
    """

    def __init__(self, source: Mender, seq: int, download: Download) -> None:
        self._source = source
        self._download = download
        self._size = 0
        self._tail = b""
        self._done = False
        self.seq = seq
        """Its number."""
        self.mime_type = download.mime_type
        """The type of the channel, as its creator named it; may be empty."""
        self.latest = download.trickle.latest
        """The next number of the channel when this segment was asked for; None where the answer did
        not tell, which is so for a reader that keeps up."""

    def __repr__(self) -> str:
        return f"<SegmentReader seq={self.seq} {self.mime_type!r}, {self._size} bytes read>"

    def __aiter__(self) -> SegmentReader:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.receive()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def __aenter__(self) -> SegmentReader:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def receive(self) -> bytes:
        """The next bytes, at least one; b"" at the end.

        A connection that breaks is opened again and read from where it broke.

        Raises:
            SegmentFailed: the rest is not to be had. The subscriber goes on with the next segment.
        """
        while not self._done:
            try:
                data = await self._download.read(self._source.silence)
            except TrickleTimeout:
                await self._mend(Answer.SILENT)
                continue
            except (TrickleConnectionError, ProtocolError):
                await self._mend(Answer.LOST)
                continue
            if not data:
                self._finish()
                break
            self._size += len(data)
            self._tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
            self._source.taken(len(data))
            return data
        return b""

    async def read(self, *, limit: int = MAX_READ) -> bytes:
        """All of it that has not been read, when it has ended.

        Raises:
            SegmentFailed: as `receive`, and where it is longer than `limit` bytes: its writer
                decides how long it is. Iterating takes one of any length.
        """
        chunks, size = [], 0
        async for chunk in self:
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                self._finish()
                raise self._source.cut(self.seq, size, f"read() takes {limit} bytes at most")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def aclose(self) -> None:
        """Give up the rest. Reading on gives b""."""
        self._finish()

    def _finish(self) -> None:
        if not self._done:
            self._done = True
            self._download.abort()

    def _given_up(self) -> bool:
        # A call, since another task may close it while this one waits.
        return self._done

    async def _mend(self, answer: Answer) -> None:
        try:
            while not self._given_up():
                download = await self._source.recover(self.seq, self._size, answer)
                if download is None:
                    return
                self._download.abort()
                self._download = download
                if self._given_up():
                    download.abort()
                    return
                answer = await self._skip()
                if answer is Answer.OK:
                    return
        except BaseException:
            self._finish()
            raise

    async def _skip(self) -> Answer:
        """Read over what was handed out before; OK when the reader stands where it stood."""
        left, tail = self._size, b""
        while left:
            try:
                data = await self._download.read(self._source.silence)
            except TrickleTimeout:
                return Answer.SILENT
            except (TrickleConnectionError, ProtocolError):
                return Answer.LOST
            if len(data) > left:
                self._download.unread(data[left:])
                data = data[:left]
            elif not data:
                break
            left -= len(data)
            tail = (tail + data)[-_TAIL:]
        if left or tail != self._tail:
            why = "another segment of its number came on reconnecting"
            raise self._source.cut(self.seq, self._size, why)
        return Answer.OK
