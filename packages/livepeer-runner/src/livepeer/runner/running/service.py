"""One served pipeline: its instance, its work, and everything that lives as long as it serves."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from importlib import metadata
from typing import TYPE_CHECKING, Any

from livepeer.runner import logs
from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.http.asgi import Scope
from livepeer.runner.metrics import Metrics
from livepeer.runner.running import garbage
from livepeer.runner.running.admission import Admission
from livepeer.runner.running.lifecycle import Lifecycle
from livepeer.runner.running.threads import WorkerThreads
from livepeer.runner.running.watchdog import Watchdog
from livepeer.runner.running.work import Work
from livepeer.runner.settings import Settings

if TYPE_CHECKING:
    from livepeer.runner.attach.callers import Caller
    from livepeer.runner.registration import Registration

logger = logging.getLogger(__name__)

TEARDOWN_SECONDS = 10.0
# Longer than a registration takes for it; one that hangs must not keep the process.
UNREGISTER_SECONDS = 15.0


class Service:
    """Starts a pipeline, keeps its state, and stops it. Single use: `start`, `drain`, `aclose`.

    `make_work` makes the work (batch or live) that stands on this service.
    """

    def __init__(
        self,
        cls: type[PipelineBase],
        settings: Settings,
        make_work: Callable[[Service], Work],
    ) -> None:
        self.cls = cls
        self.settings = settings
        self.capacity = settings.capacity or cls.capacity
        size, wait = settings.queue_size, settings.queue_timeout
        size = cls.queue_size if size is None else size
        wait = cls.queue_timeout if wait is None else wait
        self.lifecycle = Lifecycle(
            self.capacity,
            queue_size=size if wait else 0,
            lost_threads=lambda: self.threads.abandoned,
        )
        self.metrics = Metrics()
        self.admission = Admission(self.lifecycle, self.metrics, seconds=wait)
        threads = self.capacity if cls.thread_safe else 1
        self.threads = WorkerThreads(threads, cls.pipeline_id)
        self.registration = self._registration()
        self._leaving = asyncio.Event()
        self._attached: asyncio.Task[None] | None = None
        self.pipeline: PipelineBase | None = None
        """The shared instance; None until `setup` has returned."""
        self._alone = False
        self._was_ready = False
        self._drained = False
        self.succeeded = False
        """Whether another process serves in this one's place, see `hand_over`."""
        self._loading: asyncio.Task[None] | None = None
        self._watchdog = Watchdog(cls, self.metrics.blocked_seconds.inc)
        self.work = make_work(self)
        self._add_gauges()

    def _add_gauges(self) -> None:
        gauge, slots = self.metrics.gauge, self.lifecycle.slots
        gauge("livepeer_in_flight", "Slots that are taken.", lambda: slots.taken)
        gauge("livepeer_capacity", "Slots that there are.", lambda: slots.capacity)
        gauge("livepeer_waiting", "Calls that wait for a slot.", lambda: slots.waiting)
        gauge("livepeer_queue", "Jobs with a slot that wait their turn.", lambda: self.work.queued)
        gauge(
            "livepeer_abandoned_threads",
            "Threads given up because their job overran its timeout.",
            lambda: self.threads.abandoned,
        )
        wanted = self.settings.registration
        if wanted is not None and wanted.kind in ("byoc", "both"):
            second = wanted.price_per_unit / wanted.price_scaling
            self.metrics.advertise("byoc", "second", wanted.currency.lower(), second)
        if wanted is not None and wanted.kind in ("live-runner", "both"):
            unit = wanted.app_price_unit
            self.metrics.advertise("live-runner", unit, "usd", wanted.app_price)

    def caller(self, scope: Scope) -> AbstractContextManager[Caller | None]:
        """Hold while answering a request on an orchestrator-facing route.

        Where we are registered, only orchestrators may call, and what of theirs runs is counted.
        Raises `Unauthorized`.
        """
        if self.registration is None:
            return nullcontext()
        return self.registration.admit(scope).working()

    def has_the_process(self) -> None:
        """Nothing but this service lives in the process: what is there when it is ready stays.

        To be called before `start`. In a process of somebody else's that would be for him to say.
        """
        self._alone = True

    async def start(self) -> None:
        """Return at once; setup goes on behind, so that the port answers while it runs."""
        loop = asyncio.get_running_loop()
        self._watchdog.start()
        self._loading = loop.create_task(self._load(), name="setup")
        if self.registration is not None:
            self._attached = loop.create_task(self._attach(self.registration), name="registration")

    def hand_over(self) -> None:
        """Another process serves here, with the same identity: end without unregistering."""
        self.succeeded = True
        if self.registration is not None:
            self.registration.hand_over()

    async def drain(self) -> None:
        """Be sent no new work and refuse it, give what runs `drain_timeout` seconds to finish,
        and leave the orchestrators. Once."""
        if self._drained:
            return
        self._drained = True
        self.lifecycle.drain()
        await self._be_sent_nothing()
        await self.work.drain()
        limit = self.settings.limits.drain_timeout
        try:
            async with asyncio.timeout(limit):
                await self.lifecycle.wait_empty()
        except TimeoutError:
            logger.warning(
                "%d jobs still run %.0f s after the stop was asked for: they are cut off",
                self.lifecycle.slots.taken,
                limit,
            )
            await self.work.cut()
        await self._detach()

    async def aclose(self) -> None:
        """After `drain`: stop loading, tear the pipeline down, end the threads."""
        self.lifecycle.drain()
        async with AsyncExitStack() as stack:  # each, also where it is cancelled at another
            stack.callback(self._watchdog.stop)
            stack.callback(self.threads.close)
            stack.push_async_callback(self._tear_down)
            stack.push_async_callback(self.work.cut)
            stack.push_async_callback(self._detach)  # where the drain did not come to it
            if self._loading is not None:
                self._loading.cancel()
                await asyncio.wait((self._loading,))

    async def _tear_down(self) -> None:
        if self.pipeline is not None:
            self.threads.abandon_running()
            try:
                async with asyncio.timeout(TEARDOWN_SECONDS):
                    await self._call(self.pipeline.teardown)
            except TimeoutError:
                logger.error("teardown took longer than %.0f s: left behind", TEARDOWN_SECONDS)
            except (Exception, SystemExit) as error:
                logger.error("teardown raised", exc_info=logs.authors(error))

    def _registration(self) -> Registration | None:
        if self.settings.registration is None:
            return None
        from livepeer.runner.author.live_pipeline import LivePipeline
        from livepeer.runner.registration import Registration

        cls = self.cls
        return Registration.from_settings(
            self.settings,
            name=cls.pipeline_id,
            capacity=self.capacity,
            description=cls.description,
            version=cls.version,
            mode="persistent" if issubclass(cls, LivePipeline) else "single-shot",
            metadata=self._metadata,
            secret_path=True,
        )

    def _metadata(self) -> dict[str, str]:
        """What the public is told of a live runner, the most important first."""
        schema = self.work.schema()
        kind = (
            "live" if self.work.kind == "live" else "stream" if schema["streaming"] else "request"
        )
        told = {
            "sdk": f"livepeer-runner/{metadata.version('livepeer-runner')}",
            "protocol": schema["protocol"],
            "type": "stream" if schema.get("streaming") else kind,
            "schema_url": "./schema",
            "schema_sha256": hashlib.sha256(
                json.dumps(schema, ensure_ascii=False).encode()
            ).hexdigest(),
        }
        image = self.settings.registration and self.settings.registration.image
        return told | ({"image": image} if image else {})

    async def _attach(self, registration: Registration) -> None:
        """Registered from when it is ready until it drains."""
        await self.lifecycle.wait_ready()
        if self._drained:
            return
        try:
            async with registration:
                await self._leaving.wait()
        except Exception:
            logger.exception("the registration has stopped; the pipeline goes on serving")

    async def _be_sent_nothing(self) -> None:
        if self.registration is None:
            return
        try:
            async with asyncio.timeout(UNREGISTER_SECONDS):
                await self.registration.drain()
        except TimeoutError:
            logger.error("unregistering took longer than %.0f s: left behind", UNREGISTER_SECONDS)

    async def _detach(self) -> None:
        self._leaving.set()
        task, self._attached = self._attached, None
        if task is None:
            return
        if not self._was_ready:
            task.cancel()
        try:
            _, late = await asyncio.wait((task,), timeout=UNREGISTER_SECONDS)
        except BaseException:
            task.cancel()
            raise
        if late:
            logger.error("leaving the orchestrators takes longer than %.0f s", UNREGISTER_SECONDS)
            task.cancel()

    async def _load(self) -> None:
        started = time.monotonic()
        try:
            pipeline = await self.threads.submit(self._make).future
            await self._call(pipeline.setup)
            self.pipeline = pipeline
            await self.work.start(pipeline)
            if self._alone:
                garbage.settle()
        except (Exception, SystemExit) as error:
            # Its text is for the log only: anybody may read `/health`, and a library's error may
            # hold the token or the URL that it was given.
            name = type(error).__name__
            hint = ""
            if _prepares_models(self.cls):
                hint = ". If its models are missing, run `livepeer prepare`"
            detail = f"setup raised {name}: {error}{hint}"
            logger.error("%s: %s", self.cls.pipeline_id, detail, exc_info=logs.authors(error))
            self.lifecycle.fail(f"setup raised {name}, the log says more{hint}", detail)
            return
        seconds = time.monotonic() - started
        self.metrics.setup_seconds.set(seconds)
        self._was_ready = True
        self.lifecycle.loaded()
        logger.info("%s is ready after %.2f s", self.cls.pipeline_id, seconds)

    def _make(self) -> PipelineBase:
        pipeline = self.cls()
        pipeline.__dict__.setdefault("model_dir", self.settings.model_dir)
        return pipeline

    async def _call(self, hook: Callable[[], Any]) -> None:
        """Run a hook where the pipeline's other code runs: sync ones in its thread."""
        if inspect.iscoroutinefunction(hook):
            await hook()
        else:
            await self.threads.submit(hook).future


def _prepares_models(cls: type[PipelineBase]) -> bool:
    own = inspect.getattr_static(cls, "prepare_models")
    return own is not inspect.getattr_static(PipelineBase, "prepare_models")
