"""`LiveWork`: a class's streams as work that an app can serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Literal

from starlette.routing import BaseRoute

from livepeer.runner.author.live_pipeline import BatchItem, LivePipeline
from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.errors import JobTimeout
from livepeer.runner.live import documents
from livepeer.runner.live.calls import HookHung, listed
from livepeer.runner.live.flow import Call, Flow
from livepeer.runner.live.hooks import Hooks, is_async
from livepeer.runner.live.metrics import StreamMetrics
from livepeer.runner.live.params import Parameters
from livepeer.runner.live.relay import RelayFlow
from livepeer.runner.live.request import StartRequest, label
from livepeer.runner.live.routes import StreamRoutes
from livepeer.runner.live.session import Session
from livepeer.runner.live.shared import SharedState
from livepeer.runner.live.sink import Sink
from livepeer.runner.live.stream import FlowProtocol, Stream
from livepeer.runner.live.warm import load_media
from livepeer.runner.running.gather import Gatherer
from livepeer.runner.running.service import Service
from livepeer.runner.running.slots import Slot
from livepeer.trickle.http.transport import TLS
from livepeer.trickle.tls import Pin

logger = logging.getLogger(__name__)

CUT_SECONDS = 10.0
LINGER_SECONDS = 1.0
"""Between the last byte of a channel and its end, for readers that are behind."""


class LiveWork:
    """Starts, finds and ends the streams of one pipeline."""

    kind = "live"

    def __init__(
        self, service: Service, cls: type[LivePipeline], *, linger: float = LINGER_SECONDS
    ) -> None:
        self.service = service
        self.cls = cls
        self.hooks = Hooks.of(cls)
        self.parameters = Parameters.of(cls)
        self.linger = linger
        self.sessions: dict[str, Session] = {}
        """The newest of each `key_of`."""
        self.running: set[Session] = set()
        """All of them, those that give way to a newer one too."""
        self.metrics = StreamMetrics(service.metrics, self.running, self.hooks.names)
        self._batches: Gatherer | None = None
        self._shared: SharedState | None = None

    @property
    def pipeline(self) -> LivePipeline:
        """The shared instance."""
        pipeline = self.service.pipeline
        assert isinstance(pipeline, LivePipeline)
        return pipeline

    @property
    def shared(self) -> SharedState:
        assert self._shared is not None
        return self._shared

    @cached_property
    def tls(self) -> TLS:
        """As towards the orchestrators: the same pins, since it is the same server."""
        if self.service.registration is not None:
            return self.service.registration.tls
        mode = self.service.settings.tls
        return Pin(renew=True) if mode == "pin" else mode == "verify"

    # --- what an app needs of it -----------------------------------------------------------------

    def routes(self) -> Sequence[BaseRoute]:
        return StreamRoutes(self).routes()

    def schema(self) -> dict[str, Any]:
        return documents.schema(self.cls, self.hooks, self.parameters)

    def openapi(self) -> dict[str, Any]:
        return documents.openapi(self.cls, self.parameters)

    def notes(self) -> Sequence[str]:
        serial = not self.cls.thread_safe and any(
            not is_async(getattr(self.cls, name)) for name in self.hooks.names
        )
        if serial and self.service.capacity > 1 and not self.hooks.relays:
            return [
                f"{self.cls.__name__} admits {self.service.capacity} streams, whose hooks run one "
                f"at a time: set thread_safe = True if they may run in several threads at once"
            ]
        return []

    async def start(self, pipeline: PipelineBase) -> None:
        """Setup is over: warm up, so that no stream's first frame is the slowest one."""
        if not (self.hooks.relays and self.cls.passthrough):
            await self.service.threads.submit(load_media).future
        warm_up = self.pipeline.warm_up
        if is_async(warm_up):
            await warm_up()
        else:
            await self.service.threads.submit(warm_up).future
        self._shared = SharedState(self.pipeline)
        if "process_video_batch" in self.hooks:
            self._batches = Gatherer(
                self.pipeline.process_video_batch,  # type: ignore[attr-defined]
                listed,
                size=self.cls.max_batch_size,
                wait=self.cls.max_batch_wait_ms / 1000,
                timeout=self.cls.hook_timeout,
                threads=self.service.threads,
            )
            self._batches.start()

    async def drain(self) -> None:
        """End every stream cleanly."""
        for session in list(self.running):
            session.end("the container is shutting down")

    async def cut(self) -> None:
        for limit in (CUT_SECONDS, 1.0):
            if running := list(self.running):
                for session in running:
                    session.cut()
                await asyncio.gather(*(session.wait(limit) for session in running))
        batches, self._batches = self._batches, None
        if batches is not None:
            await batches.aclose()

    @property
    def queued(self) -> int:
        return self.service.threads.queued

    # --- streams ---------------------------------------------------------------------------------

    def open(self, request: StartRequest, calling: ExitStack, slot: Slot | None = None) -> Session:
        """Start a stream; one of that id that runs already ends, and hands its slot over.

        Raises `InvalidInput` for its parameters, `OverCapacity` and `NotReady`; nothing has changed
        then. `calling` is held open as long as the stream lives. `slot`: one that it has already.
        """
        params = self.parameters.first(request.params)
        old = self.sessions.get(request.key)
        handed = old.surrender() if old is not None else None
        if handed is not None and slot is not None:
            slot.release()
        slot = handed or slot or self.service.lifecycle.acquire()
        calling = calling.pop_all()
        try:
            session = Session(self, request, params, slot, calling)
        except BaseException:
            slot.release()
            calling.close()
            raise
        if old is not None:
            old.end("the stream was started again")
        self.sessions[session.key] = session
        self.running.add(session)
        session.start(old)
        logger.info("stream %s has started", label(session.id))
        return session

    # --- what a session needs of it --------------------------------------------------------------

    def flow(self, stream: Stream) -> FlowProtocol:
        """The way of the frames of a new stream."""
        hooks, cls, request = self.hooks, self.cls, stream.request
        # Where nothing may be lost, from the oldest segment that there is.
        start: Literal["current"] | int = "current" if cls.realtime else 0
        if hooks.relays and cls.passthrough:
            from livepeer.trickle import TrickleSubscriber

            source = request.subscribe_url and TrickleSubscriber(
                request.subscribe_url,
                start=start,
                on_gap="latest" if cls.realtime else "oldest",
                tls=self.tls,
            )
            sink = stream.channels.output()
            return RelayFlow(stream.status, source=source or None, sink=sink)
        passes: Literal["packets", "drop"] = (
            "packets" if cls.passthrough and request.publish_url else "drop"
        )
        reader = None
        if request.subscribe_url is not None:
            from livepeer.trickle.media import MediaSubscriber

            reader = MediaSubscriber(
                request.subscribe_url,
                policy="latest" if cls.realtime else "all",
                start=start,
                video="decode" if hooks.video else "drop" if hooks.generates else passes,
                audio="decode" if hooks.audio else passes,
                device="cuda" if cls.gpu else None,
                # Many streams use the cores anyway; helpers of each only wake up in vain.
                threads=1 if self.service.capacity > 1 else None,
                tls=self.tls,
            )
        return Flow(
            stream,
            hooks,
            source=reader,
            sink=Sink(cls, stream.channels.output()),
            batched=self._batched(stream) if self._batches is not None else None,
        )

    def _batched(self, stream: Stream) -> Call:
        async def call(frame: Any) -> list[Any]:
            assert self._batches is not None
            item = BatchItem(frame, stream.copy.params, stream.request.stream_id)
            entry = self._batches.submit(item)
            try:
                with stream.status.running.call("process_video_batch"):
                    made: list[Any] = await entry.future
            except JobTimeout as error:
                raise HookHung("process_video_batch took longer than hook_timeout") from error
            finally:
                if not entry.future.done():
                    entry.stop()
            return made

        return call

    def ended(self, session: Session) -> None:
        self.running.discard(session)
        if self.sessions.get(session.key) is session:
            del self.sessions[session.key]
        self.metrics.ended(session)
