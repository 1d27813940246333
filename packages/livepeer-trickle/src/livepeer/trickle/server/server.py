"""The trickle server as an object: a listener or an application in front, the channels behind it,
and the sweep that ends idle ones."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from livepeer.trickle.protocol import wire
from livepeer.trickle.server.channel import Channel
from livepeer.trickle.server.handlers import Authorize, TrickleHandler
from livepeer.trickle.server.limits import ServerLimits
from livepeer.trickle.server.listener import Listener
from livepeer.trickle.server.registry import Registry
from livepeer.trickle.server.site import Site

logger = logging.getLogger(__name__)

GRACE: Final = 5.0
"""Seconds that requests get to finish once their channels have ended, before and after aiohttp
asks them to (so it is given half of it)."""

IDLE_CONNECTION: Final = 120.0
"""Seconds that a connection may have no request; longer than clients keep them (Go: 90 s)."""


class TrickleServer:
    """A trickle server inside this program.

    ::

        async with TrickleServer(port=0) as server:
            camera = server.create("camera", "video/MP2T")
            print(server.channel_url("camera"))
            await camera.write(segment)

    It listens by itself as an async context manager, or answers below `base_path` in an aiohttp
    application (`server.mount(app)`). Defaults of the times are go-livepeer's.

    - `host`: address to listen on. Others than loopback need `authorize`, or a trusted network.
    - `port`: 0 takes a free one; `url` tells it.
    - `base_path`: path of the channels, such as `/ai/trickle`.
    - `autocreate`: a POST makes a missing channel. An orchestrator says no.
    - `changefeed`: announce channels that come and go in the channel `_changes`.
    - `idle_timeout`: seconds without a byte after which a channel is ended.
    - `sweep_interval`: seconds between two looks for idle channels.
    - `limits`: bounds on memory and waits.
    - `authorize`: asked before each request, see `Access`; without it every client may do all.
    - `ssl_context`: serve TLS.
    - `cors`: origins whose pages may read the answers, or `"*"`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        base_path: str = "/",
        autocreate: bool = True,
        changefeed: bool = False,
        idle_timeout: float = wire.DEFAULT_IDLE_TIMEOUT,
        sweep_interval: float = wire.DEFAULT_SWEEP_INTERVAL,
        limits: ServerLimits | None = None,
        authorize: Authorize | None = None,
        ssl_context: ssl.SSLContext | None = None,
        cors: str | Collection[str] | None = None,
    ) -> None:
        if not base_path.startswith("/"):
            raise ValueError(f"base_path begins with a slash, {base_path!r} does not")
        if not (idle_timeout > 0 and sweep_interval > 0):
            raise ValueError("idle_timeout and sweep_interval must be above 0 seconds")
        self._host = host
        self._port = port
        self._base_path = base_path.rstrip("/")
        self._sweep_interval = sweep_interval
        self._ssl = ssl_context
        self._registry = Registry(changefeed=changefeed, idle_timeout=idle_timeout, limits=limits)
        self._handler = TrickleHandler(
            self._registry,
            base_path=self._base_path or "/",
            autocreate=autocreate,
            authorize=authorize,
            cors=cors,
        )
        self._listener: Listener | None = None
        self._runner: web.ServerRunner | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._url: str | None = None

    # --- channels --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the channels are, without a trailing slash."""
        if self._url is None:
            raise RuntimeError("the server has no URL before it listens: `async with server: ...`")
        return self._url

    @property
    def channels(self) -> list[Channel]:
        """The channels of this moment."""
        return list(self._registry)

    def channel_url(self, name: str) -> str:
        """The URL of a channel, whether it exists or not."""
        return wire.channel_url(self.url, name)

    def create(self, name: str, mime_type: str = wire.DEFAULT_MIME_TYPE) -> Channel:
        """Make a channel, or return the one of that name (its type stays).

        Raises LimitExceeded, and ValueError for a name that no URL can carry.
        """
        return self._registry.create(name, mime_type)

    def get(self, name: str) -> Channel | None:
        """The channel of that name, or None."""
        return self._registry.get(name)

    async def close_channel(self, name: str) -> bool:
        """End a channel and let its readers know; False if there is none."""
        closed = self._registry.close(name)
        await asyncio.sleep(0)
        return closed

    async def close_channels(self) -> None:
        """End every channel; the server goes on answering."""
        self._registry.close_all()
        await asyncio.sleep(0)

    # --- a listener of its own -------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises OSError where the address can't be had."""
        if self._runner is not None:
            raise RuntimeError("the server is listening already")
        listener = Listener(
            self._handler,
            most=self._registry.limits.connections,
            handler_cancellation=True,  # a reader that leaves must not wait on for its first byte
            access_log=None,
            keepalive_timeout=IDLE_CONNECTION,
            auto_decompress=False,  # a segment's bytes are nobody's but its readers'
        )
        runner = web.ServerRunner(listener, handle_signals=False, shutdown_timeout=GRACE / 2)
        await runner.setup()
        try:
            site = Site(
                runner,
                ssl_context=self._ssl,
                host=self._host,
                port=self._port,
                reuse_address=True,
            )
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._listener = listener
        self._port = runner.addresses[0][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        scheme = "https" if self._ssl is not None else "http"
        self._url = f"{scheme}://{host}:{self._port}{self._base_path}"
        self._start_sweeping()

    async def aclose(self) -> None:
        """Stop: no new connection, every channel ends, requests get a moment to finish."""
        runner, self._runner = self._runner, None
        async with AsyncExitStack() as stack:  # each is done, also by one cancelled at another
            if runner is not None and self._listener is not None:
                stack.push_async_callback(self._listener.abort)
                stack.push_async_callback(runner.cleanup)
                stack.callback(self._listener.interrupt)
            stack.push_async_callback(self.close_channels)
            for site in runner.sites if runner is not None else ():
                stack.push_async_callback(site.stop)
            await self._stop_sweeping()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- in an application -----------------------------------------------------------------------

    def routes(self) -> list[web.RouteDef]:
        """Routes of an aiohttp application that lead here. `mount` also keeps the lifetime."""
        path = self._base_path + "/{trickle:.*}"
        # A refused POST gets its answer without a 100 before: the handler sends those itself.
        return [web.route("*", path, self._handler.__call__, expect_handler=_no_continue)]

    def mount(self, app: web.Application, *, url: str) -> None:
        """Answer below `base_path` in `app`, and start and stop with it.

        `url` is the application's own, such as `https://127.0.0.1:8935`: `channel_url` needs it.
        The application must leave bodies as they are (`AppRunner(app, auto_decompress=False)`).
        """
        self._url = url.rstrip("/") + self._base_path
        app.add_routes(self.routes())
        app.cleanup_ctx.append(self._lifetime)
        # Before the application waits for its requests: those of trickle end with their channels.
        app.on_shutdown.append(self._shut_down)

    async def _lifetime(self, app: web.Application) -> AsyncIterator[None]:
        self._start_sweeping()
        yield
        await self.aclose()

    async def _shut_down(self, app: web.Application) -> None:
        await self.close_channels()

    # --- the sweep -------------------------------------------------------------------------------

    def _start_sweeping(self) -> None:
        self._sweeping = asyncio.create_task(self._sweep(), name="trickle-sweep")

    async def _stop_sweeping(self) -> None:
        task, self._sweeping = self._sweeping, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_interval)
            for name in self._registry.sweep():
                logger.info("channel %r was idle, and is ended", name)


async def _no_continue(request: web.Request) -> None:
    return None
