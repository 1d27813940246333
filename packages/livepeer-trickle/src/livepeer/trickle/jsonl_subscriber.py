"""Reading a channel of JSON records: `JSONLSubscriber`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from livepeer.trickle.exceptions import SegmentFailed, public_url
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.records import Record, RecordReader, is_keepalive
from livepeer.trickle.protocol.retry import Backoff
from livepeer.trickle.reader import SegmentReader
from livepeer.trickle.subscriber import TrickleSubscriber
from livepeer.trickle.types import DEFAULT_TIMEOUTS, TLS, GapPolicy, RecordStats, Start, Timeouts

if TYPE_CHECKING:
    from typing import Self


logger = logging.getLogger(__name__)

_TELL_EVERY: Final = 10.0
"""Seconds between two warnings about bad records. The rest is in `stats`."""


class JSONLSubscriber:
    """Reads the records of a channel: an asynchronous iterator of dicts.

    ::

        async with JSONLSubscriber(url) as records:
            async for record in records: ...

    Takes both forms of channels (lines, or one record for each segment), passes over keepalives
    and over lines that are no record; both are counted in `stats`, `transport.stats` has the rest.

    - `start`: "current" by default: the open segment of a channel of lines is read from its
      beginning, so records of the last second or so come first.
    - `on_gap`: "oldest" by default.
    - `keepalives`: hand out `{"keep": "alive"}` too.

    Other parameters are those of `TrickleSubscriber`.
    """

    def __init__(
        self,
        url: str,
        *,
        start: Start = "current",
        on_gap: GapPolicy = "oldest",
        keepalives: bool = False,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        session: Transport | None = None,
        tls: TLS = True,
    ) -> None:
        self.keepalives = keepalives
        self.stats = RecordStats()
        self.transport = TrickleSubscriber(
            url, start=start, on_gap=on_gap, timeouts=timeouts, session=session, tls=tls
        )
        self._segment: SegmentReader | None = None
        self._reader = RecordReader()
        self._records: deque[Record] = deque()
        self._good = False
        self._nonsense = 0
        self._pace = Backoff(None, initial=0.01, maximum=0.1)
        self._told = float("-inf")

    def __repr__(self) -> str:
        return f"<JSONLSubscriber {public_url(self.transport.url)} {self.stats.records} records>"

    async def __aenter__(self) -> Self:
        await self.transport.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        while not self._records:
            await self._receive()
        self.stats.records += 1
        return self._records.popleft()

    async def aclose(self) -> None:
        """Stop reading. Safe to call again."""
        await self.transport.aclose()

    async def _receive(self) -> None:
        if self._segment is None:
            if self._nonsense > wire.RING:
                # It is asked for no faster than this, whatever comes.
                await asyncio.sleep(self._pace.next(0.0) or 0.0)
            self._segment = await self.transport.__anext__()
            self._good = False
        segment, reader, bad = self._segment, self._reader, self._reader.bad
        try:
            data = await segment.receive()
            records = reader.feed(data) if data else reader.end()
        except SegmentFailed as error:
            # The rest of the segment is counted by the transport; what came of it is good.
            self._tell("%s", error)
            data, records = b"", reader.end()
        self._good = self._good or bool(records)
        if reader.bad > bad:
            self.stats.bad += reader.bad - bad
            self._tell(
                "%d lines of segment %d of %s are no JSON object (%d so far)",
                reader.bad - bad,
                segment.seq,
                public_url(self.transport.url),
                self.stats.bad,
            )
        if not data:
            self._segment = None
            self._nonsense = 0 if self._good else self._nonsense + 1
            if self._good:
                self._pace.reset()
        for record in records:
            if is_keepalive(record):
                self.stats.keepalives += 1
                if not self.keepalives:
                    continue
            self._records.append(record)

    def _tell(self, text: str, *arguments: object) -> None:
        """Warn, but not as often as a channel likes."""
        now = asyncio.get_running_loop().time()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            logger.warning(text, *arguments)
