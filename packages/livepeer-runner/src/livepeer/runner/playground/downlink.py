"""A stream's result to the page: units as they come, nothing decoded as long as the page plays them
at once."""

from __future__ import annotations

import asyncio

from livepeer.runner.playground.outgoing import Outgoing
from livepeer.runner.playground.reencoder import Reencoder
from livepeer.trickle import TrickleSubscriber
from livepeer.trickle.exceptions import SegmentFailed
from livepeer.trickle.media import CodecParameters, StreamDecoder
from livepeer.trickle.media.frame import Item, MediaPacket
from livepeer.trickle.types import TLS


class Downlink:
    """Reads the output of a stream into `outgoing`."""

    def __init__(self, url: str, tls: TLS, outgoing: Outgoing) -> None:
        self._subscriber = TrickleSubscriber(url, start=0, on_gap="latest", tls=tls)
        self._decoder: StreamDecoder | Reencoder = StreamDecoder(video="packets", audio="packets")
        self._held = False
        self._outgoing = outgoing
        self._told: dict[str, CodecParameters] = {}

    def held(self) -> None:
        """The page's decoder keeps pictures back: encode them anew, from the next segment on."""
        self._held = True

    async def run(self) -> None:
        """Until the output ends. Raises `TrickleError` where it cannot be read."""
        gaps = 0
        async with self._subscriber:
            async for segment in self._subscriber:
                if self._subscriber.stats.gaps != gaps:
                    gaps = self._subscriber.stats.gaps
                    self._pass_on(self._decoder.discontinuity())
                if self._held and not isinstance(self._decoder, Reencoder):
                    self._pass_on(self._decoder.flush())
                    self._decoder = await asyncio.to_thread(Reencoder)
                try:
                    async for chunk in segment:
                        self._pass_on(await self._fed(chunk))
                except SegmentFailed:
                    self._pass_on(self._decoder.discontinuity())
                else:
                    self._pass_on(self._decoder.end_segment())
        self._pass_on(self._decoder.flush())

    async def _fed(self, chunk: bytes) -> list[Item]:
        if isinstance(self._decoder, Reencoder):
            return await asyncio.to_thread(self._decoder.feed, chunk)
        return self._decoder.feed(chunk)

    def _pass_on(self, items: list[Item]) -> None:
        for packet in items:
            assert isinstance(packet, MediaPacket)
            parameters = packet.parameters
            if self._told.get(packet.kind) != parameters:
                self._told[packet.kind] = parameters
                self._outgoing.tell(
                    "track",
                    kind=packet.kind,
                    codec=parameters.codec,
                    width=parameters.width,
                    height=parameters.height,
                    rate=parameters.rate,
                    channels=parameters.channels,
                )
            self._outgoing.media(packet)
