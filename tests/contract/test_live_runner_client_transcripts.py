"""The client against what an orchestrator was recorded to answer of live runners (replayer 3)."""

from __future__ import annotations

import asyncio
from collections import Counter

from .replay.runner_caller import CALLERS, replay
from .replay.scripted import ScriptedServer
from .replay.transcript import Mismatch, Scenario, load, told

AT_ONCE = 16

Outcome = dict[str, list[str | None] | Mismatch]


def recorded() -> list[Scenario]:
    """Those in which a caller asks for anything."""
    return [
        scenario
        for scenario in load("live-runner").scenarios
        if any(step.get("caller") in CALLERS for step in scenario.steps)
    ]


async def play(scenarios: list[Scenario]) -> Outcome:
    room = asyncio.Semaphore(AT_ONCE)

    async def attempt(scenario: Scenario) -> list[str | None]:
        async with room, asyncio.timeout(60), ScriptedServer() as server:
            return await replay(scenario, server)

    results = await asyncio.gather(*map(attempt, scenarios), return_exceptions=True)
    outcome: Outcome = {}
    for scenario, result in zip(scenarios, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, Mismatch):
            raise RuntimeError(scenario.name) from result
        outcome[scenario.name] = result
    return outcome


def test_the_client_does_what_was_recorded_of_live_runners() -> None:
    outcome = asyncio.run(play(recorded()))
    assert told(outcome) == ""
    sends = [sent for result in outcome.values() if isinstance(result, list) for sent in result]
    ours = sends.count(None)
    print(f"\n{len(outcome)} scenarios, {len(sends)} requests, {ours} as the client sends them")
    for reason, count in Counter(sent for sent in sends if sent).most_common():
        print(f"{count:4}  {reason}")
    assert ours >= 100
