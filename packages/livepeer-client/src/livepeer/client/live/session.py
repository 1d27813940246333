"""`LiveSession`: media and data through a pipeline, in both directions, while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from fractions import Fraction
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from livepeer.client.exceptions import (
    ConfigurationError,
    ConnectionFailedError,
    SessionEndedError,
)
from livepeer.client.files import encode
from livepeer.client.http.deadline import Deadline
from livepeer.client.live.ahead import Ahead
from livepeer.client.live.calls import START_LIMIT, LiveCalls
from livepeer.client.live.ending import Ending
from livepeer.client.live.media import codecs, frames_of_file, has_media, media
from livepeer.client.live.stream import ChannelName, Live, LiveStats, Wanted
from livepeer.trickle.exceptions import TrickleError
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    # What a session needs once it has started is imported while it does (`_load`).
    from livepeer.client.live.events import EventReader
    from livepeer.client.live.input import Publication
    from livepeer.client.live.output import Frames
    from livepeer.client.live.started import Started

    # What comes with PyAV.
    from livepeer.trickle.media import AudioFrame, VideoFrame

Policy = Literal["latest", "all"]


class LiveSession:
    """A live stream through a pipeline; made by `Gateway.live`.

        async with gw.live("live-tint", params={"u": 90}) as session:
            session.publish_file("in.mp4")
            async for frame in session.subscribe(): ...
            await session.update({"u": 200})

    Entering starts the stream, leaving ends it. A channel is opened when it is first used, and
    again after its connection was lost, for up to 60 s. If the session ends without this side
    having ended it, `ended` says why, and the iterators and methods raise `SessionEndedError`.

    Directly with an orchestrator everything works. Through a gateway, media goes by WHIP or RTMP
    (`urls`), there is no control channel, and `status()` takes the place of `events()`: methods
    that do not work there raise `ConfigurationError`. Before entering, they raise `RuntimeError`.
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
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        state = self._ending.why or ("running" if self._started else "not started")
        return f"LiveSession({self._wanted.capability!r}, {self.stream_id}, {state})"

    # -- what it is -------------------------------------------------------------------------------

    @property
    def stream_id(self) -> str | None:
        """The id of the stream, None before it is started."""
        return self._started.live.stream_id if self._started else None

    @property
    def orchestrator(self) -> str | None:
        """The URL of the orchestrator that runs it, or of the gateway; None before the start."""
        return self._started.live.base if self._started else None

    @property
    def urls(self) -> Mapping[str, str]:
        """Through a gateway: where other programs send and watch the video, by name: `whip_url`,
        `whep_url`, `rtmp_url`, `rtmp_output_url`. Empty with an orchestrator."""
        return self._running().live.urls

    @property
    def ended(self) -> str | None:
        """Why the session is over; None while it runs."""
        return self._ending.why

    @property
    def spent(self) -> Fraction:
        """Wei that the session has cost so far."""
        budget = self._wanted.budget
        return budget.spent if budget is not None else Fraction(0)

    async def wait(self) -> str:
        """Wait until the session is over, and say why."""
        return await self._ending.wait()

    # -- its life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._started is not None:
            raise RuntimeError("a session is entered once: call live() again")
        deadline = Deadline(self._timeout or START_LIMIT)
        # Nothing of it holds this session, which is ended where it is dropped.
        load = partial(_load, frames=self._wanted.publish or self._wanted.subscribe)
        ahead = Ahead(self._calls.tls, self._wanted.connections, load)
        try:
            live = await self._calls.start(self._wanted, uuid.uuid4().hex, deadline, ahead)
        except BaseException:
            await ahead.aclose()
            raise
        from livepeer.client.live.started import Started

        self._ending.where |= {"orchestrator": live.base, "job_id": live.stream_id}
        self._started = Started(
            self._calls, live, self._ending, self._outputs, ahead, self._wanted.budget
        )
        self._loop = asyncio.get_running_loop()
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
        self._loop = None
        if self._started is not None:
            await self._started.aclose()

    def __del__(self) -> None:
        loop, started = getattr(self, "_loop", None), getattr(self, "_started", None)
        if loop is None or started is None or started.stopped:
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        with contextlib.suppress(RuntimeError):  # a loop that has ended stopped it with it
            loop.call_soon_threadsafe(self._calls.let_go, started.aclose)

    # -- media ------------------------------------------------------------------------------------

    def publish(
        self, frames: AsyncIterable[Any] | Iterable[Any], *, end: bool = True
    ) -> Publication:
        """Send frames in the background: `VideoFrame`, `AudioFrame`, or uint8 numpy arrays
        (height, width, 3), RGB.

        A frame with a time is sent at once; one without is sent when it is due, at the frame rate
        of the output. `end`: the input ends after the last frame, which lets the pipeline finish;
        with False something else may be published afterwards. Needs the extra `media`
        (`ConfigurationError`). Await the `Publication` to wait until all is sent; it raises
        `SessionEndedError` if it could not be.
        """
        media()
        return self._running().publish_frames(self._channel("publish_url", "publish"), frames, end)

    def publish_file(
        self, path: str | os.PathLike[str], *, realtime: bool = True, end: bool = True
    ) -> Publication:
        """Send a media file in the background, in real time or, with `realtime=False`, as fast as
        possible; `end` as for `publish`. Raises `FileNotFoundError` if there is no such file."""
        if not os.path.isfile(path):
            raise FileNotFoundError(f"there is no file {os.fspath(path)!r} to publish")
        media()
        url = self._channel("publish_url", "publish")
        return self._running().publish_frames(url, frames_of_file(path, realtime), end)

    def publish_segments(
        self, segments: AsyncIterable[bytes] | Iterable[bytes], *, end: bool = True
    ) -> Publication:
        """Send complete MPEG-TS segments unchanged, each beginning with a keyframe; `end` as for
        `publish`. Nothing is decoded or encoded, and the extra `media` is not needed."""
        url = self._channel("publish_url", "publish")
        return self._running().publish_segments(url, segments, end)

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
        """The frames that come out, as an asynchronous iterator of `VideoFrame` and `AudioFrame`;
        `video=False` or `audio=False` leaves one kind out.

        `policy="latest"` is real time: frames that are read too slowly are dropped, the oldest
        video first; `"all"` drops nothing and slows the stream down instead. The iterator ends with
        the stream, and raises `SessionEndedError` if that was lost. Needs the extra `media`
        (`ConfigurationError`).
        """
        media()
        url = self._channel("subscribe_url", "subscribe")
        return self._running().frames(
            url,
            policy=policy,
            video="decode" if video else "drop",
            audio="decode" if audio else "drop",
        )

    # -- everything else --------------------------------------------------------------------------

    async def update(self, params: Mapping[str, Any]) -> Any:
        """Change live parameters, some or all, and return the pipeline's answer.

        Raises `InvalidInputError`, with the fields, if the pipeline refuses them; then none is
        changed. Raises `SessionEndedError` if the stream is over. Classic live-video-to-video takes
        them without an answer: this returns None then.
        """
        live = self._running().live
        self._ending.check()
        if live.ended_by is not None:
            await self.control(params, raw=True)
            return None
        try:
            return await self._calls.update(live, encode(params))
        except SessionEndedError as error:
            self._ending.finish(error.message, lost=True)
            raise

    async def control(self, message: Mapping[str, Any], *, raw: bool = False) -> None:
        """Send a JSON object to the pipeline's `on_control`. Not through a gateway.

        There is no answer. A pipeline without that hook reports an error of type `no_control_hook`
        in `events()`. `raw` sends the message unwrapped, for containers made without this SDK; one
        made with it reads such a message as parameters. Raises `ConnectionFailedError` if it may
        not have arrived.
        """
        channel = self._running().control
        self._ending.check()
        if channel is None:
            raise ConfigurationError("a gateway has no way for control messages: use update()")
        try:
            await channel.say(encode(message), raw=raw)
        except TrickleError as error:
            raise self._ending.error() or ConnectionFailedError(
                f"the message may not have arrived: {error}", orchestrator=self.orchestrator
            ) from error

    def data(self) -> AsyncGenerator[dict[str, Any]]:
        """The records (JSON objects) that the pipeline emits, as an asynchronous iterator that ends
        with the session; raises `SessionEndedError` if that was lost."""
        url = self._channel("data_url", "data")
        return self._running().records(url)

    def events(self) -> EventReader:
        """What the pipeline reports about itself (status, errors), as an asynchronous iterator that
        ends with the session.

        It begins with the events so far. A reader keeps the newest 1,000 that it has not read.
        """
        if (events := self._running().events) is None:
            raise ConfigurationError("a gateway keeps the events to itself: use status()")
        return events.reader()

    async def status(self) -> dict[str, Any]:
        """The last status that the pipeline reported (specs/live.md); empty before the first."""
        started = self._running()
        if started.events is not None:
            return dict(started.events.status)
        return await self._calls.status(started.live)

    def stats(self) -> LiveStats:
        """Counters of this side at this moment."""
        return self._started.stats() if self._started else LiveStats()

    # -- inside -----------------------------------------------------------------------------------

    def _running(self) -> Started:
        if self._started is None:
            raise RuntimeError("the session has not been started: use `async with`")
        return self._started

    def _channel(self, name: ChannelName, option: str) -> str:
        started = self._running()
        if started.stopped or self._ending.lost:
            self._ending.check()
        return started.live.channel(name, option)


def _load(*, frames: bool) -> None:
    """Import what a started session needs; open the codecs, if there will be frames."""
    from livepeer.client.live import started  # noqa: F401

    if frames and has_media():
        codecs()


def channels_of(session: LiveSession) -> tuple[Live, TLS]:
    """The channels of a session that was entered, and how their server is trusted: for the parts of
    this package that carry media themselves."""
    return session._running().live, session._calls.tls
