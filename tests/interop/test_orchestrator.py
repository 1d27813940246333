"""Containers that join any go-livepeer by themselves, as an operator starts them:

    LIVEPEER_INTEROP_ORCH_URL=https://127.0.0.1:8935 LIVEPEER_INTEROP_ORCH_SECRET=... \\
        scripts/test -m interop tests/interop

Each is a process that knows nothing but its environment. LIVEPEER_INTEROP_RUNNER_HOST is where the
orchestrator reaches this machine, 127.0.0.1 unless told. LIVEPEER_INTEROP_GATEWAY_URL adds what a
gateway does for a stream (an on-chain one: offchain gateways cannot do BYOC). Without the variables
nothing runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from livepeer.client import Gateway, InvalidInputError, NoCapacityError, SessionEndedError

ORCH = os.environ.get("LIVEPEER_INTEROP_ORCH_URL", "").rstrip("/")
SECRET = os.environ.get("LIVEPEER_INTEROP_ORCH_SECRET", "")
GATEWAY = os.environ.get("LIVEPEER_INTEROP_GATEWAY_URL", "").rstrip("/")
HOST = os.environ.get("LIVEPEER_INTEROP_RUNNER_HOST", "127.0.0.1")
PIPELINES = Path(__file__).with_name("pipelines.py")
LIMIT = 60.0

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not (ORCH and SECRET), reason="not run: LIVEPEER_INTEROP_ORCH_URL, _SECRET name no server"
    ),
]


class Container:
    """A served pipeline, and the name that this run of it has at the orchestrator."""

    def __init__(self, kind: str, log: Path, **env: str) -> None:
        self.name = f"interop-{kind}-{uuid.uuid4().hex[:8]}"
        with socket.create_server(("0.0.0.0", 0)) as free:
            port = free.getsockname()[1]
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False
        )
        self._log = log / f"{self.name}.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PIPELINES), kind],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **{key: value for key, value in os.environ.items() if "LIVEPEER" not in key},
                    "HOST": "0.0.0.0",
                    "PORT": str(port),
                    "LIVEPEER_ORCH_URL": ORCH,
                    "LIVEPEER_ORCH_SECRET": SECRET,
                    "LIVEPEER_CAPABILITY_NAME": self.name,
                    "LIVEPEER_CAPABILITY_URL": f"http://{HOST}:{port}",
                    "LIVEPEER_DRAIN_TIMEOUT": "10",
                    **env,
                },
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def health(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/health")).json()
        return found

    async def registration(self, *wanted: str) -> dict[str, Any]:
        """How it stands at the orchestrator, once that is one of `wanted`."""

        async def settled() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = (await self.health())["registration"][0]
            except httpx.TransportError:
                return None
            return found if found["status"] in wanted else None

        return await until(settled, f"{self.name} is {' or '.join(wanted)}:\n{self.log}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log


async def until(found: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first answer that is neither None nor False. For what only shows by asking."""
    try:
        async with asyncio.timeout(LIMIT):
            while not (value := await found()):  # noqa: ASYNC110 — it is asked over HTTP
                await asyncio.sleep(0.05)
            return value
    except TimeoutError:
        raise AssertionError(f"not within {LIMIT:g} s: {what}") from None


@asynccontextmanager
async def container(kind: str, log: Path, **env: str) -> AsyncIterator[Container]:
    one = Container(kind, log, **env)
    try:
        yield one
        if one.process.poll() is None:
            one.stop()
    finally:
        one.process.kill()
        one.process.wait()
        await one.http.aclose()


@pytest.fixture
async def join(tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Container]]]:
    """Starts containers and waits until they are registered."""
    async with AsyncExitStack() as stack:

        async def start(kind: str) -> Container:
            one = await stack.enter_async_context(container(kind, tmp_path))
            await one.registration("registered")
            return one

        yield start


Join = Callable[[str], Awaitable[Container]]


@pytest.fixture
async def gw() -> AsyncIterator[Gateway]:
    async with Gateway(orch_url=ORCH, tls="insecure", timeout=30) as gw:
        yield gw


async def pictures() -> AsyncIterator[Any]:
    while True:
        yield np.full((96, 160, 3), 100, np.uint8)


async def free_places(gw: Gateway, one: Container) -> int:
    return (await gw.capabilities_async([one.name]))[0].capacity


