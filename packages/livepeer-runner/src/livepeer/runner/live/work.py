"""`LiveWork`: a class's streams as work that an app can serve."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from starlette.routing import BaseRoute

from livepeer.runner.author.live_pipeline import LivePipeline
from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.errors import NotReady
from livepeer.runner.live import documents
from livepeer.runner.live.build import StreamBuilder
from livepeer.runner.live.flow import Before
from livepeer.runner.live.hooks import Hooks, is_async, listed
from livepeer.runner.live.metrics import StreamMetrics
from livepeer.runner.live.params import ParamsType
from livepeer.runner.live.request import (
    SESSION_CHANNELS,
    Allowed,
    ChannelUrls,
    StartRequest,
    channels_wanted,
    urls_in_body,
)
from livepeer.runner.live.routes import StreamCall, StreamRoutes
from livepeer.runner.live.session import Session
from livepeer.runner.live.sessions import Sessions
from livepeer.runner.live.shared import load_media
from livepeer.runner.running.gather import Gatherer
from livepeer.runner.running.service import Service
from livepeer.runner.running.slots import Slot
from livepeer.trickle.tls.pins import PinTrust
from livepeer.trickle.types import TLS

CUT_SECONDS = 10.0
LINGER_SECONDS = 1.0
"""Between the last byte of a channel and its end, for readers that are behind."""


class LiveWork:
    """The streams of one pipeline class, on one service."""

    kind = "live"

    def __init__(
        self, service: Service, cls: type[LivePipeline], *, linger: float = LINGER_SECONDS
    ) -> None:
        self.service = service
        self.cls = cls
        self.hooks = Hooks.of(cls)
        self.params = ParamsType.of(cls)
        self.tls = _tls(service)
        """Towards the channels."""
        self.sessions = Sessions(service.lifecycle.acquire)
        self._linger = linger
        self._builder: StreamBuilder | None = None
        self._batches: Gatherer | None = None
        StreamMetrics(service.metrics, self.sessions, self.hooks.names)

    def open(
        self,
        request: StartRequest,
        calling: ExitStack,
        slot: Slot | None = None,
        *,
        before: Before | None = None,
    ) -> Session:
        """Start a stream: see `StreamBuilder.open`. Raises `NotReady` too."""
        if self._builder is None:
            raise NotReady("the pipeline is not set up")
        return self._builder.open(request, calling, slot, before=before)

    def routes(self) -> Sequence[BaseRoute]:
        return StreamRoutes(
            self.service, self.sessions, self.params, channels=self._channels, open_stream=self.open
        ).routes()

    def schema(self) -> dict[str, Any]:
        return documents.schema(self.cls, self.hooks, self.params)

    def openapi(self) -> dict[str, Any]:
        return documents.openapi(self.cls, self.params)

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
        assert isinstance(pipeline, LivePipeline)
        service = self.service
        if not (self.hooks.relays and self.cls.passthrough):
            await service.threads.submit(load_media).future
        if is_async(pipeline.warm_up):
            await pipeline.warm_up()
        else:
            await service.threads.submit(pipeline.warm_up).future
        if "process_video_batch" in self.hooks:
            self._batches = Gatherer(
                pipeline.process_video_batch,  # type: ignore[attr-defined]
                listed,
                size=self.cls.max_batch_size,
                wait=self.cls.max_batch_wait_ms / 1000,
                timeout=self.cls.hook_timeout,
                threads=service.threads,
            )
            self._batches.start()
        self._builder = StreamBuilder(
            pipeline,
            self.hooks,
            self.params,
            self.sessions,
            threads=service.threads,
            batches=self._batches,
            tls=self.tls,
            linger=self._linger,
            alone=service.capacity == 1,
        )

    async def drain(self) -> None:
        """End every stream cleanly."""
        for session in list(self.sessions.running):
            session.end("the container is shutting down")

    async def cut(self) -> None:
        for limit in (CUT_SECONDS, 1.0):
            if running := list(self.sessions.running):
                for session in running:
                    session.cut()
                await asyncio.gather(*(session.wait(limit) for session in running))
        batches, self._batches = self._batches, None
        if batches is not None:
            await batches.aclose()

    @property
    def queued(self) -> int:
        return self.service.threads.queued

    async def _channels(
        self, call: StreamCall, content: dict[str, Any]
    ) -> tuple[ChannelUrls, dict[str, str]]:
        """The channels that a start's body names, at its orchestrator if we are registered; those
        of a live runner's session are opened here, and told its caller."""
        if call.caller is None:
            return urls_in_body(content, None), {}
        if not call.caller.session:
            hosts = self.service.settings.trickle_hosts
            return urls_in_body(content, Allowed.at(call.caller.url, hosts)), {}
        opened = await call.caller.open_channels(channels_wanted(content))
        assert opened is not None
        urls = {SESSION_CHANNELS[name].field: one.internal_url for name, one in opened.items()}
        return urls_in_body(urls, None), {name: one.url for name, one in opened.items()}


def _tls(service: Service) -> TLS:
    """As towards the orchestrators: the same pins, since it is the same server."""
    if service.registration is not None:
        return service.registration.tls
    mode = service.settings.tls
    return PinTrust(renew=True) if mode == "pin" else mode == "verify"
