"""One stream of a gateway: the orchestrator it runs on, and the channels in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.gateway.feeds import DataFeed, Statuses
from livepeer.runner.devnet.gateway.orders import GatewayOrder, stop_order
from livepeer.runner.devnet.gateway.search import JobToken, NoToken, Orchestrators
from livepeer.runner.devnet.upstream import AnswerBrokeOff, UpstreamUnreachable
from livepeer.trickle import (
    ChannelClosed,
    ChannelNotFound,
    SegmentFailed,
    TrickleError,
    TricklePublisher,
    TrickleSubscriber,
)

logger = logging.getLogger(__name__)

_KEEPALIVE = 10.0
"""Seconds, all of them the reference's own."""
_LOOK_AT_EVENTS = 10.0
_SILENCE = 30.0
_CLEAR_STATUS = 60.0
_SWAPS, _SWAP_WINDOW = 2, 60.0


class GatewaySession:
    """Keeps a stream on one of its orchestrators until it is stopped or none is left.

    Writes keepalives to control, takes status from events, and ends a stream whose events are
    silent. The data channel feeds `data`. Video is not touched.
    """

    def __init__(
        self,
        order: GatewayOrder,
        request_id: str,
        body: bytes,
        orchestrators: Orchestrators,
        statuses: Statuses,
        data: DataFeed | None,
    ) -> None:
        self.id = order.id
        self.capability = order.capability
        self.data = data
        self.current: JobToken | None = None
        self._last_update: bytes | None = None
        self._order = order
        self._request_id = request_id
        self._body = body
        self._orchestrators = orchestrators
        self._statuses = statuses
        self._heard = 0.0

    async def run(self, tokens: Sequence[JobToken], over: Callable[[], None]) -> None:
        """The whole life; `over` is called at its end, before the orchestrator is told."""
        try:
            await self._try_each(tokens)
        finally:
            over()
            if self.data is not None:
                self.data.close()
            if self.current is not None:
                await self._tell(self.current, "stream ended")

    def remember(self, update: bytes) -> None:
        """Another orchestrator that takes the stream over is told this first."""
        self._last_update = update

    async def stop(self, body: bytes) -> bytes:
        """Passes a caller's stop on; what the orchestrator said, nothing where it failed."""
        return b"" if self.current is None else await self._tell(self.current, body)

    async def _try_each(self, tokens: Sequence[JobToken]) -> None:
        swaps, last_swap = 0, time.monotonic()
        for number, given in enumerate(tokens):
            token = await self._renewed(given) if number else given
            self.current = token
            try:
                answer = await self._orchestrators.send(
                    token, "/ai/stream/start", self._order, self._body, "application/json"
                )
            except UpstreamUnreachable as failure:
                logger.info("stream %r: orchestrator %s: %s", self.id, token.url, failure)
                continue
            with contextlib.suppress(AnswerBrokeOff):
                await answer.read()
            answer.close()
            self._statuses.note(self.id, "orchestrator", token.url)
            if not (answer.headers.get("X-Control-Url") and answer.headers.get("X-Events-Url")):
                logger.info("stream %r: start was answered %s", self.id, answer.status)
                return
            reason = await self._process(token, answer.headers)
            logger.info("stream %r: %s", self.id, reason)
            await self._tell(token, reason)
            self.current = None
            if swaps > _SWAPS and time.monotonic() - last_swap < _SWAP_WINDOW:
                return
            if number:
                swaps, last_swap = swaps + 1, time.monotonic()

    async def _renewed(self, token: JobToken) -> JobToken:
        try:
            return await self._orchestrators.token(token.url, self.capability)
        except NoToken:
            return token

    async def _tell(self, token: JobToken, why: str | bytes) -> bytes:
        body = why.encode() if isinstance(why, str) else why
        order = stop_order(self.id, self.capability)
        try:
            status, answer = await self._orchestrators.call(
                token.url, "/ai/stream/stop", order, body, "application/json"
            )
        except (NoToken, UpstreamUnreachable) as failure:
            logger.info("stream %r: stop did not reach %s: %s", self.id, token.url, failure)
            return b""
        return answer if status == 200 else b""

    async def _process(self, token: JobToken, urls: Mapping[str, str]) -> str:
        """Works the channels until something ends them; returns what."""
        self._heard = time.monotonic()
        work = [
            asyncio.create_task(self._keep_alive(urls["X-Control-Url"])),
            asyncio.create_task(self._watch_events(urls["X-Events-Url"], token)),
            asyncio.create_task(self._clear_status()),
        ]
        if self.data is not None and urls.get("X-Data-Url"):
            work.append(asyncio.create_task(self._read_data(urls["X-Data-Url"], self.data)))
        try:
            pending = set(work)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if reason := task.result():
                        return reason
            return "unknown swap reason"
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _keep_alive(self, url: str) -> str:
        async with contextlib.AsyncExitStack() as stack:
            publisher: TricklePublisher | None = None
            message = self._last_update
            while True:
                if message is None:
                    await asyncio.sleep(_KEEPALIVE)
                    message = b'{"keep":"alive"}'
                try:
                    if publisher is None:
                        publisher = await stack.enter_async_context(
                            TricklePublisher(url, mime_type="application/json", linger=0, tls=False)
                        )
                    async with publisher.segment() as segment:
                        await segment.write(message)
                except (ChannelNotFound, ChannelClosed):
                    return "control channel does not exist"
                except TrickleError as failure:
                    logger.info("stream %r: keepalive: %s", self.id, failure)
                message = None

    async def _watch_events(self, url: str, token: JobToken) -> str | None:
        """Why the stream has to end; None after the end of the channel, which ends no stream."""
        reading = asyncio.create_task(self._read_events(url, token))
        try:
            while True:
                await asyncio.wait({reading}, timeout=_LOOK_AT_EVENTS)
                if reading.done():
                    return reading.result()
                if time.monotonic() - self._heard > _SILENCE:
                    return "timeout waiting for events"
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read_events(self, url: str, token: JobToken) -> str | None:
        try:
            async with TrickleSubscriber(url, tls=False) as subscriber:
                async for segment in subscriber:
                    with contextlib.suppress(SegmentFailed):
                        self._take_event(await segment.read(), token)
        except ChannelNotFound:
            return None
        except TrickleError as failure:
            return f"too many errors reading events; stopping subscription: {failure}"
        return None

    def _take_event(self, body: bytes, token: JobToken) -> None:
        try:
            event = go_json.decode_object(go_json.parse(body))
        except go_json.GoJSONError:
            return
        wrapped = event.get("event")
        if isinstance(wrapped, dict):
            event = wrapped
        event.update(
            stream_id=self.id,
            request_id=self._request_id,
            pipeline_id="",
            orchestrator_info={"address": token.recipient, "url": token.url},
        )
        self._heard = time.monotonic()
        if event.get("type") == "status":
            self._statuses.replace(self.id, event)

    async def _clear_status(self) -> None:
        await asyncio.sleep(_CLEAR_STATUS)
        self._statuses.clear(self.id)

    async def _read_data(self, url: str, feed: DataFeed) -> str:
        gone: Any = "End of stream"
        try:
            async with TrickleSubscriber(url, tls=False) as subscriber:
                async for segment in subscriber:
                    rest = b""
                    with contextlib.suppress(SegmentFailed):
                        async for chunk in segment:
                            *whole, rest = (rest + chunk).split(b"\n")
                            for line in whole:
                                feed.write(line.removesuffix(b"\r"))
                    if rest:
                        feed.write(rest.removesuffix(b"\r"))
        except TrickleError as failure:
            gone = failure
        finally:
            feed.close()
        return f"data subscribe stopping, stream not found, err={gone}"
