"""A live stream by its channels: what every caller of a container does once it has the URLs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from livepeer.runner.playground.caller import CallRefused, failure
from livepeer.trickle import JSONLPublisher, JSONLSubscriber
from livepeer.trickle.exceptions import SegmentFailed, TrickleError
from livepeer.trickle.types import TLS

KEEP_ALIVE_SECONDS = 5.0
"""A container takes 15 s of silence for the end of its caller."""

Update = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ChannelCall:
    """`LiveCall` over trickle channels; made by `channel_call`."""

    def __init__(
        self,
        *,
        input_url: str | None,
        output_url: str,
        events_url: str,
        data_url: str,
        tls: TLS,
        control: JSONLPublisher,
        update: Update,
    ) -> None:
        self.input_url, self.output_url, self.tls = input_url, output_url, tls
        self._events_url, self._data_url = events_url, data_url
        self._control, self._update = control, update

    def events(self) -> AsyncIterator[dict[str, Any]]:
        return self._records(self._events_url)

    def data(self) -> AsyncIterator[dict[str, Any]]:
        return self._records(self._data_url)

    async def update(self, params: dict[str, Any]) -> dict[str, Any]:
        return await self._update(params)

    async def control(self, message: dict[str, Any]) -> None:
        try:
            # The form in which a runner tells it from parameters (specs/live.md).
            await self._control.write({"type": "control", "message": message})
        except TrickleError as error:
            raise CallRefused(502, failure(f"the message may not have arrived: {error}")) from error

    async def keep_alive(self) -> None:
        """For ever: nobody else writes them for a direct caller."""
        while True:
            try:
                await self._control.write({"keep": "alive"})
            except SegmentFailed:
                continue
            except TrickleError:
                return  # the stream is over, which its output tells as well
            await asyncio.sleep(KEEP_ALIVE_SECONDS)

    async def _records(self, url: str) -> AsyncIterator[dict[str, Any]]:
        async with JSONLSubscriber(url, start=0, tls=self.tls) as records:
            async for record in records:
                yield record


@asynccontextmanager
async def channel_call(
    *,
    input_url: str | None,
    output_url: str,
    events_url: str,
    data_url: str,
    control_url: str,
    tls: TLS,
    update: Update,
) -> AsyncIterator[ChannelCall]:
    """The stream with its keepalives, as long as the block lasts."""
    control = JSONLPublisher(
        control_url, one_per_segment=True, fresh=True, delete_on_close=False, linger=0, tls=tls
    )
    try:
        async with control:
            call = ChannelCall(
                input_url=input_url,
                output_url=output_url,
                events_url=events_url,
                data_url=data_url,
                tls=tls,
                control=control,
                update=update,
            )
            keeping = asyncio.create_task(call.keep_alive(), name="playground keepalive")
            try:
                yield call
            finally:
                keeping.cancel()
                await asyncio.wait((keeping,))
    except TrickleError as error:
        raise CallRefused(502, failure(f"the stream's channels are lost: {error}")) from error
