"""The local gateway itself: composes its parts and owns their lifetime."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Sequence
from types import TracebackType

from aiohttp import web

from livepeer.runner.devnet import listener
from livepeer.runner.devnet.gateway.jobs import GatewayJobs
from livepeer.runner.devnet.gateway.orders import OffchainWallet
from livepeer.runner.devnet.gateway.search import Orchestrators
from livepeer.runner.devnet.gateway.streams import GatewayStreams
from livepeer.runner.devnet.go_http import Handler, error, redirect, reply
from livepeer.runner.devnet.upstream import UpstreamClient
from livepeer.runner.devnet.urls import clean_path

logger = logging.getLogger(__name__)

_JOBS = "/process/request/"
_STREAMS = "/process/stream/"


class LocalGateway:
    """A gateway of a local network, in front of orchestrators such as `LocalOrchestrator`.

    Speaks what a go-livepeer gateway with a wallet speaks for free capabilities, with its traps:
    200 without a body when every orchestrator failed, a stream job for each of them, a stream start
    that is 200 before anybody was asked. Its signatures are none (see `OffchainWallet`). It takes
    no video in or out: `whip` and `rtmp` are not served. For development and tests on one machine;
    the certificates of orchestrators are not looked at.

    - `orchestrators`: their URLs, without a slash at the end.
    - `host`: address to listen on; anything but loopback lets others use it without credentials.
    - `port`: 0 takes a free one.

    Example:
        ```python
        async with LocalOrchestrator() as orchestrator:
            async with LocalGateway([orchestrator.url]) as gateway:
                print(gateway.url)
        ```
    """

    def __init__(
        self, orchestrators: Sequence[str], *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._known = tuple(orchestrators)
        self._host, self._port = host, port
        self._address = ""
        self._stack = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        return f"LocalGateway(url={self._address or 'not started'!r})"

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:8937`; without a slash at the end."""
        if not self._address:
            raise RuntimeError("the gateway has not been started: use `async with`")
        return self._address

    async def __aenter__(self) -> LocalGateway:
        async with self._stack as stack:
            upstream = await stack.enter_async_context(UpstreamClient())
            orchestrators = Orchestrators(self._known, OffchainWallet(), upstream)
            listening = socket.create_server((self._host, self._port))
            stack.callback(listening.close)
            host = f"[{self._host}]" if ":" in self._host else self._host
            authority = f"{host}:{listening.getsockname()[1]}"
            streams = GatewayStreams(orchestrators, authority)
            stack.push_async_callback(streams.aclose)
            app = listener.application()
            listener.handle(app, _GatewayRoutes(GatewayJobs(orchestrators), streams))
            await stack.enter_async_context(listener.serve(app, listening))
            self._stack, self._address = stack.pop_all(), f"http://{authority}"
        logger.info("local gateway listens on %s", self._address)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        self._address = ""


class _GatewayRoutes:
    """Leads a request to jobs or streams."""

    def __init__(self, jobs: GatewayJobs, streams: GatewayStreams) -> None:
        self._jobs = jobs
        self._streams = streams

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        cleaned = clean_path(path)
        if cleaned == _JOBS.rstrip("/"):
            cleaned = _JOBS
        if cleaned != path:
            return redirect(request, cleaned)
        if path.startswith(_JOBS):
            return await self._jobs.run(request)
        if path.startswith(_STREAMS):
            return await self._stream_route(request, path.removeprefix(_STREAMS))
        return error(404, "404 page not found")

    async def _stream_route(self, request: web.Request, path: str) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return reply(204)
        if path == "start":
            return await self._only("POST", request, self._streams.start)
        match path.split("/"):
            case [_, "update"]:
                return await self._only("POST", request, self._streams.update)
            case [_, "stop"]:
                return await self._only("POST", request, self._streams.stop)
            case [_, "rtmp"]:
                return await self._only("POST", request, self._streams.rtmp)
            case [_, "status"]:
                return await self._only("GET", request, self._streams.status)
            case [_, "data"]:
                return await self._only("GET", request, self._streams.data)
        return error(405, "Method Not Allowed", {"Allow": "OPTIONS"})

    async def _only(
        self, method: str, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if request.method == method:
            return await handler(request)
        allowed = "GET, HEAD, OPTIONS" if method == "GET" else "OPTIONS, POST"
        return error(405, "Method Not Allowed", {"Allow": allowed})
