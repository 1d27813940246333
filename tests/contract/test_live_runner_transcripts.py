"""The local orchestrator's live runners against what go-livepeer's were recorded to do
(replayer 1)."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Iterable

import pytest

from livepeer.runner.devnet import LocalOrchestrator

from .replay.changes import with_one_change
from .replay.orchestrator import replay
from .replay.transcript import Mismatch, Scenario, load, told

#: Scenarios at one time; each has an orchestrator of its own, whose discovery shows its runners.
AT_ONCE = 16

#: Every recorded scenario that is not reproduced, and why. One that passes must leave this table.
DIFFERENCES: dict[str, str] = {}

Outcome = dict[str, Exception | None]


async def play(scenarios: Iterable[Scenario], *, limit: float = 100) -> Outcome:
    transcript = load("live-runner")
    room = asyncio.Semaphore(AT_ONCE)

    async def attempt(scenario: Scenario) -> None:
        async with room, LocalOrchestrator() as orchestrator, asyncio.timeout(limit):
            address = orchestrator.url.removeprefix("https://")
            if scenario.racy:
                scenario = await at_the_right_moment(scenario)
            await replay(transcript, scenario, address, orchestrator.secret)

    played = list(scenarios)
    results = await asyncio.gather(*map(attempt, played), return_exceptions=True)
    outcome: Outcome = {}
    for scenario, result in zip(played, results, strict=True):
        if result is not None and not isinstance(result, Mismatch | TimeoutError):
            raise result
        outcome[scenario.name] = result
    return outcome


async def at_the_right_moment(scenario: Scenario) -> Scenario:
    """Between the end of the TTL and the sweep, with a second to spare on both sides: the sweeps
    come every five seconds from the orchestrator's start, the runner a second after it."""
    await asyncio.sleep(1)
    steps = [
        {**step, "wait_s": step["wait_s"] + 1} if "until" in step else step
        for step in scenario.steps
    ]
    return dataclasses.replace(scenario, steps=steps)


def recorded(*, slow: bool, different: bool = False) -> list[Scenario]:
    return [
        scenario
        for scenario in load("live-runner").scenarios
        if scenario.slow is slow and (scenario.name in DIFFERENCES) is different
    ]


def test_live_runners_are_served_as_was_recorded() -> None:
    assert told(asyncio.run(play(recorded(slow=False)))) == ""


@pytest.mark.slow
def test_live_runners_are_served_as_was_recorded_over_half_a_minute() -> None:
    assert told(asyncio.run(play(recorded(slow=True)))) == ""


def test_every_listed_difference_of_live_runners_is_still_one() -> None:
    outcome = asyncio.run(play(recorded(slow=False, different=True)))
    assert set(outcome) == set(DIFFERENCES)
    assert [name for name, error in outcome.items() if error is None] == []


@pytest.mark.slow
def test_one_random_change_in_a_live_runner_scenario_is_noticed() -> None:
    changes = random.Random(20261128)
    changed = [
        scenario
        for original in recorded(slow=False)
        if (scenario := with_one_change(original, changes)) is not None
    ]
    assert len(changed) > 70
    outcome = asyncio.run(play(changed, limit=6))  # one that hangs is noticed
    assert [name for name, error in outcome.items() if error is None] == []
