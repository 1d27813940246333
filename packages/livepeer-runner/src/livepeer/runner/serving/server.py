"""`serve`: a pipeline class as a process that an orchestrator, a platform and Ctrl-C understand.

The port is bound at once. SIGTERM (or Ctrl-C) drains: new work is refused, running jobs get
`LIVEPEER_DRAIN_TIMEOUT` seconds, the exit status is 0. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import faulthandler
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette

from livepeer.runner import logs
from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.exceptions import SettingsError, SignatureError
from livepeer.runner.http import connection
from livepeer.runner.http.asgi import App
from livepeer.runner.running.service import Service
from livepeer.runner.serving.app import make_app
from livepeer.runner.serving.listener import bind
from livepeer.runner.settings import Settings

logger = logging.getLogger(__name__)

# An orchestrator keeps idle connections for 60 s (go-livepeer: Go's HTTP client), and takes one
# that we closed under its request for a dead container, which it drops.
KEEP_ALIVE_SECONDS = 75
# After the drain, for answers that are still on their way out.
LINGER_SECONDS = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(cls: type[PipelineBase], settings: Settings | None = None) -> None:
    """Serve `cls` until SIGTERM or Ctrl-C; then return. With `PREPARE_MODELS=1`, run
    `prepare_models()` and return instead.

    Ends the process with status 1 and one line on stderr where the class cannot be served, the
    environment is wrong, or the port is taken.
    """
    settings = configure(settings)
    if settings.prepare_models:
        prepare(cls, settings)
        return
    try:
        bound = bind(settings.host, settings.port)
    except OSError as error:
        sys.exit(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
            f"set PORT or HOST"
        )
    serve_on(bound, cls, settings)


def configure(settings: Settings | None = None) -> Settings:
    """The settings, of the environment where none are given, and the log as they want it."""
    try:
        settings = settings if settings is not None else Settings.from_env()
    except SettingsError as error:
        sys.exit("\n".join(error.problems))
    logs.configure(settings.log_format, settings.log_level)
    with suppress(OSError, ValueError):  # where stderr is no file
        faulthandler.enable()
    return settings


def serve_on(
    bound: socket.socket,
    cls: type[PipelineBase],
    settings: Settings,
    made: Callable[[Starlette], App] = lambda app: app,
) -> None:
    """As `serve`, on a listening socket, which is closed at the end. `made` is handed the app and
    answers the one to serve."""
    with bound as listener:
        host, port = listener.getsockname()[:2]
        try:
            app = make_app(cls, dataclasses.replace(settings, port=port))
        except (SettingsError, SignatureError) as error:
            sys.exit(str(error))
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        logger.info(
            "%s %s serves on http://%s:%d (docs at /docs)%s",
            cls.pipeline_id,
            cls.version,
            f"[{shown}]" if ":" in shown else shown,
            port,
            "" if shown == host else f", and on every other address of this machine (HOST={host})",
        )
        if os.getpid() == 1:
            logger.info("this is process 1: orphans are reaped by `livepeer serve`, or --init")
        service: Service = app.state.service
        service.has_the_process()
        for note in service.work.notes():
            logger.warning("%s", note)
        config = server_config(app, made(app))
        run(_until_stopped(uvicorn_server(config), service, listener), config)


def prepare(cls: type[PipelineBase], settings: Settings) -> None:
    """Run the class's `prepare_models()`; the directory for the weights exists then."""
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    logger.info("%s prepares its models in %s", cls.pipeline_id, settings.model_dir)
    cls.prepare_models()


def server_config(app: Starlette, served: App | None = None) -> uvicorn.Config:
    """uvicorn as orchestrators need it, with bounds on what comes before the app; uvloop where it
    is installed. `served`: what stands around the app."""
    service: Service = app.state.service
    return uvicorn.Config(
        served or app,
        http=connection.limited(service.capacity),
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LINGER_SECONDS,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
    )


class _Server(uvicorn.Server):
    """Without signal handlers of its own: they would end the process by the signal, not with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        kind = self.config.http_protocol_class
        if issubclass(kind, connection.BoundedConnection):
            kind.leaving = True  # also for one that is accepted at this very moment
        await super().shutdown(sockets)


def run(main: Coroutine[Any, Any, None], config: uvicorn.Config) -> None:
    """As `asyncio.run`, on a loop of the server's kind.

    What an author's code left on it has a moment to end: a task that resists its cancellation would
    keep the process for ever.
    """
    loop = (config.get_loop_factory() or asyncio.new_event_loop)()
    asyncio.set_event_loop(loop)
    try:
        try:
            loop.run_until_complete(main)
        finally:
            loop.run_until_complete(_end_what_is_left(loop))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _end_what_is_left(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    left.add(asyncio.create_task(loop.shutdown_asyncgens()))
    _, resisting = await asyncio.wait(left, timeout=LINGER_SECONDS)
    for task in resisting:
        logger.error("task %r resists its cancellation: left behind", task.get_name())


def uvicorn_server(config: uvicorn.Config) -> uvicorn.Server:
    return _Server(config)


async def _until_stopped(server: uvicorn.Server, service: Service, listener: socket.socket) -> None:
    stop = asyncio.Event()
    with _signals(stop):
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="server")
        stopping = asyncio.create_task(stop.wait(), name="signals")
        try:
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done() and not service.succeeded:
                logger.info("stopping: no new work, what runs may finish")
                # Still listening, so that what arrives late hears 503 and not a refused connection,
                # for which an orchestrator drops the capability. (A successor listens by itself:
                # then what was accepted is answered, and the app's end drains.)
                await service.drain()
        finally:
            stopping.cancel()
            server.should_exit = True
            await serving
    logger.info("stopped")


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first signal sets `stop`, the second ends the process there and then."""
    loop = asyncio.get_running_loop()

    def caught(number: int) -> None:
        if stop.is_set():
            logger.warning("stopped at once by a second signal")
            logging.shutdown()
            os._exit(128 + number)
        stop.set()

    previous = {
        number: signal.signal(number, lambda given, frame: loop.call_soon_threadsafe(caught, given))
        for number in SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