async def test_a_container_registers_by_its_environment_works_and_takes_its_leave(
    join: Join, gw: Gateway
) -> None:
    echo = await join("echo")
    assert await free_places(gw, echo) == 2
    assert await gw.run_async(echo.name, input={"text": "é[DONE]"}) == {"text": "é[DONE]"}
    schema = await gw.schema_async(echo.name)
    assert schema is not None and set(schema.input["properties"]) == {"text"}
    assert (await echo.http.post("/predict", json={"text": "a"})).status_code == 401
    await asyncio.to_thread(echo.stop)
    assert await free_places(gw, echo) == 0


async def test_a_wrong_secret_is_said_in_health_and_nothing_else_stops(tmp_path: Path) -> None:
    async with container("echo", tmp_path, LIVEPEER_ORCH_SECRET="not-the-secret") as echo:
        state = await echo.registration("refused")
        assert "LIVEPEER_ORCH_SECRET" in state["reason"]
        assert (await echo.health())["status"] == "IDLE"
        assert "not-the-secret" not in echo.log


async def test_a_full_container_refuses_and_a_caller_that_leaves_makes_room(
    join: Join, gw: Gateway
) -> None:
    count = await join("count")
    async with gw.stream_async(count.name) as events:
        async for event in events:
            if event.json()["i"] == 2:
                break
        with pytest.raises(NoCapacityError) as caught:
            await gw.run_async(count.name)
        assert not caught.value.may_have_run

    async def idle() -> bool:
        return (await count.health())["in_flight"] == 0

    await until(idle, "the pipeline has stopped")
    async with gw.stream_async(count.name) as events:
        async for event in events:
            assert event.json() == {"i": 0}
            break


async def test_a_live_stream_runs_is_changed_and_ends_with_its_session(
    join: Join, gw: Gateway
) -> None:
    tint = await join("tint")
    async with asyncio.timeout(LIMIT), gw.live(tint.name, params={"u": 90}) as session:
        session.publish(pictures())
        frames = session.subscribe()
        async for frame in frames:
            assert abs(float(np.mean(frame.planes[1])) - 90) < 4  # type: ignore[union-attr]
            break
        with pytest.raises(InvalidInputError):
            await session.update({"u": 999})
        await session.update({"u": 200})
        async for record in session.data():
            assert record == {"u": 200}
            break
        async for frame in frames:
            if abs(float(np.mean(frame.planes[1])) - 200) < 4:  # type: ignore[union-attr]
                break
        assert (await tint.health())["in_flight"] == 1
        assert session.ended is None

    async def idle() -> bool:
        return (await tint.health())["in_flight"] == 0

    await until(idle, "the stream has stopped")


async def test_a_container_that_is_stopped_ends_its_streams(join: Join, gw: Gateway) -> None:
    tint = await join("tint")
    async with asyncio.timeout(LIMIT), gw.live(tint.name) as session:
        session.publish(pictures())
        frames = session.subscribe()
        async for _ in frames:
            break
        stopping = asyncio.create_task(asyncio.to_thread(tint.stop))
        try:
            async for _ in frames:
                pass
        except SessionEndedError:
            pass  # it had said goodbye before the pictures ended
        assert await session.wait()
        await stopping


@pytest.mark.skipif(not GATEWAY, reason="not run: LIVEPEER_INTEROP_GATEWAY_URL names no gateway")
async def test_by_a_gateway_a_stream_has_a_status_parameters_data_and_an_end(join: Join) -> None:
    tint = await join("tint")
    async with (
        asyncio.timeout(LIMIT),
        Gateway(gateway_url=GATEWAY, tls="insecure", timeout=30) as gw,
        gw.live(tint.name, params={"u": 90}, publish=False, subscribe=False) as session,
    ):

        async def reported() -> bool:
            return (await session.status()).get("type") == "status"

        async def updated() -> Any:
            return (await session.update({"u": 91}))["params"] == {"u": 91}

        await until(reported, "a status")
        assert await updated()
        found = asyncio.create_task(anext(aiter(session.data())))
        while not found.done():  # it begins near the live edge
            await updated()
            await asyncio.wait((found,), timeout=0.2)
        assert found.result() == {"u": 91}
        with pytest.raises(InvalidInputError):
            await session.update({"u": -1})

    async def idle() -> bool:
        return (await tint.health())["in_flight"] == 0

    await until(idle, "the stream has stopped")
