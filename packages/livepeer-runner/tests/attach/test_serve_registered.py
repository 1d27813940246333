"""A served pipeline at an orchestrator: it registers itself, works for it, and takes its leave."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from livepeer.runner import Pipeline
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.environment import Secret
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings

Serve = Any
LIMIT = 60


class Say(Pipeline):
    """Say it again."""

    capacity = 2

    def predict(self, text: str) -> str:
        return text


class Spell(Pipeline):
    def predict(self, text: str) -> Iterator[str]:
        yield from text


def at(*orchestrators: LocalOrchestrator, secret: str | None = None) -> RegistrationSettings:
    return RegistrationSettings(
        tuple(OrchestratorAddress(one.url, Secret(secret or one.secret)) for one in orchestrators)
    )


@pytest.fixture
async def orchestrator() -> AsyncIterator[LocalOrchestrator]:
    async with LocalOrchestrator() as one:
        yield one


async def registered(s: Any) -> None:
    async with asyncio.timeout(LIMIT):
        await s.service.registration.settled()


async def job(
    orchestrator: LocalOrchestrator, capability: str, route: str = "predict", **input: Any
) -> httpx.Response:
    """A call as an orchestrator's callers make it."""
    header = {
        "id": "1",
        "request": "{}",
        "parameters": "{}",
        "capability": capability,
        "sender": "0x0000000000000000000000000000000000000001",
        "sig": "00",
        "timeout_seconds": 10,
    }
    async with httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as http:
        url = f"{orchestrator.url}/process/request/{route}"
        headers = {"Livepeer": base64.b64encode(json.dumps(header).encode()).decode()}
        if capability != "spell":
            return await http.post(url, headers=headers, json=input)
        body = b""
        async with http.stream("POST", url, headers=headers, json=input) as response:
            async for chunk in response.aiter_raw():
                body += chunk
                if b"data: [DONE]\n" in body:
                    break
        return httpx.Response(response.status_code, content=body)


async def test_it_registers_when_ready_works_and_unregisters_at_its_end(
    served: Serve, orchestrator: LocalOrchestrator
) -> None:
    release = threading.Event()

    class Slow(Say):
        pipeline_id = "slow"

        def setup(self) -> None:
            assert release.wait(LIMIT)

    async with served(Slow, wait=False, registration=at(orchestrator)) as s:
        health = (await s.http.get("/health")).json()
        assert health["registration"][0]["status"] == "waiting"
        assert len(orchestrator.capabilities) == 0
        release.set()
        await registered(s)
        health = (await s.http.get("/health")).json()
        assert health["registration"][0]["status"] == "registered"
        assert orchestrator.capabilities.available("slow") == 2
        response = await job(orchestrator, "slow", text="hello")
        assert (response.status_code, response.json()) == (200, "hello")
    assert len(orchestrator.capabilities) == 0


async def test_a_stream_passes_an_orchestrator_whole(
    served: Serve, orchestrator: LocalOrchestrator
) -> None:
    async with served(Spell, registration=at(orchestrator)) as s:
        await registered(s)
        response = await job(orchestrator, "spell", text="a]")
        events = [line for line in response.text.split("\n") if line]
        assert events == ['data: "a"', 'data: "]"', 'data: {"balance": 0.000}', "data: [DONE]"]
        await s.until(lambda: s.slots_taken == 0)


async def test_errors_and_unknown_routes_do_not_cost_the_capability(
    served: Serve, orchestrator: LocalOrchestrator
) -> None:
    async with served(Say, registration=at(orchestrator)) as s:
        await registered(s)
        for route, input, status in (
            ("predict", {"txt": "a"}, 422),
            ("chat", {"text": "a"}, 404),
            ("predict/", {"text": "a"}, 200),
            ("schema", {}, 200),
        ):
            assert (await job(orchestrator, "say", route, **input)).status_code == status
        assert orchestrator.capabilities.available("say") == 2


async def test_a_wrong_secret_is_said_in_health_and_it_serves_on(
    served: Serve, orchestrator: LocalOrchestrator
) -> None:
    async with served(Say, registration=at(orchestrator, secret="not-the-one")) as s:
        await registered(s)
        health = (await s.http.get("/health")).json()
        assert health["status"] == "IDLE"
        assert health["registration"][0]["status"] == "refused"
        assert "secret" in health["registration"][0]["reason"].lower()
        assert "not-the-one" not in json.dumps(health)


async def test_each_orchestrator_has_a_token_and_a_count_of_its_own(served: Serve) -> None:
    release = threading.Event()

    class Wait(Say):
        pipeline_id = "wait"

        def predict(self, text: str) -> str:
            assert release.wait(LIMIT)
            return text

    async with (
        LocalOrchestrator() as one,
        LocalOrchestrator() as other,
        served(Wait, registration=at(one, other)) as s,
    ):
        await registered(s)
        assert one.capabilities.token("wait") != other.capabilities.token("wait")
        call = asyncio.create_task(job(one, "wait", text="a"))
        await s.until(lambda: s.slots_taken == 1)
        first, second = s.service.registration.callers
        assert (first.in_flight, second.in_flight) == (1, 0)
        release.set()
        assert (await call).json() == "a"
        await s.until(lambda: first.in_flight == 0)


async def test_a_pipeline_whose_setup_failed_is_never_registered(
    served: Serve, orchestrator: LocalOrchestrator
) -> None:
    class Broken(Say):
        def setup(self) -> None:
            raise OSError("no weights")

    async with served(Broken, registration=at(orchestrator)) as s:
        assert (await s.http.get("/health")).json()["status"] == "ERROR"
        assert len(orchestrator.capabilities) == 0
    assert len(orchestrator.capabilities) == 0
