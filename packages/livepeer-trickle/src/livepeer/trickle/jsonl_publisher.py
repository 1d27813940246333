"""Writing a channel of JSON records: `JSONLPublisher`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from livepeer.trickle.exceptions import (
    ChannelClosed,
    RecordTooLarge,
    SegmentFailed,
    TrickleError,
    public_url,
)
from livepeer.trickle.http.buffer import PIECE
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.records import Record, encode
from livepeer.trickle.publisher import (
    SegmentWriter,
    TricklePublisher,
    close_now,
    end_now,
    write_whole,
)
from livepeer.trickle.types import DEFAULT_TIMEOUTS, TLS, RecordStats, Timeouts

if TYPE_CHECKING:
    from typing import Self


logger = logging.getLogger(__name__)

_FLUSH_AT: Final = 64 * 1024
"""Bytes gathered before `write` itself sends them, and so waits for a slow network."""
_SEGMENT_SIZE: Final = 1024 * 1024
_SEGMENT_SECONDS: Final = 1.0
"""When a segment of lines is ended: a late reader finds the last few seconds in the ring."""
_BURST: Final = wire.RING - 2
_PACE: Final = 0.02
"""One record for each segment: this many at once, then one every so many seconds. A reader is at
most one round trip late, and the ring keeps four segments beside the pending one."""


class JSONLPublisher:
    """Writes JSON records to a channel.

    ::

        async with JSONLPublisher(url) as publisher:
            await publisher.write({"text": "hello"})

    Records are gathered into one open segment, which is ended by time and size, so that bursts
    arrive whole. With `one_per_segment` each record is a segment of its own, the form of event
    channels; it is acknowledged before `write` returns, and writes are paced, because a ring of
    five segments forgets what comes too fast.

    Parameters are those of `TricklePublisher`.

    `write` raises `RecordTooLarge` if the record is over 64 KiB (nothing was sent); with
    `one_per_segment`, `SegmentFailed` if the record may not have arrived; and the errors of
    `TricklePublisher` if no further record can be sent, and this one was not.
    """

    def __init__(
        self,
        url: str,
        *,
        one_per_segment: bool = False,
        create: bool = False,
        fresh: bool = False,
        delete_on_close: bool = True,
        linger: float = 1.0,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        session: Transport | None = None,
        tls: TLS = True,
    ) -> None:
        self.one_per_segment = one_per_segment
        self.stats = RecordStats()
        self.transport = TricklePublisher(
            url,
            mime_type=wire.JSON_MIME_TYPE if one_per_segment else wire.JSONL_MIME_TYPE,
            create=create,
            fresh=fresh,
            delete_on_close=delete_on_close,
            linger=linger,
            timeouts=timeouts,
            session=session,
            tls=tls,
        )
        self._lines: list[bytes] = []
        self._size = 0
        self._segment: SegmentWriter | None = None
        self._segment_records = 0
        self._segment_ends = 0.0
        self._ended: deque[tuple[SegmentWriter, int]] = deque()
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._error: TrickleError | None = None
        self._sent: deque[float] = deque(maxlen=_BURST)
        self._closed = False

    def __repr__(self) -> str:
        return f"<JSONLPublisher {public_url(self.transport.url)} {self.stats.records} records>"

    async def __aenter__(self) -> Self:
        await self.transport.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def write(self, record: Record) -> None:
        """Send one record. Waits while the network is slow."""
        try:
            line = encode(record)
        except RecordTooLarge as error:
            error.url = public_url(self.transport.url)
            raise
        if self._closed:
            raise ChannelClosed("this publisher is closed", url=self.transport.url)
        if self._error is not None:
            raise self._error
        if self.one_per_segment:
            async with self._lock:
                await self._write_alone(line)
            return
        self._lines.append(line)
        self._size += len(line)
        self.stats.records += 1
        # Always: the flusher ends the segment in time, also if something else sends now.
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_soon())
        self._wake.set()
        if self._size >= _FLUSH_AT:
            async with self._lock:
                await self._send()  # a failure is the next call's: this record was taken

    async def flush(self) -> None:
        """Wait until the network has taken every record."""
        async with self._lock:
            await self._send()
        if self._error is not None:
            raise self._error

    async def keep_alive(self) -> None:
        """Send an empty segment, which readers pass over: a server's idle sweep counts it."""
        async with self._lock:
            await self._send()
            await self._end_segment()
            if self._error is None:
                async with self.transport.segment():
                    pass
        if self._error is not None:
            raise self._error

    @property
    def unsent(self) -> list[Record]:
        """After an error, the records that were taken and never left, for another channel."""
        return [json.loads(line) for line in self._lines]

    async def aclose(self) -> None:
        """Send the records that are left, then close as `TricklePublisher` does. Safe to repeat.

        Raises nothing: records that could not be sent are logged, and are in `unsent`.
        """
        if self._closed:
            return
        self._closed = True
        try:
            async with self._lock:
                # Inside the lock, so that it is not amid sending.
                flusher, self._flusher = self._flusher, None
                if flusher is not None:
                    flusher.cancel()
                await self._send()
                await self._end_segment()
            await self.transport.aclose()
        finally:
            if self._flusher is not None:  # cancelled while something else was sending
                self._flusher.cancel()
            await close_now(self.transport)
            self._reckon()
            if self._lines:
                logger.warning("%d records were not sent: %s", len(self._lines), self._error)

    # --- one segment of lines --------------------------------------------------------------------

    async def _flush_soon(self) -> None:
        """Sends the records gathered in one turn of the loop, and ends the segment in time.

        It lives no longer than a segment is open, so a publisher that is forgotten is noticed.
        """
        loop = asyncio.get_running_loop()
        while (self._lines or self._segment is not None) and self._error is None:
            wait = None if self._segment is None else max(0.0, self._segment_ends - loop.time())
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            async with self._lock:
                await self._send()
                if self._segment is not None and loop.time() >= self._segment_ends:
                    await self._end_segment()
        self._flusher = None

    async def _send(self) -> None:
        """Hand the gathered lines to the open segment; a failure is kept for the next `write`."""
        self._reckon()
        while self._lines and self._error is None:
            try:
                if self._segment is None:
                    await self._open_segment()
                segment = self._segment
                assert segment is not None
                await self._send_some(segment)
                if segment.bytes_written >= _SEGMENT_SIZE:
                    await self._end_segment()
            except SegmentFailed as error:
                self._lost(error)
            except TrickleError as error:
                self._fail(error)

    async def _send_some(self, segment: SegmentWriter) -> None:
        """One piece of the lines, which leaves whole or not at all: then they stay, in order."""
        count = size = 0
        for line in self._lines:
            if count and size + len(line) > PIECE:
                break
            count, size = count + 1, size + len(line)
        before = segment.bytes_written
        try:
            await segment.write(b"".join(self._lines[:count]))
        finally:
            if segment.bytes_written > before:
                del self._lines[:count]
                self._size -= size
                self._segment_records += count

    async def _open_segment(self) -> None:
        segment = self.transport.segment()
        self._segment_records = 0
        await segment.__aenter__()
        self._segment = segment
        self._segment_ends = asyncio.get_running_loop().time() + _SEGMENT_SECONDS

    async def _end_segment(self) -> None:
        segment = self._segment
        if segment is None:
            return
        try:
            await segment.aclose()
        except SegmentFailed as error:
            self._lost(error)
        except TrickleError as error:
            self._fail(error)
        else:
            self._ended.append((segment, self._segment_records))
        finally:
            self._segment = None

    def _lost(self, error: SegmentFailed) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            end_now(segment)
        self.stats.uncertain += self._segment_records
        if self._segment_records:
            logger.warning("%d records are uncertain: %s", self._segment_records, error)
        self._segment_records = 0

    def _fail(self, error: TrickleError) -> None:
        """Nothing more can be sent. What left in the open segment may have arrived."""
        segment, self._segment = self._segment, None
        if segment is not None:
            end_now(segment)
            self.stats.uncertain += self._segment_records
        self._segment_records = 0
        self._error = error

    def _reckon(self) -> None:
        """Count the records of segments that ended, and were lost before they were acknowledged."""
        while self._ended and self._ended[0][0].done:
            segment, records = self._ended.popleft()
            if segment.failed:
                self.stats.uncertain += records

    # --- one segment for each record -------------------------------------------------------------

    async def _write_alone(self, line: bytes) -> None:
        loop = asyncio.get_running_loop()
        if len(self._sent) == _BURST:
            await asyncio.sleep(self._sent[0] + _BURST * _PACE - loop.time())
        self._sent.append(loop.time())
        self.stats.records += 1
        segment = self.transport.segment()
        try:
            async with segment:
                # Without the line feed: the segment is the record.
                await write_whole(segment, line[:-1])
            await segment.acknowledged()
        except TrickleError as error:
            if not segment.bytes_written:
                self.stats.records -= 1
                raise
            self.stats.uncertain += 1
            if isinstance(error, SegmentFailed):
                raise
            # Sent again, on another channel, the record might arrive twice.
            raise SegmentFailed(error.message, url=error.url, seq=error.seq) from error
