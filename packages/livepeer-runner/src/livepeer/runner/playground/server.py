"""`Playground`: the page and all that it asks for, below a path that nobody guesses.

| Below the token | Answers |
| --- | --- |
| `/`, `/NAME` | the page's files |
| `/api/news` | server-sent events: each pipeline as it is, then as it changes |
| `POST /api/call/KEY` | the pipeline's answer to a JSON body, as it comes |
| `POST /api/lines/KEY` | the same call as code |
| `/live/KEY` | a WebSocket: one live stream (`live_socket`) |
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Self

from aiohttp import WSCloseCode, web

from livepeer.runner.playground.board import Board, Entry
from livepeer.runner.playground.caller import CallRefused, failure
from livepeer.runner.playground.door import Door
from livepeer.runner.playground.live_socket import LARGEST_MESSAGE, LiveSocket
from livepeer.runner.playground.page_files import HEADERS, INDEX, page_files
from livepeer.trickle.server.site import Site

logger = logging.getLogger(__name__)

MOST_SOCKETS = 32
MOST_READERS = 64
"""Pages that are open at once."""
MOST_CALLS = 8
LARGEST_BODY = 128 * 1024 * 1024
"""Bytes of a request, as a container takes them by default."""
LARGEST_LINES = 1024 * 1024
BEAT_SECONDS = 15.0
"""Between two signs of life, so that a page that is gone is noticed."""

Handler = Callable[[web.Request, Entry], Awaitable[web.StreamResponse]]


class Playground:
    """Serves the page for the pipelines of `board`; an async context manager.

    - `board`: what there is to be played with.
    - `host`: address to listen on; anything but loopback lets whoever has the address use it.
    - `port`: 0 takes a free one.
    """

    def __init__(self, board: Board, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.board = board
        self.door = Door(host)
        self._host, self._port = host, port
        self._sockets: set[web.WebSocketResponse] = set()
        self._calls = 0
        self._stack: AsyncExitStack | None = None
        self._url = ""

    def __repr__(self) -> str:
        return f"Playground(host={self._host!r}, pipelines={len(self.board)})"

    @property
    def url(self) -> str:
        """The page's address, its token included: whoever has it may use it."""
        if self._stack is None:
            raise RuntimeError("the playground has not been started: use `async with`")
        return self._url

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            listening = socket.create_server(
                (self._host, self._port),
                family=socket.AF_INET6 if ":" in self._host else socket.AF_INET,
            )
            stack.callback(listening.close)
            app = web.Application(client_max_size=LARGEST_BODY)
            app.router.add_route("*", "/{token}/{path:.*}", self._answer)
            app.router.add_route("*", "/{path:.*}", _lost)
            app.on_shutdown.append(self._leave)
            runner = web.AppRunner(
                app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
            )
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await Site(runner, sock=listening).start()
            name = "127.0.0.1" if self._host in ("0.0.0.0", "") else self._host
            name = f"[{name}]" if ":" in name else name
            self._url = f"http://{name}:{listening.getsockname()[1]}/{self.door.token}/"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def _leave(self, app: web.Application) -> None:
        for each in tuple(self._sockets):
            await each.close(code=WSCloseCode.GOING_AWAY, message=b"the playground ends")

    # --- who asks, and for what ------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = await self._routed(request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _routed(self, request: web.Request) -> web.StreamResponse:
        if not self.door.is_ours(request.host):
            return _refused(421, f"{request.host[:100]!r} is no name of this playground")
        if not self.door.knows(request.match_info["token"]):
            return await _lost(request)
        path = request.match_info["path"]
        area, _, key = path.rpartition("/")
        if request.method == "GET" and not area:
            return _file(key or INDEX)
        if path == "api/news" and request.method == "GET":
            return await self._news(request)
        handlers: dict[tuple[str, str], Handler] = {
            ("POST", "api/call"): self._call,
            ("POST", "api/lines"): self._lines,
            ("GET", "live"): self._live,
        }
        handler = handlers.get((request.method, area))
        entry = self.board.get(key)
        if handler is None or entry is None:
            return _refused(404, "there is no such thing in the playground")
        if not self.door.is_from_us(request.headers.get("Origin"), request.host):
            return _refused(403, "only the playground's own page may ask for this")
        return await handler(request, entry)

    # --- what it gets ----------------------------------------------------------------------------

    async def _news(self, request: web.Request) -> web.StreamResponse:
        if self.board.readers >= MOST_READERS:
            return _refused(503, f"{MOST_READERS} pages are open already")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **HEADERS})
        await response.prepare(request)
        news = self.board.news()
        coming = asyncio.ensure_future(anext(news))
        try:
            while True:
                done, _ = await asyncio.wait((coming,), timeout=BEAT_SECONDS)
                if not done:
                    await response.write(b": beat\n\n")
                    continue
                await response.write(b"data: %b\n\n" % json.dumps(coming.result()).encode())
                coming = asyncio.ensure_future(anext(news))
        except ConnectionError:
            return response
        finally:
            coming.cancel()
            try:
                await asyncio.wait((coming,))
            finally:
                await news.aclose()

    async def _call(self, request: web.Request, entry: Entry) -> web.StreamResponse:
        if entry.caller is None:
            return _error(503, failure(entry.reason or "the pipeline does not serve", "not_ready"))
        if self._calls >= MOST_CALLS:
            return _error(503, failure(f"{MOST_CALLS} calls of the page run already"))
        self._calls += 1
        try:
            body = await request.read()
            async with entry.caller.call(body) as answer:
                response = web.StreamResponse(
                    status=answer.status, headers={"Content-Type": answer.content_type, **HEADERS}
                )
                response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
                await response.prepare(request)
                async for chunk in answer.chunks:
                    await response.write(chunk)
                await response.write_eof()
                return response
        except web.HTTPRequestEntityTooLarge:
            return _error(413, failure(f"a request has {LARGEST_BODY} bytes at most"))
        except CallRefused as error:
            return _error(error.status, error.error)
        finally:
            self._calls -= 1

    async def _lines(self, request: web.Request, entry: Entry) -> web.StreamResponse:
        try:
            if (request.content_length or LARGEST_LINES) > LARGEST_LINES:
                raise ValueError("the input is too long to be written out")
            given = json.loads(await request.read())
            if not isinstance(given, dict) or not entry.document:
                raise ValueError("there is nothing to be written out")
            lines = dict(entry.lines(given)) if entry.lines is not None else {}
        except (ValueError, RecursionError) as error:
            return _error(400, failure(str(error), "bad_message"))
        return web.json_response(lines)

    async def _live(self, request: web.Request, entry: Entry) -> web.StreamResponse:
        if entry.caller is None:
            return _refused(503, entry.reason or "the pipeline does not serve")
        if len(self._sockets) >= MOST_SOCKETS:
            return _refused(503, f"{MOST_SOCKETS} streams are open already")
        ws = web.WebSocketResponse(
            max_msg_size=LARGEST_MESSAGE, heartbeat=BEAT_SECONDS, compress=False
        )
        if not ws.can_prepare(request):
            return _refused(426, "a live stream is a WebSocket")
        await ws.prepare(request)
        self._sockets.add(ws)
        try:
            await LiveSocket(ws, entry.caller, sends=not entry.document.get("generates")).run()
        finally:
            self._sockets.discard(ws)
            await ws.close()
        return ws


def _file(name: str) -> web.Response:
    file = page_files().get(name)
    if file is None:
        return _refused(404, "there is no such file in the playground")
    return web.Response(body=file.content, headers={"Content-Type": file.content_type})


async def _lost(request: web.Request) -> web.Response:
    response = _refused(404, "open the address that the command printed, with its token")
    response.headers.update(HEADERS)
    return response


def _refused(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")


def _error(status: int, error: dict[str, object]) -> web.Response:
    return web.json_response({"error": error}, status=status)
