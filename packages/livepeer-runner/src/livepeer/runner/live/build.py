"""The start of a stream: from its request to a session that runs.

    request -> parameters -> slot -> channels -> copy of the pipeline -> session -> flow

`StreamBuilder.open` makes all of it but the flow, which opens the input and the output: the session
makes that with `_flow` below, once `on_stream_start` has returned.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal

from livepeer.runner.author.live_pipeline import LivePipeline, StreamHandle, copy_for
from livepeer.runner.live.control import CallerWatch, ControlMessages, ParamUpdates
from livepeer.runner.live.failures import ErrorBudget, Refusals
from livepeer.runner.live.flow import Before, Flow
from livepeer.runner.live.frame_hooks import batched
from livepeer.runner.live.hooks import HookCaller, Hooks
from livepeer.runner.live.params import ParamsType, ParamValues
from livepeer.runner.live.relay import RelayFlow
from livepeer.runner.live.request import StartRequest, label
from livepeer.runner.live.session import Session
from livepeer.runner.live.sessions import Sessions
from livepeer.runner.live.shared import SharedState
from livepeer.runner.live.status import StreamStatus
from livepeer.runner.live.stream import Channels, FlowProtocol, Sink, Stream
from livepeer.runner.running.gather import Gatherer
from livepeer.runner.running.slots import Slot
from livepeer.runner.running.threads import WorkerThreads
from livepeer.trickle import TrickleSubscriber
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    from livepeer.trickle.media import MediaSubscriber

logger = logging.getLogger(__name__)


class StreamBuilder:
    """Makes the streams of one pipeline, which is set up.

    `linger` is how many seconds a channel is kept at its end. `threads` run sync hooks, and
    `batches` run `process_video_batch`, if the class has it. `alone`: there is one stream at a
    time, which has all cores.
    """

    def __init__(
        self,
        pipeline: LivePipeline,
        hooks: Hooks,
        params: ParamsType,
        sessions: Sessions,
        *,
        threads: WorkerThreads,
        batches: Gatherer | None,
        tls: TLS,
        linger: float,
        alone: bool,
    ) -> None:
        self._pipeline = pipeline
        self._cls = type(pipeline)
        self._shared = SharedState(pipeline)
        self._hooks = hooks
        self._params = params
        self._sessions = sessions
        self._threads = threads
        self._batches = batches
        self._tls = tls
        self._linger = linger
        self._alone = alone

    def open(
        self,
        request: StartRequest,
        calling: ExitStack,
        slot: Slot | None = None,
        *,
        before: Before | None = None,
    ) -> Session:
        """Start a stream; one under the same key that runs already ends, and hands its slot over.

        `calling` is held open as long as the stream lives. `slot` is one that it has already.
        `before` is called with each frame of the input before its hook is.

        Raises `InvalidInput` for its parameters, `OverCapacity` and `NotReady`, and changes nothing
        then.
        """
        params = self._params.first(request.params)
        slot = self._sessions.slot_for(request.key, slot)
        calling = calling.pop_all()
        try:
            stream = self._stream(request, params)
            session = self._session(stream, params, slot, calling, before)
        except BaseException:
            slot.release()
            calling.close()
            raise
        self._sessions.begin(session)
        logger.info("stream %s has started", label(session.id))
        return session

    def _stream(self, request: StartRequest, params: ParamValues) -> Stream:
        """Its channels, and its copy of the pipeline, which emits into them."""
        cls = self._cls
        status = StreamStatus(cls.pipeline_id, request.stream_id)
        channels = Channels(request.urls, self._tls, linger=self._linger)
        events, data = channels.events(), channels.data()
        handle = StreamHandle(request.stream_id, post_event=events.post, post_data=data.post)
        return Stream(
            request,
            copy_for(self._pipeline, handle, params.value),
            status,
            HookCaller(self._threads, cls.hook_timeout, status.running),
            ErrorBudget(cls.max_errors, status, events.put),
            channels,
            events,
            data,
        )

    def _session(
        self,
        stream: Stream,
        params: ParamValues,
        slot: Slot,
        calling: ExitStack,
        before: Before | None,
    ) -> Session:
        """What its caller may do to it, and what ends it."""
        cls = self._cls
        refusals = Refusals(stream.events.put)
        return Session(
            stream,
            self._hooks,
            params=ParamUpdates(self._params, params, stream.copy, stream.status, refusals),
            messages=ControlMessages(
                cls.__name__, taken="on_control" in self._hooks, refusals=refusals
            ),
            watch=CallerWatch(cls.idle_timeout),
            make_flow=partial(self._flow, stream, before),
            check_shared=partial(self._shared.check, stream.copy),
            slot=slot,
            calling=calling,
        )

    def _flow(self, stream: Stream, before: Before | None) -> FlowProtocol:
        """The way of its frames: input, hooks, output; byte for byte if no hook makes frames."""
        cls, hooks = self._cls, self._hooks
        output = stream.channels.output()
        if hooks.relays and cls.passthrough:
            return RelayFlow(stream.status, source=self._bytes(stream.request), sink=output)
        return Flow(
            stream,
            hooks,
            source=self._frames(stream.request),
            sink=Sink(cls, output),
            batched=batched(self._batches, stream) if self._batches is not None else None,
            before=before,
            spare=(self._alone or cls.thread_safe) and not cls.gpu,
            many=not self._alone,
        )

    @property
    def _start(self) -> Literal["current"] | int:
        """The first segment of an input: the oldest that there is, if none may be lost."""
        return "current" if self._cls.realtime else 0

    def _bytes(self, request: StartRequest) -> TrickleSubscriber | None:
        """The input of a relay."""
        if request.urls.subscribe_url is None:
            return None
        return TrickleSubscriber(
            request.urls.subscribe_url,
            start=self._start,
            on_gap="latest" if self._cls.realtime else "oldest",
            tls=self._tls,
        )

    def _frames(self, request: StartRequest) -> MediaSubscriber | None:
        """The input of hooks: tracks with a hook are decoded, the others pass or are dropped."""
        if request.urls.subscribe_url is None:
            return None
        from livepeer.trickle.media import MediaSubscriber

        cls, hooks = self._cls, self._hooks
        passes: Literal["packets", "drop"] = (
            "packets" if cls.passthrough and request.urls.publish_url else "drop"
        )
        return MediaSubscriber(
            request.urls.subscribe_url,
            policy="latest" if cls.realtime else "all",
            start=self._start,
            video="decode" if hooks.video else "drop" if hooks.generates else passes,
            audio="decode" if hooks.audio else passes,
            device="cuda" if cls.gpu else None,
            # Many streams use the cores anyway; helpers of each only wake up in vain.
            threads=None if self._alone else 1,
            tls=self._tls,
        )
