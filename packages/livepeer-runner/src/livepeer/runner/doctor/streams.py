"""Streams as an orchestrator starts them: channels on a trickle server of the doctor's own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from livepeer.runner.doctor.finding import SubjectLost
from livepeer.runner.doctor.pictures import feed
from livepeer.trickle import JSONLPublisher, JSONLSubscriber, TrickleError, TrickleSubscriber

if TYPE_CHECKING:
    from livepeer.runner.doctor.container import Heard, HttpContainer
    from livepeer.trickle import TrickleServer
    from livepeer.trickle.types import TLS

MOST_EVENTS = 10_000
KEEP_ALIVE_SECONDS = 5.0
CHANNELS = {
    "control_url": "control",
    "events_url": "events",
    "subscribe_url": "in",
    "publish_url": "out",
}
"""The keys of a start, and what the doctor calls those channels."""


class StreamStarter(Protocol):
    """Starts streams, each with its channels, and stops it at the end of its block."""

    def start(
        self, container: HttpContainer, *, video: bool = False
    ) -> AbstractAsyncContextManager[WatchedStream]: ...


@dataclass(frozen=True, slots=True)
class OwnStreams:
    """Starts streams by the container's own routes, with channels on a trickle server of the
    doctor's."""

    server: TrickleServer

    @asynccontextmanager
    async def start(
        self, container: HttpContainer, *, video: bool = False
    ) -> AsyncIterator[WatchedStream]:
        """`answer` says what the start was answered. Without `video` only what an orchestrator
        always sends is there: control and events."""
        name = f"doctor-{secrets.token_hex(8)}"
        urls: dict[str, str] = {}
        for suffix in ("control", "events", "in", "out") if video else ("control", "events"):
            media = suffix in ("in", "out")
            channel = f"{name}-{suffix}"
            self.server.create(channel, "video/MP2T" if media else "application/json")
            urls[suffix] = self.server.channel_url(channel)
        body = {"gateway_request_id": name, "params": {}}
        body |= {key: urls[suffix] for key, suffix in CHANNELS.items() if suffix in urls}
        stream = WatchedStream(
            name,
            urls,
            lambda: container.post("/stream/start", body, stream=name),
            lambda reason: container.post(
                "/stream/stop", reason.encode(), stream=name, seconds=container.patience.output
            ),
            self.server,
        )
        try:
            async with started(stream):
                yield stream
        finally:
            for suffix in CHANNELS.values():  # all of them, before anything is waited for
                if (left := self.server.get(f"{name}-{suffix}")) is not None:
                    left.close()
            await asyncio.sleep(0)  # their readers know


@asynccontextmanager
async def started(stream: WatchedStream) -> AsyncIterator[None]:
    """Start a stream for the length of the block: its events are read, keepalives are sent, and it
    is stopped at the end."""
    async with AsyncExitStack() as stack:
        for coroutine in (stream.hear(), stream.keep_alive()):
            task = asyncio.create_task(coroutine, name="doctor stream")
            stack.push_async_callback(_cancelled, task)
        stack.push_async_callback(stream.leave)
        await stream.again()
        yield


@dataclass(slots=True)
class WatchedStream:
    """One stream. `urls` are its channels: control, events, in, out; `events` its events with the
    time at which each came. `server` is there where the channels are the doctor's own, and `tls` is
    trusted elsewhere."""

    id: str
    urls: Mapping[str, str]
    ask: Callable[[], Awaitable[Heard]]
    say_stop: Callable[[str], Awaitable[Heard]]
    server: TrickleServer | None = None
    tls: TLS = True
    answers: list[Heard] = field(default_factory=list)
    started_at: float = 0.0
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def answer(self) -> Heard:
        """What the last start was answered."""
        return self.answers[-1]

    async def again(self) -> Heard:
        """Start it, or start it once more."""
        self.started_at = time.monotonic()
        answer = await self.ask()
        self.answers.append(answer)
        return answer

    async def stop(self, reason: str = "stream ended") -> Heard:
        return await self.say_stop(reason)

    async def leave(self) -> None:
        """Stopped, whatever becomes of it: the examination goes on with other streams."""
        with suppress(SubjectLost):
            await self.stop('{"linger": 0}')

    async def heard(
        self, wanted: Callable[[dict[str, Any]], bool], seconds: float, after: float = 0.0
    ) -> bool:
        """Whether such an event came within `seconds` (after that moment)."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(
                    lambda: any(at > after and wanted(event) for at, event in self.events)
                )
        except TimeoutError:
            return False
        return True

    async def hear(self) -> None:
        with suppress(TrickleError):
            async with JSONLSubscriber(self.urls["events"], start=0, tls=self.tls) as records:
                async for record in records:
                    async with self._changed:
                        if len(self.events) < MOST_EVENTS:
                            self.events.append((time.monotonic(), record))
                        self._changed.notify_all()

    async def keep_alive(self) -> None:
        """What a gateway writes to control."""
        with suppress(TrickleError):
            async with JSONLPublisher(
                self.urls["control"], one_per_segment=True, delete_on_close=False, tls=self.tls
            ) as control:
                while True:
                    await control.write({"keep": "alive"})
                    await asyncio.sleep(KEEP_ALIVE_SECONDS)

    async def first_output(self, seconds: float) -> bytes | None:
        """The first bytes of the output while pictures go in; None where none come in time."""
        feeding = asyncio.create_task(self.feed(), name="doctor input")
        try:
            async with (
                asyncio.timeout(seconds),
                TrickleSubscriber(self.urls["out"], start=0, tls=self.tls) as output,
            ):
                async for segment in output:
                    async for chunk in segment:
                        if chunk:
                            return bytes(chunk)
        except (TimeoutError, TrickleError):
            return None
        finally:
            await _cancelled(feeding)
        return None

    async def control_ends(self) -> None:
        assert self.server is not None
        await self.server.close_channel(f"{self.id}-control")

    async def input_ends(self) -> None:
        assert self.server is not None
        await self.server.close_channel(f"{self.id}-in")

    async def output_ends(self, seconds: float) -> bool:
        """Whether the output's channel is deleted within that time of the input's end."""
        assert self.server is not None
        await self.input_ends()
        deadline = time.monotonic() + seconds
        while self.server.get(f"{self.id}-out") is not None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.1)
        return True

    async def feed(self) -> None:
        """Moving pictures, at their pace, until cancelled."""
        await feed(self.urls["in"], tls=self.tls)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
