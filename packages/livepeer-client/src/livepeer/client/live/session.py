"""`LiveSession`: media and data through a pipeline, in both directions, while it runs."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from livepeer.client.exceptions import (
    ConfigurationError,
    ConnectionFailedError,
    SessionEndedError,
)
from livepeer.client.files import encode
from livepeer.client.http.deadline import Deadline
from livepeer.client.live.calls import START_LIMIT, LiveCalls
from livepeer.client.live.channels import control_message, records, records_by_gateway
from livepeer.client.live.ending import Ending
from livepeer.client.live.events import EventReader
from livepeer.client.live.input import Input, Publication, frames_of_file
from livepeer.client.live.media import media
from livepeer.client.live.output import Frames
from livepeer.client.live.started import LiveStats, Started
from livepeer.client.live.stream import Wanted
from livepeer.trickle.exceptions import TrickleError

if TYPE_CHECKING:
    # What comes with PyAV.
    from livepeer.trickle.media import AudioFrame, VideoFrame

Policy = Literal["latest", "all"]


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
        self._ending = Ending(wanted.capability)
        self._started: Started | None = None

    def __repr__(self) -> str:
        state = self._ending.why or ("running" if self._started else "not started")
        return f"LiveSession({self._wanted.capability!r}, {self.stream_id}, {state})"

    # -- what it is -------------------------------------------------------------------------------

    @property
    def stream_id(self) -> str | None:
        return self._started.live.stream_id if self._started else None

    @property
    def orchestrator(self) -> str | None:
        """Who runs it, or the gateway that was called."""
        return self._started.live.base if self._started else None

    @property
    def urls(self) -> Mapping[str, str]:
        """By a gateway: where other programs send and watch the video (WHIP, WHEP, RTMP)."""
        return self._running().live.urls

    @property
    def ended(self) -> str | None:
        """Why the session is over, None while it runs."""
        return self._ending.why

    async def wait(self) -> str:
        """Wait until the session is over, and say why."""
        return await self._ending.wait()

    # -- its life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._started is not None:
            raise RuntimeError("a session is entered once: call live() again")
        deadline = Deadline(self._timeout or START_LIMIT)
        live = await self._calls.start(self._wanted, uuid.uuid4().hex, deadline)
        self._ending.where |= {"orchestrator": live.base, "job_id": live.stream_id}
        self._started = Started(self._calls, live, self._ending, self._outputs)
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
        if self._started is not None:
            await self._started.aclose()

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
        return self._running().frames(
            url,
            policy=policy,
            video="decode" if video else "drop",
            audio="decode" if audio else "drop",
        )

    def _publish(self, send: Callable[[Input], Coroutine[Any, Any, None]]) -> Publication:
        url = self._channel("publish_url", "publish")
        started = self._running()
        return Publication(started.spawn(send(started.input(url))))

    # -- everything else --------------------------------------------------------------------------

    async def update(self, params: Mapping[str, Any]) -> Any:
        """Change live parameters, some or all; returns what the pipeline answers.

        Raises `InvalidInputError` with its fields where it refuses them; they are unchanged then.
        """
        live = self._running().live
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
        channel = self._running().control
        self._ending.check()
        if channel is None:
            raise ConfigurationError("a gateway has no way for control messages: use update()")
        try:
            await channel.send(encode(message) if raw else control_message(encode(message)))
        except TrickleError as error:
            raise self._ending.error() or ConnectionFailedError(
                f"the message may not have arrived: {error}", orchestrator=self.orchestrator
            ) from error

    def data(self) -> AsyncGenerator[dict[str, Any]]:
        """The records that the pipeline emits, as an asynchronous iterator."""
        url = self._channel("data_url", "data")
        live = self._running().live
        if not live.direct:
            return records_by_gateway(self._calls.open_data(live), self._ending)
        return records(url, self._calls.tls, self._ending)

    def events(self) -> EventReader:
        """What the pipeline reports about itself (status, errors), from the beginning of the
        session, 1,000 at most. An asynchronous iterator that ends with the session."""
        if (events := self._running().events) is None:
            raise ConfigurationError("a gateway keeps the events to itself: use status()")
        return events.reader()

    async def status(self) -> dict[str, Any]:
        """The last status that the pipeline reported; empty before the first."""
        started = self._running()
        if started.events is not None:
            return dict(started.events.status)
        return await self._calls.status(started.live)

    def stats(self) -> LiveStats:
        """Counters of this side."""
        return self._started.stats() if self._started else LiveStats()

    # -- inside -----------------------------------------------------------------------------------

    def _running(self) -> Started:
        if self._started is None:
            raise RuntimeError("the session has not been started: use `async with`")
        return self._started

    def _channel(self, name: str, option: str) -> str:
        """The URL of a channel, or an error that says how to get one."""
        started = self._running()
        if started.stopped or self._ending.lost:
            self._ending.check()
        url = getattr(started.live, name)
        if isinstance(url, str):
            return url
        if not started.live.direct and name != "data_url":
            raise ConfigurationError(
                "by a gateway video goes in and out by WHIP or RTMP: see session.urls, or call an"
                " orchestrator directly (orch_url)"
            )
        raise ConfigurationError(f"this session was started with {option}=False")
