"""A pipeline served in this process: started, set up, called, and ended."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.job import Job, ProgressSink, current_job
from livepeer.runner.running.lifecycle import State
from livepeer.runner.running.service import Service
from livepeer.runner.serving.kinds import make_service
from livepeer.runner.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from livepeer.runner.author.signature import Encoded, PredictSignature
    from livepeer.runner.batch.predictor import Predictor
    from livepeer.runner.local.stream import Frame, LiveResult, Source, Told
    from livepeer.runner.running.execution import Execution

CLOSE_SECONDS = 2.0
"""What a generator gets to close itself when its reader leaves."""
LINGER_SECONDS = 0.1
"""How long the channels of a live stream stay after their last byte: readers are on loopback."""


class SetupFailed(RuntimeError):
    """The pipeline cannot be served; `reason` says why, without the name of the class."""

    code = "setup_failed"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def serve(
    cls: type[PipelineBase],
    settings: Settings | None = None,
    *,
    http: bool = False,
    setup_timeout: float | None = None,
) -> Hosted:
    """A host of `cls`; `async with` starts it, waits until its setup is over, and ends it.

    `settings` default to the environment's, without its orchestrators. `http`: also behind a real
    server on a free port of the loopback, at `url`. `setup_timeout`: seconds; None: no limit.
    Raises `SignatureError` for a class that cannot be served, and, when entered, `SetupFailed`.
    """
    if settings is None:
        settings = dataclasses.replace(Settings.from_env(), registration=None)
    if not http:
        service = make_service(cls, settings, linger=LINGER_SECONDS)
        return Hosted(service, None, setup_timeout)
    from livepeer.runner.serving.app import make_app

    app = make_app(cls, settings)
    return Hosted(app.state.service, app, setup_timeout)


async def settled(service: Service, timeout: float | None = None) -> None:
    """Until setup is over. Raises `SetupFailed` where it failed, or took over `timeout` seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await service.lifecycle.wait_settled()
    check_settled(service, timeout)


def check_settled(service: Service, timeout: float | None) -> None:
    """Raises `SetupFailed` where setup failed, or is not over after the `timeout` seconds."""
    name, lifecycle = service.cls.__name__, service.lifecycle
    if lifecycle.state is State.LOADING:
        late = f"setup took longer than {timeout:g} s"
        raise SetupFailed(f"{name}.{late}", late)
    if lifecycle.state is State.ERROR:
        reason = lifecycle.detail or "setup failed"
        raise SetupFailed(f"{name} cannot be served: {reason}", reason)


class Hosted:
    """One pipeline in this process. Single use, as `async with`; see `serve`.

    `predict` and `events` are for a batch class, `run_live` is for a live one. Calls take no slot
    and have no timeout: those belong to a pipeline that is served to others.
    """

    url = ""
    """Where it listens, with `http`."""

    def __init__(
        self, service: Service, app: Starlette | None, setup_timeout: float | None
    ) -> None:
        self.service = service
        self._app = app
        self._setup_timeout = setup_timeout
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Hosted:
        async with AsyncExitStack() as stack:
            if self._app is not None:
                from livepeer.runner.local.http import listening

                self.url = await stack.enter_async_context(listening(self._app))
            else:
                stack.push_async_callback(self.service.aclose)
                await self.service.start()
            await settled(self.service, self._setup_timeout)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def signature(self) -> PredictSignature:
        """What a batch class takes and gives; known before it is set up."""
        return self._predictor.signature

    async def fetched(self, input: BaseModel) -> BaseModel:
        """The validated input, once the files that it names by URL are here.

        From private addresses too: the machine and the URLs are those of one author. Raises
        `FetchError`.
        """
        from livepeer.runner.author import fetch

        limits = self.service.settings.limits
        await fetch.resolve(
            input, max_bytes=limits.max_file, timeout=limits.fetch_timeout, allow_private=True
        )
        return input

    async def predict(
        self,
        input: BaseModel | Mapping[str, Any],
        *,
        on_progress: ProgressSink | None = None,
    ) -> Encoded:
        """One call of a batch class: the body of its answer, and its media type.

        A mapping is validated, and its files are fetched; a model is taken as it is. Raises
        `pydantic.ValidationError`, `FetchError`, and what `predict` raises.
        """
        if not isinstance(input, BaseModel):
            input = await self.fetched(self.signature.validate(input))
        execution = _as_job(on_progress, self._predictor.execute, input)
        try:
            encoded: Encoded = await execution.future
        finally:
            if not execution.future.done():
                execution.stop()
        return encoded

    async def events(
        self,
        input: BaseModel | Mapping[str, Any],
        *,
        on_progress: ProgressSink | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """The events of a batch class whose `predict` is a generator, each as JSON, as they come.

        Close it (`contextlib.aclosing`), so that the generator is closed too. Raises as `predict`.
        """
        from livepeer.runner.batch.buffer import EventBuffer

        if not isinstance(input, BaseModel):
            input = await self.fetched(self.signature.validate(input))
        buffer, encode = EventBuffer(), self._predictor.encode_event
        execution = _as_job(
            on_progress, self._predictor.produce, input, lambda item: encode(item) + b"\n", buffer
        )
        try:
            while chunk := await buffer.get():
                for event in chunk.split(b"\n")[:-1]:
                    yield event
            await execution.future
        finally:
            if not execution.future.done():
                buffer.close()
                execution.stop()
                # Its `finally` blocks run at its next event.
                await asyncio.wait((execution.future,), timeout=CLOSE_SECONDS)

    async def run_live(
        self,
        source: Source | None = None,
        *,
        params: dict[str, Any] | None = None,
        updates: Told = (),
        messages: Told = (),
        speed: float | None = None,
        seconds: float | None = None,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> LiveResult:
        """One stream of a live class on a clip or on frames; see `local.live.run_live`.

        The class is run as it is: one with `realtime` drops what it cannot keep up with.
        """
        from livepeer.runner.live.work import LiveWork
        from livepeer.runner.local.stream import run_stream

        assert isinstance(self.service.work, LiveWork)
        return await run_stream(
            self.service.work,
            source,
            params=params,
            updates=updates,
            messages=messages,
            speed=speed,
            seconds=seconds,
            on_frame=on_frame,
        )

    @property
    def _predictor(self) -> Predictor:
        from livepeer.runner.batch.work import BatchWork

        assert isinstance(self.service.work, BatchWork)
        return self.service.work.predictor


def _as_job(
    on_progress: ProgressSink | None, begin: Callable[..., Execution], *arguments: Any
) -> Execution:
    """Begin the execution of a job of its own: what it logs and reports is told of that one."""
    context = copy_context()
    context.run(current_job.set, Job("predict", on_progress=on_progress))
    return context.run(begin, *arguments)
