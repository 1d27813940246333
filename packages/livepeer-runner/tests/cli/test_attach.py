"""`livepeer attach`: a service that knows nothing of Livepeer, on the network."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.devnet.live_runners import registry

from .conftest import LIMIT, Folder

GREETER = """
    from livepeer.runner import Pipeline
    class Greeter(Pipeline):
        def predict(self, name: str) -> str:
            return f"Hello, {name}"
"""


async def _echo(request: web.Request) -> web.StreamResponse:
    return web.json_response({"method": request.method, "path": request.path_qs})


async def _words(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for word in ("one", "two"):
        await response.write(f"data: {word}\n\n".encode())
    return response


class Network:
    """A foreign service and an orchestrator, on a loop of their own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(LIMIT)

    async def start(self) -> None:
        self.orchestrator = LocalOrchestrator(heartbeat_interval=0.2, heartbeat_ttl=5.0)
        await self.orchestrator.__aenter__()
        self.port = await self.serve()

    async def serve(self, port: int = 0) -> int:
        app = web.Application()
        app.router.add_get("/words", _words)
        app.router.add_route("*", "/{path:.*}", _echo)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", port, reuse_address=True).start()
        found: int = self.runner.addresses[0][1]
        return found

    def end(self) -> None:
        self.call(self.runner.cleanup())
        self.call(self.orchestrator.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def runners(self, http: httpx.Client) -> list[dict[str, Any]]:
        (entry,) = http.get(f"{self.orchestrator.url}/discovery").json()
        found: list[dict[str, Any]] = entry.get("runners", [])
        return found


@contextmanager
def network() -> Iterator[Network]:
    made = Network()
    made.call(made.start())
    try:
        yield made
    finally:
        made.end()


def until(holds: Callable[[], bool]) -> None:
    limit = threading.Event()
    for _ in range(int(LIMIT * 20)):
        if holds():
            return
        limit.wait(0.05)
    pytest.fail("it never came to that")


@pytest.mark.slow
def test_a_foreign_service_is_found_called_and_taken_back(folder: Folder) -> None:
    with network() as net, httpx.Client(verify=False, timeout=LIMIT, trust_env=False) as http:
        environment = {
            "LIVEPEER_ORCH_URL": net.orchestrator.url,
            "LIVEPEER_ORCH_SECRET": net.orchestrator.secret,
        }
        options = ("--app", "acme/echo", "--capacity", "4")
        url = f"http://127.0.0.1:{net.port}"
        with folder.running("attach", "--url", url, *options, **environment) as running:
            until(lambda: bool(net.runners(http)))
            (found,) = net.runners(http)
            assert (found["app"], found["capacity"], found["mode"]) == (
                "acme/echo",
                4,
                "single-shot",
            )
            answer = http.put(f"{found['url']}/some/where?a=b", content=b"x")
            assert answer.json() == {"method": "PUT", "path": "/some/where?a=b"}
            assert http.get(f"{found['url']}/words").text == "data: one\n\ndata: two\n\n"
            running.process.send_signal(signal.SIGTERM)
            assert running.end() == 0
            assert net.runners(http) == []
            assert net.orchestrator.secret not in running.text


@pytest.mark.slow
def test_a_service_with_sessions_keeps_them_while_it_takes_its_leave(folder: Folder) -> None:
    with network() as net, httpx.Client(verify=False, timeout=LIMIT, trust_env=False) as http:
        environment = {
            "LIVEPEER_ORCH_URL": net.orchestrator.url,
            "LIVEPEER_ORCH_SECRET": net.orchestrator.secret,
        }
        url = f"http://127.0.0.1:{net.port}"
        options = ("--app", "acme/chat", "--mode", "persistent")
        with folder.running("attach", "--url", url, *options, **environment) as running:
            until(lambda: bool(net.runners(http)))
            session = http.post(net.runners(http)[0]["url"]).json()
            running.process.send_signal(signal.SIGTERM)
            running.wait_for("taking leave")
            assert http.get(f"{session['app_url']}/x").json()["path"] == "/x"
            http.post(f"{session['control_url']}/stop")
            assert running.end() == 0
            assert net.runners(http) == []


@pytest.mark.slow
def test_a_reloaded_service_leaves_once_its_successor_is_registered(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the registry takes no second runner, the first one stays in it."""
    folder.write(pipeline=GREETER)
    monkeypatch.setattr(registry, "MOST_RUNNERS", 1)
    with network() as net, httpx.Client(verify=False, timeout=LIMIT, trust_env=False) as http:
        environment = {
            "LIVEPEER_ORCH_URL": net.orchestrator.url,
            "LIVEPEER_ORCH_SECRET": net.orchestrator.secret,
            "LIVEPEER_REGISTRATION": "live-runner",
        }
        with folder.running("serve", "--reload", "--port", "0", **environment) as running:
            until(lambda: len(net.runners(http)) == 1)
            (former,) = net.runners(http)
            folder.write(pipeline=GREETER.replace("Hello", "Good day"))
            running.wait_for("over 1 live runners")  # its successor has tried, and goes on trying
            for _ in range(200):
                assert [each["url"] for each in net.runners(http)] == [former["url"]]
            answer = http.post(f"{former['url']}/predict", json={"name": "Ada"})
            assert answer.json() == "Hello, Ada"
            monkeypatch.setattr(registry, "MOST_RUNNERS", 9)
            until(lambda: [each["url"] for each in net.runners(http)] != [former["url"]])
            until(lambda: len(net.runners(http)) == 1)
            (found,) = net.runners(http)
            assert found["url"] != former["url"]
            answer = http.post(f"{found['url']}/predict", json={"name": "Ada"})
            assert answer.json() == "Good day, Ada"
            assert running.interrupt() == 0
            assert net.runners(http) == []


def test_the_static_entry_is_written_for_an_operator(folder: Folder) -> None:
    done = folder.livepeer(
        "attach", "--url", "http://10.0.0.5:8000/", "--app", "acme/up", "--print", "runners.json"
    )
    assert done.returncode == 0
    (entry,) = json.loads((folder.path / "runners.json").read_text())["runners"]
    assert entry["health_url"] == "http://10.0.0.5:8000/ready"
    assert (entry["runner_url"], entry["app"]) == ("http://10.0.0.5:8000", "acme/up")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "no orchestrator is named"),
        (("--mode", "batch"), "write single-shot or persistent"),
        (("--registration", "x"), "write byoc, live-runner or both"),
    ],
)
def test_what_is_wrong_is_said_before_anything_begins(
    folder: Folder, options: tuple[str, ...], says: str
) -> None:
    environment = {} if not options else {"LIVEPEER_ORCH_URL": "http://h:1"}
    done = folder.livepeer(
        "attach", "--url", "http://h:2", *options, LIVEPEER_ORCH_SECRET="s", **environment
    )
    assert done.returncode == 2
    assert says in done.stderr
