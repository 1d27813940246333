"""Passing a channel on, byte for byte: `relay`."""

from __future__ import annotations

from dataclasses import dataclass

from livepeer.trickle.exceptions import SegmentFailed
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.protocol import wire
from livepeer.trickle.publisher import TricklePublisher
from livepeer.trickle.reader import SegmentReader
from livepeer.trickle.subscriber import TrickleSubscriber
from livepeer.trickle.types import (
    DEFAULT_TIMEOUTS,
    TLS,
    PublisherStats,
    Start,
    SubscriberStats,
    Timeouts,
)


@dataclass(frozen=True, slots=True)
class RelayStats:
    """Counters of the two sides of a relay."""

    source: SubscriberStats
    sink: PublisherStats


async def relay(
    source_url: str,
    sink_url: str,
    *,
    start: Start = "next",
    mime_type: str = wire.DEFAULT_MIME_TYPE,
    create: bool = False,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    session: Transport | None = None,
    tls: TLS = True,
) -> RelayStats:
    """Copy every segment of `source_url` to `sink_url` until the source ends; then end the sink.

    Each segment becomes one segment, each chunk is passed on when it comes; the bytes are not
    looked into. A segment that breaks on either side stays short on the other, and the relay goes
    on. Cancelling it ends both sides.

    Raises the errors of `TrickleSubscriber` and `TricklePublisher`, but never `SegmentFailed`.
    """
    async with (
        TrickleSubscriber(
            source_url, start=start, timeouts=timeouts, session=session, tls=tls
        ) as source,
        TricklePublisher(
            sink_url,
            mime_type=mime_type,
            create=create,
            timeouts=timeouts,
            session=session,
            tls=tls,
        ) as sink,
    ):
        async for segment in source:
            try:
                await _copy(segment, sink)
            except SegmentFailed:
                continue
    return RelayStats(source.stats, sink.stats)


async def _copy(segment: SegmentReader, sink: TricklePublisher) -> None:
    async with sink.segment() as out:
        async for chunk in segment:
            await out.write(chunk)
