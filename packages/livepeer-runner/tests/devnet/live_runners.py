"""A scripted runner and a caller for the live runners of the local network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from livepeer.runner.devnet import LocalOrchestrator

LIMIT = 30.0


class ScriptedRunner:
    """An application that tells what reached it, and the heartbeats that register it."""

    def __init__(self, orchestrator: LocalOrchestrator, http: aiohttp.ClientSession) -> None:
        self.orchestrator = orchestrator
        self.http = http
        self.url = ""
        self.secret = ""
        self.told: dict[str, Any] = {}
        self.says: dict[str, Any] = {"app": "test/app", "runner_id": "runner-1"}

    async def heartbeat(self, secret: str | None = None, **more: Any) -> tuple[int, Any]:
        """Status and document (or text) of one heartbeat; `more` stays for the next ones."""
        self.says.update(more)
        shown = secret if secret is not None else self.secret or self.orchestrator.secret
        async with self.http.post(
            f"{self.orchestrator.url}/runners/heartbeat",
            json={"runner_url": self.url, **self.says},
            headers={"Authorization": shown},
        ) as answer:
            if answer.status != 200:
                return answer.status, (await answer.text()).strip()
            document = await answer.json()
            self.secret = document.get("heartbeat_secret", self.secret)
            self.told.update(document)
            return 200, document

    async def until_taken(self) -> None:
        """Heartbeats until one is answered 200."""
        for _ in range(600):
            if (await self.heartbeat())[0] == 200:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the orchestrator does not take it")

    async def unregister(self) -> int:
        async with self.http.post(
            f"{self.orchestrator.url}/runners/{self.says['runner_id']}/unregister",
            headers={"Authorization": self.secret},
        ) as answer:
            return answer.status

    async def reserve(self) -> tuple[int, Any]:
        return await self.post(f"/apps/{self.says['runner_id']}/session")

    async def post(self, path: str, **options: Any) -> tuple[int, Any]:
        url = path if "://" in path else self.orchestrator.url + path
        async with self.http.post(url, **options) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, (await answer.text()).strip()

    async def get(self, url: str, **options: Any) -> tuple[int, str]:
        async with self.http.get(url, **options) as answer:
            return answer.status, (await answer.text()).strip()

    async def discovered(self) -> list[dict[str, Any]]:
        async with self.http.get(f"{self.orchestrator.url}/discovery") as answer:
            entries = await answer.json()
        found: list[dict[str, Any]] = entries[0].get("runners", [])
        return found


async def echo(request: web.Request) -> web.StreamResponse:
    """Tells the request; below `/ws` a WebSocket that says all twice."""
    if request.path.endswith("/ws"):
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                await socket.send_bytes(message.data * 2)
            else:
                await socket.send_str(message.data * 2)
        return socket
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "body": len(body),
            "headers": {name.lower(): value for name, value in request.headers.items()},
        }
    )


@asynccontextmanager
async def serving(handler: Any = echo, port: int = 0) -> AsyncIterator[tuple[str, web.AppRunner]]:
    """The handler on every path; its URL, and what to stop it with."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", runner
    finally:
        await runner.cleanup()


@asynccontextmanager
async def registered(
    orchestrator: LocalOrchestrator, handler: Any = echo, **says: Any
) -> AsyncIterator[ScriptedRunner]:
    """A runner that serves and has sent its first heartbeat."""
    connector = aiohttp.TCPConnector(ssl=False)
    limit = aiohttp.ClientTimeout(total=LIMIT)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=limit) as http,
        serving(handler) as (url, _),
    ):
        runner = ScriptedRunner(orchestrator, http)
        runner.url = url
        status, document = await runner.heartbeat(**says)
        assert status == 200, document
        yield runner


async def until(condition: Any) -> None:
    """Waits for it, far longer than it takes."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")
