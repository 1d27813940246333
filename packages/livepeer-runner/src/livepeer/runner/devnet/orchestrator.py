"""The local orchestrator itself: composes its parts and owns their lifetime."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
from types import TracebackType

from aiohttp import web

from livepeer.runner.devnet import go_json, listener
from livepeer.runner.devnet.byoc.capabilities import Capabilities, PriceFeedMissing
from livepeer.runner.devnet.byoc.jobs import PREFIX, Jobs
from livepeer.runner.devnet.byoc.streams import TRICKLE_PATH, Streams
from livepeer.runner.devnet.certificate import server_context
from livepeer.runner.devnet.go_http import error, expects_continue, read_body, reply
from livepeer.runner.devnet.listener import DropConnection
from livepeer.runner.devnet.upstream import UpstreamClient
from livepeer.runner.devnet.urls import clean_path
from livepeer.trickle.server import TrickleServer

logger = logging.getLogger(__name__)

_JSON = {"Content-Type": "application/json"}


class LocalOrchestrator:
    """An orchestrator of a local network: free BYOC capabilities, no chain, nothing kept.

    Speaks what an offchain go-livepeer orchestrator speaks, with its traps: capacity is counted
    but not enforced, places leak, a 401 or a dead connection drops a capability. For development
    and tests on one machine.

    Args:
        host: Address to listen on; anything but loopback lets others use it without credentials.
        port: 0 takes a free one.
        secret: What `POST /capability/register` has to show; random unless given.
        tls: Serve HTTPS, with a self-signed certificate made at each start.
        idle_timeout: Seconds without a segment after which a trickle channel is swept.
        sweep_interval: Seconds between two looks for such channels.

    Example:
        ```python
        async with LocalOrchestrator() as orchestrator:
            print(orchestrator.url, orchestrator.secret)
        ```
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        secret: str | None = None,
        tls: bool = True,
        idle_timeout: float = 300.0,
        sweep_interval: float = 60.0,
    ) -> None:
        self.capabilities = Capabilities()
        self.secret = secrets.token_urlsafe(24) if secret is None else secret
        self._host, self._port, self._tls = host, port, tls
        self._trickle = TrickleServer(
            base_path=TRICKLE_PATH,
            autocreate=False,
            idle_timeout=idle_timeout,
            sweep_interval=sweep_interval,
        )
        self._address = ""
        self._jobs: Jobs | None = None
        self._streams: Streams | None = None
        self._stack = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        return f"LocalOrchestrator(url={self._address or 'not started'!r})"

    @property
    def url(self) -> str:
        """Where it listens, such as `https://127.0.0.1:8935`; without a slash at the end."""
        if not self._address:
            raise RuntimeError("the orchestrator has not been started: use `async with`")
        return self._address

    @property
    def trickle(self) -> TrickleServer:
        """The channels of the streams; they are below `/ai/trickle/` of `url`."""
        return self._trickle

    async def __aenter__(self) -> LocalOrchestrator:
        async with self._stack as stack:
            containers = await stack.enter_async_context(UpstreamClient())
            listening = socket.create_server((self._host, self._port))
            stack.callback(listening.close)
            host = f"[{self._host}]" if ":" in self._host else self._host
            scheme = "https" if self._tls else "http"
            address = f"{scheme}://{host}:{listening.getsockname()[1]}"
            # A start forgets all, like a restart of the real one.
            self.capabilities = Capabilities()
            self._jobs = Jobs(self.capabilities, containers)
            self._streams = Streams(self.capabilities, containers, self._trickle, address)
            stack.push_async_callback(self._streams.aclose)
            app = listener.application()
            self._trickle.mount(app, url=address)
            listener.handle(app, self._dispatch)
            context = server_context(self._host) if self._tls else None
            await stack.enter_async_context(listener.serve(app, listening, context))
            self._stack, self._address = stack.pop_all(), address
        logger.info("local orchestrator listens on %s", self._address)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        self._address = ""

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        response = await self._route(request)
        if expects_continue(request) and response.status >= 400:
            response.force_close()
        return response

    async def _route(self, request: web.Request) -> web.StreamResponse:
        assert self._jobs is not None
        assert self._streams is not None
        path = request.raw_path.partition("?")[0]
        cleaned = clean_path(path)
        if cleaned == PREFIX.rstrip("/"):
            cleaned = PREFIX
        if cleaned != path:
            return reply(307, headers={"Location": cleaned})
        if path.startswith(PREFIX):
            return await self._jobs.run(request)
        match path:
            case "/process/token":
                return await self._jobs.token(request, self.url)
            case "/capability/register":
                return await self._register(request)
            case "/capability/unregister":
                return await self._unregister(request)
            case "/ai/stream/start":
                return await self._streams.start(request)
            case "/ai/stream/update":
                return await self._streams.update(request)
            case "/ai/stream/stop":
                return await self._streams.stop(request)
            case "/ai/stream/payment":
                return await self._streams.payment(request)
        return error(404, "404 page not found")

    async def _register(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            capability = self.capabilities.register(await read_body(request))
        except go_json.GoJSONError as bad:
            return reply(400, f"Error registering capability: {bad}".encode(), _JSON)
        except PriceFeedMissing as currency:
            logger.warning("no price feed for %s: the connection is dropped", currency)
            raise DropConnection from None
        logger.info("registered capability %s at %s", capability.name, capability.url)
        return reply(200, b"ok", _JSON)

    async def _unregister(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        name = (await read_body(request)).decode("utf-8", "replace")
        self.capabilities.remove(name)
        logger.info("removed capability %s", name)
        return reply(200, b"ok", _JSON)

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        if request.method != "POST":
            return error(405, "Method not allowed")
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(shown, self.secret.encode()):
            return error(400, "invalid authorization")
        return None
