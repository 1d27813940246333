"""A served pipeline as a live runner of the local network: discovered, called, and left."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from livepeer.runner import Pipeline, create_app
from livepeer.runner.devnet import LocalChain, LocalOrchestrator
from livepeer.runner.local.http import listening
from livepeer.runner.serving.listener import bind
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings, Secret, Settings

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


def at(orchestrator: LocalOrchestrator, kind: Any = "live-runner") -> RegistrationSettings:
    address = OrchestratorAddress(orchestrator.url, Secret(orchestrator.secret))
    return RegistrationSettings((address,), kind=kind, app="org/say")


@pytest.fixture
async def orchestrator() -> AsyncIterator[LocalOrchestrator]:
    async with LocalOrchestrator(heartbeat_interval=0.2, heartbeat_ttl=5.0) as one:
        yield one


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as client:
        yield client


async def runner(orchestrator: LocalOrchestrator, http: httpx.AsyncClient) -> dict[str, Any]:
    (entry,) = (await http.get(f"{orchestrator.url}/discovery")).json()
    found: dict[str, Any] = entry["runners"][0]
    return found


async def registered(s: Any) -> None:
    async with asyncio.timeout(LIMIT):
        await s.service.registration.settled()


async def test_it_is_discovered_called_and_gone(
    served: Serve, orchestrator: LocalOrchestrator, http: httpx.AsyncClient
) -> None:
    async with served(Say, registration=at(orchestrator)) as s:
        await registered(s)
        found = await runner(orchestrator, http)
        assert (found["app"], found["mode"], found["capacity"]) == ("org/say", "single-shot", 2)
        told = json.loads(found["metadata"])
        assert told["type"] == "request" and told["schema_url"] == "./schema"
        mine = {"authorization": "Bearer the caller's own"}
        answer = await http.post(f"{found['url']}/predict", json={"text": "a"}, headers=mine)
        assert (answer.status_code, answer.json()) == (200, "a")
        schema = (await http.get(f"{found['url']}/schema")).json()
        assert schema == (await http.post(f"{found['url']}/schema")).json()
        for route in ("health", "docs"):
            assert (await http.get(f"{found['url']}/{route}")).status_code == 200
        health = (await s.http.get("/health")).json()
        (state,) = health["registration"]
        assert (state["registry"], state["status"]) == ("live-runner", "registered")
    (entry,) = (await http.get(f"{orchestrator.url}/discovery")).json()
    assert "runners" not in entry


async def test_only_the_orchestrator_gets_in_and_its_secret_is_nowhere(
    served: Serve,
    orchestrator: LocalOrchestrator,
    http: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with served(Say, registration=at(orchestrator)) as s:
        await registered(s)
        found = await runner(orchestrator, http)
        assert (await http.post(f"{found['url']}/predict", json={"text": "a"})).status_code == 200
        assert (await s.post(text="a")).status_code == 401
        answer = await s.http.post("/r/guessed/predict", json={"text": "a"})
        assert answer.status_code == 404
        (caller,) = s.service.registration.callers
        assert caller.started == 1 and caller.in_flight == 0
        shown = caplog.text + json.dumps((await s.http.get("/health")).json()) + json.dumps(found)
        assert caller.token.reveal() not in shown


async def test_a_stream_passes_as_it_is(
    served: Serve, orchestrator: LocalOrchestrator, http: httpx.AsyncClient
) -> None:
    async with served(Spell, registration=at(orchestrator)) as s:
        await registered(s)
        found = await runner(orchestrator, http)
        assert json.loads(found["metadata"])["type"] == "stream"
        answer = await http.post(f"{found['url']}/predict", json={"text": "ab"})
        assert [line for line in answer.text.split("\n") if line] == [
            'data: "a"',
            'data: "b"',
            "data: [DONE]",
        ]


async def test_on_a_chain_what_is_free_is_a_capability_and_no_live_runner(served: Serve) -> None:
    async with LocalOrchestrator(chain=LocalChain(), tls=False) as orchestrator:
        async with served(Say, registration=at(orchestrator, "both")) as s:
            await registered(s)
            byoc, runner = (await s.http.get("/health")).json()["registration"]
            assert byoc["status"] == "registered"
            assert runner["status"] == "refused" and "LIVEPEER_APP_PRICE" in runner["reason"]
            assert orchestrator.capabilities.available("say") == 2
            assert not list(orchestrator.runners)


async def test_off_a_chain_a_price_in_usd_is_no_capability_and_a_live_runner(served: Serve) -> None:
    async with LocalOrchestrator(tls=False) as orchestrator:
        prices = {"price_per_unit": 1, "price_scaling": 4, "currency": "USD", "app_price": 0.5}
        wanted = dataclasses.replace(at(orchestrator, "both"), **prices)
        async with served(Say, registration=wanted) as s, asyncio.timeout(LIMIT):
            told: list[dict[str, Any]] = [{}, {}]
            while not told[0].get("reason") or told[1]["status"] != "registered":
                await asyncio.sleep(0.02)
                told = (await s.http.get("/health")).json()["registration"]
            byoc, runner = told
            assert "USD" in byoc["reason"] and "use wei" in byoc["reason"]
            assert runner["status"] == "registered"
            shown = (await s.http.get("/metrics")).text
            asked = (
                'registry="byoc",unit="second"} 0.25',
                'registry="live-runner",unit="hour"} 0.5',
            )
            for each in asked:
                assert f'livepeer_advertised_price{{currency="usd",{each}' in shown


async def test_it_can_be_in_both_registries(
    served: Serve, orchestrator: LocalOrchestrator, http: httpx.AsyncClient
) -> None:
    async with served(Say, registration=at(orchestrator, "both")) as s:
        await registered(s)
        assert orchestrator.capabilities.available("say") == 2
        found = await runner(orchestrator, http)
        assert (await http.post(f"{found['url']}/predict", json={"text": "a"})).status_code == 200
        bearer, _ = s.service.registration.callers
        headers = {"authorization": f"Bearer {bearer.token.reveal()}"}
        direct = await s.http.post("/predict", json={"text": "b"}, headers=headers)
        assert direct.json() == "b"
        health = (await s.http.get("/health")).json()
        assert [one.get("registry") for one in health["registration"]] == [None, "live-runner"]
    assert orchestrator.capabilities.available("say") == 0


async def test_it_is_called_below_a_path_prefix_too(
    orchestrator: LocalOrchestrator, http: httpx.AsyncClient
) -> None:
    """Mounted into another app, or behind a proxy that adds a prefix: the URL has it."""
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/base"
    wanted = dataclasses.replace(at(orchestrator), capability_url=url)
    inner = create_app(Say, Settings(registration=wanted))
    outer = FastAPI(lifespan=lambda _: inner.router.lifespan_context(inner))
    outer.state.service = inner.state.service
    outer.mount("/base", inner)
    async with listening(outer, listener):
        async with asyncio.timeout(LIMIT):
            await inner.state.service.lifecycle.wait_ready()
            await inner.state.service.registration.settled()
        found = await runner(orchestrator, http)
        answer = await http.post(f"{found['url']}/predict", json={"text": "a"})
        assert (answer.status_code, answer.json()) == (200, "a")
        for route in ("schema", "health", "docs"):
            assert (await http.get(f"{found['url']}/{route}")).status_code == 200
        assert (await http.post(f"{url}/predict", json={"text": "a"})).status_code == 401
