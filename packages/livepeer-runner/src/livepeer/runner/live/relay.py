"""The way of a stream without frame hooks: input goes out byte for byte, nothing is decoded."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from livepeer.runner.live.failures import StreamFailed
from livepeer.runner.live.status import StreamStatus
from livepeer.trickle import SegmentFailed, TrickleError, TricklePublisher, TrickleSubscriber


class RelayFlow:
    """Copies `source` to `sink`, segment by segment. Without a sink it only counts."""

    def __init__(
        self,
        status: StreamStatus,
        *,
        source: TrickleSubscriber | None,
        sink: TricklePublisher | None,
    ) -> None:
        self._status = status
        self._source = source
        self._sink = sink
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    @property
    def bytes_in(self) -> int:
        return self._source.stats.bytes if self._source is not None else 0

    @property
    def segments_in(self) -> int:
        return self._source.stats.segments if self._source is not None else 0

    def refresh(self) -> None:
        if self._source is not None:
            self._status.update_input(dropped=0, restarts=self._source.stats.reconnects)

    async def run(self) -> None:
        if self._source is None:
            await self._stopping.wait()
            return
        copying = asyncio.create_task(self._copy(self._source))
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((copying, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            copying.cancel()
            await asyncio.wait((copying, stopped))
        if not copying.cancelled() and (error := copying.exception()) is not None:
            if isinstance(error, TrickleError):
                raise StreamFailed(f"a channel is lost: {error.message}") from error
            raise error

    async def _copy(self, source: TrickleSubscriber) -> None:
        if self._sink is None:
            async with source:
                async for segment in source:
                    with suppress(SegmentFailed):
                        async for _ in segment:
                            self._status.input.add()
            return
        async with source, self._sink as sink:
            async for segment in source:
                try:
                    async with sink.segment() as out:
                        async for chunk in segment:
                            self._status.input.add()
                            await out.write(chunk)
                            self._status.output.add()
                except SegmentFailed:
                    continue  # short on one side is short on the other; the next one goes on
