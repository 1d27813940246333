"""`LiveSession`: media and data through a pipeline, in both directions, while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, overload

from livepeer.client.exceptions import (
    ConfigurationError,
    ConnectionFailedError,
    SessionEndedError,
)
from livepeer.client.files import encode
from livepeer.client.http.deadline import Deadline
from livepeer.client.live.answers import Live, Wanted
from livepeer.client.live.calls import START_LIMIT, LiveCalls
from livepeer.client.live.channels import Control, control_message, records, records_by_gateway
from livepeer.client.live.ending import Ending
from livepeer.client.live.events import EventReader, Events
from livepeer.client.live.input import Input, Publication, frames_of_file
from livepeer.client.live.media import Returned, media
from livepeer.client.live.output import Frames
from livepeer.client.live.payments import Payments
from livepeer.trickle.exceptions import TrickleError

if TYPE_CHECKING:
    from livepeer.trickle.media import AudioFrame, MediaPublisherStats, SourceStats, VideoFrame

Policy = Literal["latest", "all"]

LOST_DRAIN: Final = 0.5
LEAVE_LIMIT: Final = 5.0
"""How long each part of a session may take to close, in seconds."""


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
        self._ending = Ending(wanted.capability)
        self._input: Input | None = None
        self._returned = Returned()
        self._frames: list[Frames[Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._control: Control | None = None
        self._events: Events | None = None
        self._began = 0.0
        self._stopped = False

    def __repr__(self) -> str:
        state = self._ending.why or ("running" if self._live else "not started")
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
        return self._ending.why

    async def wait(self) -> str:
        """Wait until the session is over, and say why."""
        return await self._ending.wait()

    # -- its life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._live is not None:
            raise RuntimeError("a session is entered once: call live() again")
        deadline = Deadline(self._timeout or START_LIMIT)
        stream_id = uuid.uuid4().hex
        self._live = await self._calls.start(self._wanted, stream_id, deadline)
        self._ending.where |= {"orchestrator": self._live.base, "job_id": self._live.stream_id}
        self._began = time.monotonic()
        if self._live.control_url and self._live.events_url:
            tls = self._calls.trust.for_peer()
            self._control = Control(self._live.control_url, tls, self._ending)
            known = partial(self._calls.known, self._live)
            self._events = Events(self._live.events_url, tls, known, self._ending)
            self._spawn(self._control.run())
            self._spawn(self._events.run())
        if self._live.priced:
            pay = partial(self._calls.pay, self._live)
            self._spawn(Payments(pay, self._ending).run())
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
        self._ending.finish("ended by this side", lost=False)
        try:
            await self._close_channels()
        finally:
            await self._calls.leave(self._live)

    async def _close_channels(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                # One that publishes is as long about its end as the iterable that it was given.
                await asyncio.wait(tasks, timeout=LEAVE_LIMIT)
        finally:
            # Readers first: nothing that is still being sent waits for them then. Nobody will take
            # what is left to send where the stream is lost.
            limit = LOST_DRAIN if self._ending.lost else LEAVE_LIMIT
            for part in (*self._frames, self._input, self._control):
                if part is not None:
                    with contextlib.suppress(TrickleError, TimeoutError):
                        async with asyncio.timeout(limit):
                            await part.aclose()

    # -- media ------------------------------------------------------------------------------------

    def publish(
        self, frames: AsyncIterable[Any] | Iterable[Any], *, end: bool = True
    ) -> Publication:
        """Send frames in the background: `VideoFrame`, `AudioFrame`, or numpy pictures (H, W, 3).

        Frames without a time are paced. `end`: the input is over with the last one, which lets
        the pipeline finish; without it something else may be published afterwards.
        """
        media()
        return self._publish(lambda given: given.send_frames(frames, end=end))

    def publish_file(
        self, path: str | os.PathLike[str], *, realtime: bool = True, end: bool = True
    ) -> Publication:
        """Send a media file in the background, as fast as it is shown, or as fast as it can."""
        if not os.path.isfile(path):
            raise FileNotFoundError(f"there is no file {os.fspath(path)!r} to publish")
        media()
        frames = frames_of_file(path, realtime)
        return self._publish(lambda given: given.send_frames(frames, end=end))

    def publish_segments(
        self, segments: AsyncIterable[bytes] | Iterable[bytes], *, end: bool = True
    ) -> Publication:
        """Send segments of MPEG-TS as they are, each whole and beginning with a keyframe: nothing
        is decoded or encoded, and the extra `media` is not needed."""
        return self._publish(lambda given: given.send_segments(segments, end=end))

    @overload
    def subscribe(
        self,
        *,
        policy: Policy = "latest",
        video: Literal[True] = True,
        audio: Literal[False],
    ) -> Frames[VideoFrame]: ...

    @overload
    def subscribe(
        self,
        *,
        policy: Policy = "latest",
        video: Literal[False],
        audio: Literal[True] = True,
    ) -> Frames[AudioFrame]: ...

    @overload
    def subscribe(
        self, *, policy: Policy = "latest", video: bool = True, audio: bool = True
    ) -> Frames[VideoFrame | AudioFrame]: ...

    def subscribe(
        self, *, policy: Policy = "latest", video: bool = True, audio: bool = True
    ) -> Frames[Any]:
        """The frames that come out, as an asynchronous iterator: pictures and sound, or one of
        them where the other is turned off.

        `"latest"` is real time: what is read too slowly is dropped, oldest video first; `"all"`
        drops nothing and slows the stream down instead.
        """
        media()
        url = self._channel("subscribe_url", "subscribe")
        frames: Frames[Any] = Frames(
            url,
            self._calls.trust.for_peer(),
            self._ending,
            self._returned,
            policy=policy,
            # The first reader gets the beginning, as far as it is still there; later ones join.
            start="current" if self._frames else 0,
            video="decode" if video else "drop",
            audio="decode" if audio else "drop",
        )
        self._frames.append(frames)
        return frames

    def _publish(self, send: Callable[[Input], Coroutine[Any, Any, None]]) -> Publication:
        url = self._channel("publish_url", "publish")
        if self._input is None:
            tls = self._calls.trust.for_peer()
            self._input = Input(url, tls, self._outputs, self._ending, self._returned)
        return Publication(self._spawn(send(self._input)))

    # -- everything else --------------------------------------------------------------------------

    async def update(self, params: Mapping[str, Any]) -> Any:
        """Change live parameters, some or all; returns what the pipeline answers.

        Raises `InvalidInputError` with its fields where it refuses them; they are unchanged then.
        """
        live = self._running()
        self._ending.check()
        try:
            return await self._calls.update(live, encode(params))
        except SessionEndedError as error:
            self._ending.finish(error.message, lost=True)
            raise

    async def control(self, message: Mapping[str, Any], *, raw: bool = False) -> None:
        """Send a message of the caller's own to the pipeline's `on_control`. Not by a gateway.

        Nothing answers it. A pipeline without that hook reports an error of type `no_control_hook`
        (`events()`). `raw`: the message as it stands, for a container that is not made with this
        SDK; one that is takes such a message for parameters, without the answer of `update`.
        """
        self._running()
        self._ending.check()
        if self._control is None:
            raise ConfigurationError("a gateway has no way for control messages: use update()")
        try:
            await self._control.send(encode(message) if raw else control_message(encode(message)))
        except TrickleError as error:
            raise self._ending.error() or ConnectionFailedError(
                f"the message may not have arrived: {error}", orchestrator=self.orchestrator
            ) from error

    def data(self) -> AsyncGenerator[dict[str, Any]]:
        """The records that the pipeline emits, as an asynchronous iterator."""
        url = self._channel("data_url", "data")
        if (live := self._running()).gateway:
            return records_by_gateway(self._calls.open_data(live), self._ending)
        return records(url, self._calls.trust.for_peer(), self._ending)

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
            reconnects=sum(part.outage.tries for part in [*parts, *self._frames]),
            published=self._input.stats if self._input else None,
            subscribed=self._frames[0].stats if self._frames else None,
        )

    # -- inside -----------------------------------------------------------------------------------

    def _running(self) -> Live:
        if self._live is None:
            raise RuntimeError("the session has not been started: use `async with`")
        return self._live

    def _channel(self, name: str, option: str) -> str:
        """The URL of a channel, or an error that says how to get one."""
        live = self._running()
        if self._stopped or self._ending.lost:
            self._ending.check()
        url = getattr(live, name)
        if isinstance(url, str):
            return url
        if live.gateway and name != "data_url":
            raise ConfigurationError(
                "by a gateway video goes in and out by WHIP or RTMP: see session.urls, or call an"
                " orchestrator directly (orch_url)"
            )
        raise ConfigurationError(f"this session was started with {option}=False")

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
        self._ending.finish(f"what was published failed: {error}", lost=True)
