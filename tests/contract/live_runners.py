"""Plain HTTP services as live runners of the local network, and a client for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from livepeer.client import Gateway
from livepeer.runner.devnet import LocalOrchestrator


class App:
    """A service that says what it was asked; `hold` keeps requests waiting."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hold: asyncio.Event | None = None
        self.closes = False
        """Each answer is the last of its connection."""
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        body = await request.read()
        if request.path.endswith("/schema"):
            return web.json_response({"error": "no schema"}, status=404)
        if self.hold is not None:
            await self.hold.wait()
        if request.path.endswith("/events"):
            return web.Response(
                text='data: {"n": 1}\n\ndata: [DONE]\n\n', content_type="text/event-stream"
            )
        if request.path.endswith("/broken"):
            return web.json_response({"error": {"type": "boom", "message": "no"}}, status=500)
        return web.json_response({"path": request.path, "body": body.decode()})


@asynccontextmanager
async def serving(app: App | None = None) -> AsyncIterator[App]:
    app = app or App()
    site = web.Application(client_max_size=1 << 24)
    site.router.add_route("*", "/{tail:.*}", app.answer)

    async def last(request: web.Request, answer: web.StreamResponse) -> None:
        if app.closes:
            answer.force_close()

    site.on_response_prepare.append(last)
    runner = web.AppRunner(site, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        app.url = f"http://127.0.0.1:{runner.addresses[0][1]}/base"
        yield app
    finally:
        await runner.cleanup()


async def heartbeat(orchestrator: LocalOrchestrator, app: App, /, **says: Any) -> None:
    says = {"runner_id": "one", "app": "test/app", "mode": "single-shot", **says}
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post(
            f"{orchestrator.url}/runners/heartbeat",
            json={"runner_url": app.url, **says},
            headers={"Authorization": orchestrator.secret},
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()


def gateway(orchestrator: LocalOrchestrator, **more: Any) -> Gateway:
    return Gateway(orch_url=orchestrator.url, tls="insecure", **more)


def reserved(orchestrator: LocalOrchestrator) -> int:
    return sum(len(each.sessions) for each in orchestrator.runners)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not become so in 20 s")


class ForeignApp(App):
    """A service as others write them: JSON, uploads, events, a WebSocket, channels."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        match request.path.removeprefix("/base"):
            case "/hold":
                assert self.hold is not None
                await self.hold.wait()
            case "/json":
                return web.json_response(
                    {
                        "method": request.method,
                        "query": dict(request.query),
                        "body": await request.json() if request.can_read_body else None,
                        "mine": request.headers.get("X-Mine"),
                        "authorization": request.headers.get("Authorization"),
                    },
                    headers={"X-Theirs": "yes"},
                )
            case "/upload":
                return web.json_response([await _part(each) async for each in await _form(request)])
            case "/form":
                return web.json_response(dict(await request.post()))
            case "/echo":
                return web.Response(body=await request.read())
            case "/teapot":
                return web.json_response({"error": {"message": "short and stout"}}, status=418)
            case "/away":
                raise web.HTTPFound("http://elsewhere.test/")
            case "/missing":
                return web.Response(text="not here", status=404)
            case "/events":
                return await self._events(request, hang="hang" in request.query)
            case "/endless":
                return await self._events(request, hang=True)
            case "/describe":
                return web.json_response(await request.json())
            case "/ws" | "/chat":
                return await self._chat(request)
            case "/channels":
                return await self._open(request)
            case "/leave":
                return await self._leave(request)
        return web.json_response({"path": request.path})

    async def _events(self, request: web.Request, *, hang: bool) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        try:
            for n in range(int(request.query.get("n", "3"))):
                await answer.write(b'event: tick\ndata: {"n": %d}\n\n' % n)
            if hang:
                await asyncio.sleep(3600)
            if "cut" in request.query and request.transport is not None:
                request.transport.abort()
        finally:
            if hang:
                self.left.set()
        return answer

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=("one", "two"), max_msg_size=0)
        await ws.prepare(request)
        try:
            async for message in ws:
                if message.data == "bye":
                    await ws.close(code=int(request.query.get("code", "1000")), message=b"so long")
                elif message.data in ("break", "cut"):
                    assert request.transport is not None
                    if message.data == "break":
                        request.transport.write(b"\xf1\x02no")  # bits that nobody agreed on
                    request.transport.close()
                elif message.data == "big":
                    await ws.send_bytes(b"x" * 5_000_000)
                elif message.type is aiohttp.WSMsgType.TEXT:
                    await ws.send_str(message.data)
                else:
                    await ws.send_bytes(message.data)
        finally:
            self.left.set()
        return ws

    async def _open(self, request: web.Request) -> web.StreamResponse:
        names = {"channels": [{"name": "in", "mime_type": "a/b"}, {"name": "out"}]}
        opened = await _ask(request, "/channels", names)
        return web.json_response({each["name"]: each["url"] for each in opened["channels"]})

    async def _leave(self, request: web.Request) -> web.StreamResponse:
        await _ask(request, "/stop", None)
        return web.json_response({})


async def _ask(request: web.Request, path: str, body: Any) -> Any:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http,
        http.post(
            request.headers["Livepeer-Session-Control"] + path,
            json=body,
            headers={"Livepeer-Session-Token": request.headers["Livepeer-Session-Token"]},
        ) as reply,
    ):
        assert reply.status < 300, await reply.text()
        return await reply.json() if reply.status == 200 else None


async def _form(request: web.Request) -> Any:
    return await request.multipart()


async def _part(part: Any) -> Any:
    data = await part.read()
    return [part.name, part.filename, part.headers.get("Content-Type"), len(data)]
