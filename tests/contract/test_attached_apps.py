"""A service in another language's style, attached by the command, and called by the client."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web

from livepeer.client import Gateway
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.devnet.live_runners.states import RunnerRefusal
from livepeer.runner.registration import Capability, Registration
from livepeer.trickle import relay

from .live_runners import App, ForeignApp, gateway, reserved, serving, until

A = TypeVar("A", bound=App)

LIMIT = 60.0
NAME = "acme/app"
COMMAND = "from livepeer.trickle.cli import main; main()"


class Attached:
    """`livepeer attach` as a process, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.text = ""
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.text += line.decode()
            self._news.set()

    async def says(self, part: str, count: int = 1) -> None:
        async with asyncio.timeout(LIMIT):
            while self.text.count(part) < count:
                self._news.clear()
                await self._news.wait()

    async def end(self) -> int:
        """By SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT):
            status = await self.process.wait()
            await self._reading
        return status

    async def aclose(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


@asynccontextmanager
async def attached(
    orchestrator: LocalOrchestrator, url: str, *options: str
) -> AsyncIterator[Attached]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LIVEPEER")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", COMMAND, "attach", "--url", url, "--app", NAME, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **kept,
            "LIVEPEER_ORCH_URL": orchestrator.url,
            "LIVEPEER_ORCH_SECRET": orchestrator.secret,
        },
    )
    made = Attached(process)
    try:
        await made.says("is registered at")
        yield made
    finally:
        await made.aclose()


@asynccontextmanager
async def network(
    *options: str, app: A
) -> AsyncIterator[tuple[LocalOrchestrator, A, Gateway, Attached]]:
    """At the end the service is taken back in order, and no place is left taken."""
    async with (
        LocalOrchestrator(heartbeat_interval=0.3, heartbeat_ttl=5.0) as orchestrator,
        serving(app),
        attached(orchestrator, app.url, *options) as process,
        gateway(orchestrator, timeout=LIMIT) as gw,
    ):
        yield orchestrator, app, gw, process
        await until(lambda: not reserved(orchestrator))
        assert await process.end() == 0
        assert len(orchestrator.runners) == 0
        assert orchestrator.secret not in process.text and "Traceback" not in process.text


class TenLines(App):
    """The live-runner example of upstream in its own style: `POST /echo` opens two channels and
    answers them, and what comes in goes out. It knows HTTP, and trickle by its one verb `relay`."""

    def __init__(self) -> None:
        super().__init__()
        self.echoing: set[asyncio.Task[object]] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        control = request.headers["Livepeer-Session-Control"]
        token = {"Livepeer-Session-Token": request.headers["Livepeer-Session-Token"]}
        wanted = {"channels": [{"name": "in"}, {"name": "out"}]}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
            async with http.post(f"{control}/channels", headers=token, json=wanted) as opened:
                told = {each["name"]: each for each in (await opened.json())["channels"]}
        ends = (told[name]["internal_url"] for name in ("in", "out"))
        self.echoing.add(asyncio.create_task(relay(*ends, start=0, tls=False)))
        urls = {name: each["url"] for name, each in told.items()}
        return web.json_response({"session": request.headers["Livepeer-Session-Id"], **urls})


async def test_an_app_of_ten_lines_echoes_what_its_caller_publishes() -> None:
    async with network("--mode", "persistent", app=TenLines()) as (_, app, gw, process):
        async with gw.session(NAME) as session:
            told = (await session.request("POST", "/echo")).json()
            async with session.channel(told["in"]).publisher() as into:
                async with session.channel(told["out"]).subscriber(start=0) as out:
                    for data in (b"one", b"two"):
                        async with into.segment() as segment:
                            await segment.write(data)
                        async with asyncio.timeout(LIMIT):
                            assert await (await anext(out)).receive() == data
        await asyncio.gather(*app.echoing)
        assert told["session"] not in process.text
        await process.says("end it yourself")  # what nobody but the app sees: that it is idle


async def test_a_service_with_sessions() -> None:
    app = ForeignApp()
    async with network("--mode", "persistent", "--capacity", "2", app=app) as (
        orchestrator,
        app,
        gw,
        _,
    ):
        (runner,) = orchestrator.runners
        assert (runner.says.app, runner.says.capacity) == (NAME, 2)
        async with gw.session(NAME) as session, gw.session(NAME) as other:
            answer = await session.request("PUT", "/json?a=1", json={"x": 1})
            assert answer.json()["body"] == {"x": 1}
            upload = await session.request(
                "POST", "/upload", files={"file": ("a.bin", b"x" * 3_000_000, "a/b")}
            )
            assert upload.json() == [["file", "a.bin", "a/b", 3_000_000]]
            async with await session.websocket("/ws") as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
            async with await other.request("GET", "/events?n=3", stream=True) as events:
                assert [event.json() async for event in events.events()] == [
                    {"n": 0},
                    {"n": 1},
                    {"n": 2},
                ]
            with pytest.raises(RunnerRefusal, match="no capacity"):
                orchestrator.runners.reserve(runner.route)
        assert "/base/ws" in app.asked


async def test_a_service_request_by_request() -> None:
    async with network("--capacity", "3", app=ForeignApp()) as (orchestrator, _, gw, process):
        (runner,) = orchestrator.runners
        assert (runner.says.mode, runner.says.capacity) == ("single-shot", 3)
        assert await gw.run_async(NAME, route="describe", input={"a": 1}) == {"a": 1}
        url = f"{runner.listed_url(orchestrator.url)}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
            async with http.post(f"{url}/echo", data=b"x" * 900_000) as echo:
                assert await echo.read() == b"x" * 900_000
            async with http.get(f"{url}/events") as events:
                assert (await events.read()).count(b"event: tick") == 3
            async with http.ws_connect(f"{url}/ws") as ws:
                await ws.send_str("hello")
                assert await ws.receive_str() == "hello"
        assert "end it yourself" not in process.text


@pytest.mark.slow
async def test_a_service_that_dies_is_taken_back_until_it_returns() -> None:
    """Three looks in a row, five seconds apart, find nobody."""
    app = ForeignApp()
    async with LocalOrchestrator(heartbeat_interval=0.3, heartbeat_ttl=5.0) as orchestrator:
        async with serving(app):
            url = app.url
            starting = attached(orchestrator, url)
            process = await starting.__aenter__()
        try:
            await process.says("it is taken back until it returns")
            await until(lambda: len(orchestrator.runners) == 0)
            port = int(url.removesuffix("/base").rpartition(":")[2])
            site = web.AppRunner(web.Application())
            await site.setup()
            try:
                await web.TCPSite(site, "127.0.0.1", port, reuse_address=True).start()
                await process.says("is registered at", 2)
                assert len(orchestrator.runners) == 1
                assert await process.end() == 0
                assert len(orchestrator.runners) == 0
            finally:
                await site.cleanup()
        finally:
            await starting.__aexit__(None, None, None)


@pytest.mark.parametrize("by", ["command", "library"])
async def test_a_service_is_a_byoc_capability_too(by: str) -> None:
    """It gets the bearer token that its registration made: `Registration.authenticate` knows it."""
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["Authorization"])
        return web.json_response({"path": request.path, "json": await request.json()})

    app = ForeignApp()
    app.answer = answer  # type: ignore[method-assign]
    async with (
        LocalOrchestrator() as orchestrator,
        serving(app),
        gateway(orchestrator, timeout=LIMIT) as gw,
    ):
        if by == "command":
            async with attached(orchestrator, app.url, "--registration", "byoc") as process:
                assert await gw.run_async(NAME, input={"a": 1}) == {
                    "path": "/base/predict",
                    "json": {"a": 1},
                }
                assert await process.end() == 0
        else:
            capability = Capability(name=NAME, url=app.url)
            async with Registration(
                orchestrator.url, orchestrator.secret, capability=capability, kind="byoc"
            ) as kept:
                await kept.settled()
                found = await gw.run_async(NAME, input={"a": 1})
                assert found == {"path": "/base/predict", "json": {"a": 1}}
                assert {kept.authenticate(each) for each in asked} == set(kept.callers)
        assert orchestrator.capabilities.available(NAME) == 0
        assert len(set(asked)) == 1  # the client asks for the schema first
