"""`LiveSession`: media and data through a pipeline, in both directions, while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from livepeer.client.deadline import Deadline
from livepeer.client.exceptions import (
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    SessionEndedError,
)
from livepeer.client.files import encode
from livepeer.client.live_calls import START_LIMIT, Live, LiveCalls, Wanted
from livepeer.client.live_channels import (
    GONE,
    Control,
    EventReader,
    Events,
    records,
    records_by_gateway,
)
from livepeer.client.live_media import (
    Frames,
    Input,
    Publication,
    as_frame,
    each,
    frames_of_file,
    media,
)
from livepeer.trickle.exceptions import ChannelClosed, ChannelNotFound, TrickleError

if TYPE_CHECKING:
    from livepeer.trickle.media import MediaPublisherStats, SourceStats

log = logging.getLogger("livepeer.client")

LOST_DRAIN: Final = 0.5


@dataclass(frozen=True, slots=True)
class LiveStats:
    """A snapshot of a session. Media counters are None until that direction is used."""

    seconds: float = 0.0
    events: int = 0
    errors: int = 0
    reconnects: int = 0
    published: MediaPublisherStats | None = None
    subscribed: SourceStats | None = None


class LiveSession:
    """A live stream through a pipeline; made by `Gateway.live`.

        async with gw.live("live-tint", params={"u": 90}) as session:
            session.publish_file("in.mp4")
            async for frame in session.subscribe(): ...
            await session.update({"u": 200})

    Entering starts the stream, leaving ends it. Each channel is opened at first use, and opened
    again when its connection is lost; the session outlives that. When it is over although this side
    did not end it, `ended` says why, and the iterators and methods raise `SessionEndedError`.

    Straight to an orchestrator everything works. By a gateway media goes by WHIP or RTMP (`urls`),
    there is no control channel, and `status()` takes the place of `events()`.
    """

    def __init__(
        self,
        calls: LiveCalls,
        wanted: Wanted,
        timeout: float | None,
        outputs: Mapping[str, Any],
    ) -> None:
        self._calls, self._wanted, self._timeout = calls, wanted, timeout
        self._outputs = outputs
        self._live: Live | None = None
        self._input: Input | None = None
        self._frames: list[Frames] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._control: Control | None = None
        self._events: Events | None = None
        self._began = 0.0
        self._end: str | None = None
        self._lost = False
        self._stopped = False
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        state = self._end or ("running" if self._live else "not started")
        return f"LiveSession({self._wanted.capability!r}, {self.stream_id}, {state})"

    # -- what it is -------------------------------------------------------------------------------

    @property
    def stream_id(self) -> str | None:
        return self._live.stream_id if self._live else None

    @property
    def orchestrator(self) -> str | None:
        """Who runs it, or the gateway that was called."""
        return self._live.base if self._live else None

    @property
    def urls(self) -> Mapping[str, str]:
        """By a gateway: where other programs send and watch the video (WHIP, WHEP, RTMP)."""
        return self._running().urls

    @property
    def ended(self) -> str | None:
        """Why the session is over, None while it runs."""
        return self._end

    async def wait(self) -> str:
        """Wait until the session is over, and say why."""
        await self._over.wait()
        return self._end or ""

    # -- its life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._live is not None:
            raise RuntimeError("a session is entered once: call live() again")
        deadline = Deadline(self._timeout or START_LIMIT)
        stream_id = uuid.uuid4().hex
        self._live = await self._calls.start(self._wanted, stream_id, deadline)
        self._began = time.monotonic()
        if self._live.control_url and self._live.events_url:
            tls = self._calls.trust.for_peer()
            self._control = Control(self._live.control_url, tls, self._finish)
            known = partial(self._calls.known, self._live)
            self._events = Events(self._live.events_url, tls, known, self._finish)
            self._spawn(self._control.run())
            self._spawn(self._events.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the session: media stops, the pipeline is told, channels close. Safe to repeat."""
        if self._live is None or self._stopped:
            return
        self._stopped = True
        self._finish("ended by this side", False)
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        try:
            for frames in self._frames:
                await frames.aclose()
            with contextlib.suppress(TrickleError, TimeoutError):
                # Nobody will take the last frames where the stream is lost.
                async with asyncio.timeout(LOST_DRAIN if self._lost else None):
                    if self._input is not None:
                        await self._input.aclose(end=False)
            with contextlib.suppress(TrickleError):
                if self._control is not None:
                    await self._control.aclose()
        finally:
            await self._calls.stop(self._live, "ended by the caller")

    # -- media ------------------------------------------------------------------------------------

    def publish(
        self, frames: AsyncIterable[Any] | Iterable[Any], *, end: bool = True
    ) -> Publication:
        """Send frames in the background: `VideoFrame`, `AudioFrame`, or numpy pictures (H, W, 3).

        Frames without a time are paced. `end`: the input is over with the last one, which lets
        the pipeline finish; without it something else may be published afterwards.
        """
        media()
        return self._publish(self._send_frames(frames), end)

    def publish_file(
        self, path: str | os.PathLike[str], *, realtime: bool = True, end: bool = True
    ) -> Publication:
        """Send a media file in the background, as fast as it is shown, or as fast as it can."""
        if not os.path.isfile(path):
            raise FileNotFoundError(f"there is no file {os.fspath(path)!r} to publish")
        media()
        return self._publish(self._send_frames(frames_of_file(path, realtime)), end)

    def publish_segments(
        self, segments: AsyncIterable[bytes] | Iterable[bytes], *, end: bool = True
    ) -> Publication:
        """Send segments of MPEG-TS as they are, each whole and beginning with a keyframe: nothing
        is decoded or encoded, and the extra `media` is not needed."""
        return self._publish(self._send_segments(segments), end)

    def subscribe(self, *, policy: Literal["latest", "all"] = "latest") -> Frames:
        """The frames that come out, as an asynchronous iterator.

        `"latest"` is real time: what is read too slowly is dropped, oldest video first; `"all"`
        drops nothing and slows the stream down instead.
        """
        media()
        url = self._channel("subscribe_url", "subscribe")
        # The first reader gets the beginning, as far as it is still there; later ones join.
        start: Any = "current" if self._frames else 0
        tls = self._calls.trust.for_peer()
        frames = Frames(url, tls, self._over, self._error, policy=policy, start=start)
        self._frames.append(frames)
        return frames

    def _publish(self, sending: Coroutine[Any, Any, None], end: bool) -> Publication:
        try:
            url = self._channel("publish_url", "publish")
        except LivepeerError:
            sending.close()
            raise
        if self._input is None:
            self._input = Input(url, self._calls.trust.for_peer(), self._outputs, self._over)
        return Publication(self._spawn(self._to_its_end(sending, self._input, end)))

    async def _to_its_end(
        self, sending: Coroutine[Any, Any, None], given: Input, end: bool
    ) -> None:
        try:
            await sending
            if end:
                await given.aclose(end=True)
        except (ChannelNotFound, ChannelClosed) as error:
            self._finish(f"the input channel is gone: {GONE}", True)
            raise self._error() or SessionEndedError(str(error)) from error
        except TrickleError as error:
            self._finish(f"the input could not be sent: {error}", True)
            raise self._error() or SessionEndedError(str(error)) from error

    async def _send_frames(self, frames: AsyncIterable[Any] | Iterable[Any]) -> None:
        assert self._input is not None
        async with contextlib.aclosing(each(frames)) as items:
            async for item in items:
                await self._input.write(as_frame(item))

    async def _send_segments(self, segments: AsyncIterable[bytes] | Iterable[bytes]) -> None:
        assert self._input is not None
        async with contextlib.aclosing(each(segments)) as items:
            async for segment in items:
                await self._input.write_segment(segment)

    # -- everything else --------------------------------------------------------------------------

    async def update(self, params: Mapping[str, Any]) -> Any:
        """Change live parameters, some or all; returns what the pipeline answers.

        Raises `InvalidInputError` with its fields where it refuses them; they are unchanged then.
        """
        self._check()
        try:
            return await self._calls.update(self._running(), encode(params))
        except SessionEndedError as error:
            self._finish(error.message, True)
            raise

    async def control(self, message: Mapping[str, Any]) -> None:
        """Send a message of the caller's own to the pipeline. Not by a gateway."""
        self._check()
        if self._control is None:
            raise ConfigurationError("a gateway has no way for control messages: use update()")
        try:
            await self._control.send(message)
        except TrickleError as error:
            raise self._error() or ConnectionFailedError(
                f"the message may not have arrived: {error}", orchestrator=self.orchestrator
            ) from error

    def data(self) -> AsyncIterator[dict[str, Any]]:
        """The records that the pipeline emits, as an asynchronous iterator."""
        url = self._channel("data_url", "data")
        if self._running().gateway:
            return self._data_by_gateway()
        return records(url, self._calls.trust.for_peer(), self._over, self._error)

    def events(self) -> EventReader:
        """What the pipeline reports about itself (status, errors), from the beginning of the
        session, 1,000 at most. An asynchronous iterator that ends with the session."""
        if self._events is None:
            self._running()
            raise ConfigurationError("a gateway keeps the events to itself: use status()")
        return self._events.reader()

    async def status(self) -> dict[str, Any]:
        """The last status that the pipeline reported; empty before the first."""
        live = self._running()
        if self._events is not None:
            return dict(self._events.status)
        return await self._calls.status(live)

    def stats(self) -> LiveStats:
        """Counters of this side."""
        parts = [part for part in (self._input, self._control, self._events) if part]
        return LiveStats(
            seconds=time.monotonic() - self._began if self._began else 0.0,
            events=self._events.count if self._events else 0,
            errors=self._events.errors if self._events else 0,
            reconnects=sum(part.reconnects for part in [*parts, *self._frames]),
            published=self._input.stats if self._input else None,
            subscribed=self._frames[0].stats if self._frames else None,
        )

    # -- inside -----------------------------------------------------------------------------------

    async def _data_by_gateway(self) -> AsyncIterator[dict[str, Any]]:
        response = await self._calls.open_data(self._running())
        async with contextlib.aclosing(records_by_gateway(response, self._over)) as found:
            async for record in found:
                yield record

    def _running(self) -> Live:
        if self._live is None:
            raise RuntimeError("the session has not been started: use `async with`")
        return self._live

    def _check(self) -> None:
        self._running()
        if (error := self._error()) is not None:
            raise error
        if self._end is not None:
            raise SessionEndedError(
                f"the live session is over: {self._end}",
                capability=self._wanted.capability,
                orchestrator=self.orchestrator,
            )

    def _channel(self, name: str, option: str) -> str:
        """The URL of a channel, or an error that says how to get one."""
        live = self._running()
        if self._stopped or self._lost:
            self._check()
        url = getattr(live, name)
        if isinstance(url, str):
            return url
        if live.gateway and name != "data_url":
            raise ConfigurationError(
                "by a gateway video goes in and out by WHIP or RTMP: see session.urls, or call an"
                " orchestrator directly (orch_url)"
            )
        raise ConfigurationError(f"this session was started with {option}=False")

    def _error(self) -> SessionEndedError | None:
        """The error that a loss is, None where the end was a regular one."""
        if not self._lost:
            return None
        return SessionEndedError(
            f"the live session is over: {self._end}",
            capability=self._wanted.capability,
            orchestrator=self.orchestrator,
            job_id=self.stream_id,
            may_have_run=True,
        )

    def _finish(self, why: str, lost: bool) -> None:
        """The first reason is the reason."""
        if self._end is not None:
            return
        self._end, self._lost = why, lost
        log.info("live session %s: %s", self.stream_id, why)
        self._over.set()
        if self._events is not None:
            self._events.close()
        if lost:
            for frames in self._frames:
                frames.lose()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"livepeer-live {self.stream_id}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # Whoever awaits a `Publication` gets it too; nobody has to.
        self._finish(f"{type(error).__name__}: {error}", True)
