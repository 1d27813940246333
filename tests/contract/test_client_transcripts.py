"""The client against what orchestrators and gateways were recorded to answer (replayer 3)."""

from __future__ import annotations

import asyncio
from collections import Counter

from livepeer.client.config import Config
from livepeer.client.http.pools import Pools
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.live.calls import LiveCalls
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.schemas import Schemas
from livepeer.client.payments.wallet import Wallet, signer_for

from .replay import live_caller
from .replay.caller import Played, replay
from .replay.scripted import ScriptedServer
from .replay.transcript import Mismatch, Scenario, load, told

FILES = ("batch", "sse", "gateway")
AT_ONCE = 16

#: Scenarios that the client meets otherwise, and why. One that passes must leave this table.
DIFFERENCES = {
    ("sse", "cr"): (
        "A bare CR ends a line by the HTML standard, and none for an orchestrator: so its balance"
        " line, put before what it takes for one line with [DONE], reads as an event."
    ),
}

Outcome = dict[tuple[str, str], list[Played] | Exception]


def recorded() -> list[tuple[str, Scenario]]:
    """Those in which a caller runs a job; streams come with the live session."""
    return [
        (name, scenario)
        for name in FILES
        for scenario in load(name).scenarios
        if any(
            step.get("send", {}).get("path", "").startswith("/process/request")
            for step in scenario.steps
            if "caller" in step
        )
    ]


async def play() -> Outcome:
    room = asyncio.Semaphore(AT_ONCE)

    async def attempt(name: str, scenario: Scenario) -> list[Played]:
        async with room, asyncio.timeout(60), ScriptedServer() as server:
            return await replay(scenario, server, gateway=name == "gateway")

    pairs = recorded()
    results = await asyncio.gather(*(attempt(*pair) for pair in pairs), return_exceptions=True)
    outcome: Outcome = {}
    for (name, scenario), result in zip(pairs, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, Mismatch):
            raise RuntimeError(f"{name}: {scenario.name}") from result
        outcome[name, scenario.name] = result
    return outcome


def test_the_client_does_what_was_recorded() -> None:
    outcome = asyncio.run(play())
    assert {key for key in DIFFERENCES if not isinstance(outcome[key], Mismatch)} == set()
    assert told({key: result for key, result in outcome.items() if key not in DIFFERENCES}) == ""
    sends = [sent for result in outcome.values() if isinstance(result, list) for sent in result]
    ours = [sent for sent in sends if sent.foreign is None]
    foreign = Counter(sent.foreign for sent in sends if sent.foreign)
    print(
        f"\n{len(outcome)} scenarios, {len(sends)} requests, {len(ours)} as the client sends them"
    )
    for reason, count in foreign.most_common():
        print(f"{count:4}  {reason}")
    assert len(ours) >= 200


# -- live streams ---------------------------------------------------------------------------------


def recorded_live() -> list[tuple[str, Scenario]]:
    return [
        (name, scenario)
        for name in ("stream", "gateway")
        for scenario in load(name).scenarios
        if any(
            live_caller.ROUTE.fullmatch(step.get("send", {}).get("path", ""))
            for step in scenario.steps
            if "caller" in step
        )
    ]


async def play_live() -> dict[tuple[str, str], list[str | None] | Mismatch]:
    room = asyncio.Semaphore(AT_ONCE)

    async def attempt(name: str, scenario: Scenario) -> list[str | None]:
        by_gateway = name == "gateway"
        async with room, asyncio.timeout(60), ScriptedServer() as server:
            url = f"http://{server.address}"
            config = Config.resolve(
                gateway_url=url if by_gateway else None,
                orch_url=None if by_gateway else url,
                max_retries=0,
            )
            trust = TlsPolicy(config.tls)
            dispatcher = Dispatcher(config, trust, Wallet(config, trust, signer_for(config, trust)))
            pools = Pools()
            hosts = frozenset({"orch"})  # where the recorded channels are
            calls = LiveCalls(dispatcher, Schemas(dispatcher), pools, trust, hosts)
            try:
                return await live_caller.replay(scenario, server, calls, gateway=by_gateway)
            finally:
                await pools.aclose()

    pairs = recorded_live()
    results = await asyncio.gather(*(attempt(*pair) for pair in pairs), return_exceptions=True)
    outcome: dict[tuple[str, str], list[str | None] | Mismatch] = {}
    for (name, scenario), result in zip(pairs, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, Mismatch):
            raise RuntimeError(f"{name}: {scenario.name}") from result
        outcome[name, scenario.name] = result
    return outcome


def test_live_streams_are_started_changed_and_ended_as_recorded() -> None:
    outcome = asyncio.run(play_live())
    assert told(outcome) == ""
    sends = [sent for result in outcome.values() if isinstance(result, list) for sent in result]
    foreign = Counter(sent for sent in sends if sent)
    ours = sends.count(None)
    print(f"\n{len(outcome)} scenarios, {len(sends)} requests, {ours} as the client sends them")
    for reason, count in foreign.most_common():
        print(f"{count:4}  {reason}")
    assert ours >= 150
