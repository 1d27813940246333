"""Streams as an orchestrator starts them: channels on a trickle server of the doctor's own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from livepeer.runner.doctor.finding import SubjectLost
from livepeer.trickle import JSONLSubscriber, TrickleError, TrickleSubscriber

if TYPE_CHECKING:
    from livepeer.runner.doctor.container import Heard, HttpContainer
    from livepeer.trickle import TrickleServer

MOST_EVENTS = 10_000
KEEP_ALIVE_SECONDS = 5.0
FRAMES_PER_SECOND = 15
WIDTH, HEIGHT = 192, 108


@dataclass(frozen=True, slots=True)
class Streams:
    """Makes streams; channels have names that nobody guesses."""

    server: TrickleServer

    @asynccontextmanager
    async def start(
        self, container: HttpContainer, *, video: bool = False, params: dict[str, Any] | None = None
    ) -> AsyncIterator[Stream]:
        """A stream with its channels open; it is started, and stopped at the end.

        `answer` says what the start was answered. Without `video` only what an orchestrator always
        sends is there: control and events.
        """
        name = f"doctor-{secrets.token_hex(8)}"
        stream = Stream(name, self.server, container)
        body: dict[str, Any] = {"gateway_request_id": name, "params": params or {}}
        for key, suffix in CHANNELS.items():
            if suffix in ("control", "events") or (video and suffix in ("in", "out")):
                media = suffix in ("in", "out")
                channel = f"{name}-{suffix}"
                self.server.create(channel, "video/MP2T" if media else "application/json")
                body[key] = self.server.channel_url(channel)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close, name)
            for coroutine in (stream.hear(), stream.keep_alive()):
                task = asyncio.create_task(coroutine, name="doctor stream")
                stack.push_async_callback(_cancelled, task)
            stack.push_async_callback(stream.leave)
            stream.body = body
            await stream.again()
            yield stream

    async def _close(self, name: str) -> None:
        for suffix in CHANNELS.values():
            await self.server.close_channel(f"{name}-{suffix}")


CHANNELS = {
    "control_url": "control",
    "events_url": "events",
    "subscribe_url": "in",
    "publish_url": "out",
}


@dataclass(slots=True)
class Stream:
    """One stream. `events` are its events with the time at which each came."""

    id: str
    server: TrickleServer
    container: HttpContainer
    body: dict[str, Any] = field(default_factory=dict)
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
        answer = await self.container.post("/stream/start", self.body, stream=self.id)
        self.answers.append(answer)
        return answer

    async def stop(self, reason: str = "stream ended") -> Heard:
        return await self.container.post(
            "/stream/stop", reason.encode(), stream=self.id, seconds=self.container.patience.output
        )

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
        url = self.server.channel_url(f"{self.id}-events")
        with suppress(TrickleError):
            async with JSONLSubscriber(url, start=0) as records:
                async for record in records:
                    async with self._changed:
                        if len(self.events) < MOST_EVENTS:
                            self.events.append((time.monotonic(), record))
                        self._changed.notify_all()

    async def keep_alive(self) -> None:
        """What a gateway writes to control."""
        channel = self.server.get(f"{self.id}-control")
        while channel is not None:
            with suppress(TrickleError):
                await channel.write(b'{"keep":"alive"}')
            await asyncio.sleep(KEEP_ALIVE_SECONDS)

    async def first_output(self, seconds: float) -> bytes | None:
        """The first bytes of the output while pictures go in; None where none come in time."""
        feeding = asyncio.create_task(self.feed(), name="doctor input")
        url = self.server.channel_url(f"{self.id}-out")
        try:
            async with asyncio.timeout(seconds), TrickleSubscriber(url, start=0) as output:
                async for segment in output:
                    async for chunk in segment:
                        if chunk:
                            return bytes(chunk)
        except (TimeoutError, TrickleError):
            return None
        finally:
            await _cancelled(feeding)
        return None

    async def output_ends(self, seconds: float) -> bool:
        """Whether the output's channel is deleted within that time of the input's end."""
        await self.server.close_channel(f"{self.id}-in")
        deadline = time.monotonic() + seconds
        while self.server.get(f"{self.id}-out") is not None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.1)
        return True

    async def feed(self) -> None:
        """Moving pictures, at their pace, until cancelled."""
        import numpy as np

        from livepeer.trickle import TricklePublisher
        from livepeer.trickle.media import MediaPublisher, VideoFrame

        url = self.server.channel_url(f"{self.id}-in")
        channel = TricklePublisher(url, delete_on_close=False)
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        began = time.monotonic()
        async with MediaPublisher(url, publisher=channel) as publisher:
            for i in range(1_000_000):
                picture[:] = i % 256
                at = Fraction(i, FRAMES_PER_SECOND)
                await publisher.write(VideoFrame.from_ndarray(picture, time=at))
                await asyncio.sleep(max(0.0, began + float(at) - time.monotonic()))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
