"""One stream through live work: a trickle server, real H.264 and AAC, and what came out of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

from livepeer.runner.author.live_pipeline import SDK_TYPES
from livepeer.runner.errors import InvalidInput
from livepeer.runner.live.failures import first_error
from livepeer.runner.live.request import ChannelUrls, StartRequest
from livepeer.runner.live.session import Session
from livepeer.runner.live.work import LiveWork
from livepeer.trickle import JSONLSubscriber, TricklePublisher, TrickleServer

if TYPE_CHECKING:
    from livepeer.trickle.media import AudioFrame, MediaPacket, MediaPublisher, VideoFrame

    Frame = VideoFrame | AudioFrame

AHEAD = 2
"""Segments that the input may be ahead of the pipeline: a trickle server keeps four."""
COLLECT_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 5.0

Told = Sequence[tuple[float, dict[str, Any]]]
Source = str | os.PathLike[str] | bytes | BinaryIO | Iterable["Frame"]


@dataclass(slots=True)
class LiveResult:
    """What came out of a stream."""

    video: list[VideoFrame] = field(default_factory=list)
    audio: list[AudioFrame] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""
    """Why the stream ended; `the input ended` where all went well."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def status(self) -> dict[str, Any]:
        """The last status event: rates, latency, drops, errors."""
        return next((one for one in reversed(self.events) if one["type"] == "status"), {})

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The error events."""
        return [one["error"] for one in self.events if one["type"] == "error"]

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What looks wrong and is no error, such as a hook that never gives a frame."""
        return [one["warning"] for one in self.events if one["type"] == "warning"]

    @property
    def emitted(self) -> list[dict[str, Any]]:
        """The events that the pipeline emitted itself, by `emit_event`."""
        return [one for one in self.events if one["type"] not in SDK_TYPES]


async def run_stream(
    work: LiveWork,
    source: Source | None,
    *,
    params: dict[str, Any] | None,
    updates: Told,
    messages: Told,
    speed: float | None,
    seconds: float | None,
    on_frame: Callable[[Frame], None] | None,
) -> LiveResult:
    """One stream of work that is ready, with a trickle server of its own; see `run_live`."""
    result = LiveResult()
    began = time.monotonic()
    try:
        async with (
            TrickleServer(autocreate=False) as server,
            asyncio.TaskGroup() as collecting,
        ):
            urls = {name: server.channel_url(name) for name in _channels(source)}
            for name in urls:
                server.create(name)
            for coroutine in (
                _collect_records(urls["events"], result.events),
                _collect_records(urls["data"], result.data),
                _collect_frames(urls["out"], result, on_frame),
            ):
                collecting.create_task(coroutine)
            channels = ChannelUrls(
                control_url=urls["control"],
                events_url=urls["events"],
                subscribe_url=urls.get("in"),
                publish_url=urls["out"],
                data_url=urls["data"],
            )
            script = Script(updates, messages)
            session = work.open(
                StartRequest("run-live", params, channels),
                ExitStack(),
                before=lambda frame: script.before(frame, session),
            )
            caller = collecting.create_task(_keep_alive(session))
            try:
                if source is not None:
                    await _feed(urls["in"], source, session, speed)
                    await server.close_channel("in")
                elif seconds is not None and not await session.wait(seconds):
                    session.end("it has run as long as it should")
                await session.wait()
            finally:
                caller.cancel()
                session.end("the caller stopped it")
                await session.wait(COLLECT_SECONDS)
                await server.close_channels()
            result.reason = session.reason
    except BaseExceptionGroup as group:
        raise first_error(group) from None
    result.seconds = time.monotonic() - began
    return result


def _channels(source: Source | None) -> list[str]:
    return ["control", "events", "out", "data", *(["in"] if source is not None else [])]


async def _collect_records(url: str, into: list[dict[str, Any]]) -> None:
    async with JSONLSubscriber(url, start=0) as records:
        async for record in records:
            into.append(record)  # noqa: PERF401 — what has come is kept when the rest fails


async def _collect_frames(
    url: str, result: LiveResult, on_frame: Callable[[Frame], None] | None
) -> None:
    from livepeer.trickle.media import AudioFrame, MediaSubscriber, VideoFrame

    async with MediaSubscriber(url, policy="all", start=0) as frames:
        async for frame in frames:
            assert isinstance(frame, VideoFrame | AudioFrame)
            if on_frame is not None:
                on_frame(frame)
            elif frame.kind == "video":
                result.video.append(frame)
            else:
                result.audio.append(frame)


async def _keep_alive(session: Session) -> None:
    """A caller that waits is one that is there, however slow the source."""
    while True:
        session.watch.heard()
        await asyncio.sleep(KEEP_ALIVE_SECONDS)


class Script:
    """What is told to a stream, before the frames at which it is due."""

    def __init__(self, updates: Told, messages: Told) -> None:
        told = [
            *((at, "params", content) for at, content in updates),
            *((at, "message", content) for at, content in messages),
        ]
        self._waiting = deque(sorted(told, key=lambda one: one[0]))
        self._begin: Fraction | None = None

    async def before(self, frame: Frame | MediaPacket, session: Session) -> None:
        """Update the parameters, or send a message, and wait until the hooks have them."""
        assert frame.time is not None
        self._begin = frame.time if self._begin is None else self._begin
        while self._waiting and float(frame.time - self._begin) >= self._waiting[0][0]:
            _, what, content = self._waiting.popleft()
            if what == "message":
                session.messages.put(content)
            else:
                with suppress(InvalidInput):  # told by an event, as to any caller
                    session.update(content)
            await session.applied()


async def _feed(url: str, source: Source, session: Session, speed: float | None) -> None:
    """Publish the source, as fast as it may come."""
    from livepeer.trickle.media import MediaPublisher

    frames = _frames(source)
    began: tuple[float, Fraction] | None = None
    # Not ended here, but once its last segment is being read: no linger is long enough for a class
    # that is slow and drops nothing.
    channel = TricklePublisher(url, delete_on_close=False)
    async with MediaPublisher(url, publisher=channel) as publisher:
        while not session.ending:
            frame = await asyncio.to_thread(next, frames, None)
            if frame is None:
                break
            now = time.monotonic()
            began = began or (now, frame.time)
            if speed is not None:
                await asyncio.sleep(began[0] + float(frame.time - began[1]) / speed - now)
            await _keep_near(publisher, session, AHEAD)
            await publisher.write(frame)
    await _keep_near(publisher, session, 0)


async def _keep_near(publisher: MediaPublisher, session: Session, ahead: int) -> None:
    """A trickle server has no back-pressure: a writer too far ahead overwrites its ring."""
    while not session.ending:
        read = session.flow.segments_in if session.flow is not None else 0
        if publisher.stats.encoder.segments - read <= ahead:
            return
        await asyncio.sleep(0.002)


def _frames(source: Source) -> Iterator[Frame]:
    from livepeer.trickle.media import decode

    if isinstance(source, str | os.PathLike | bytes) or hasattr(source, "read"):
        return decode(source)  # type: ignore[arg-type]
    return iter(source)
