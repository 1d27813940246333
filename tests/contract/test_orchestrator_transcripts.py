"""The local orchestrator against what go-livepeer's was recorded to do (replayer 1)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import Collection, Iterable

import pytest

from livepeer.runner.devnet import LocalOrchestrator

from .replay.changes import with_one_change
from .replay.orchestrator import replay
from .replay.transcript import Mismatch, Scenario, Transcript, load, told

FILES = ("registration", "batch", "sse", "stream")
#: Scenarios at one time; each has connections and servers of its own.
AT_ONCE = 32

#: Every recorded scenario that is not reproduced, and why. One that passes must leave this table.
DIFFERENCES = {
    ("batch", "not_http"): (
        "Only the error text differs: aiohttp does not hand out the first line of what is no HTTP."
    ),
    ("stream", "start_ingress"): (
        "Recorded while `start_ingress_data` ran: its input channel has the name that this"
        " scenario's data channel would have, so `-data` is shown open. Alone it is absent."
    ),
    ("stream", "start_ingress_egress"): ("The same with `start_ingress_egress_data`."),
}

#: Others register the same empty name, so this one needs an orchestrator of its own.
APART = {("registration", "empty_name")}

Outcome = dict[tuple[str, str], Exception | None]


async def play(
    scenarios: Iterable[tuple[Transcript, Scenario]],
    *,
    apart: Collection[tuple[str, str]] = APART,
    limit: float = 100,
) -> Outcome:
    """Replays many at once on one orchestrator; those in `apart` on one for each."""
    room = asyncio.Semaphore(AT_ONCE)

    async def attempt(pair: tuple[Transcript, Scenario], shared: LocalOrchestrator) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(room)
            orchestrator = shared
            if (pair[0].name, pair[1].name) in apart:
                orchestrator = await stack.enter_async_context(LocalOrchestrator())
            await stack.enter_async_context(asyncio.timeout(limit))
            address = orchestrator.url.removeprefix("https://")
            await replay(*pair, address, orchestrator.secret)

    pairs = list(scenarios)
    async with LocalOrchestrator() as shared:
        attempts = (attempt(pair, shared) for pair in pairs)
        results = await asyncio.gather(*attempts, return_exceptions=True)
    outcome: Outcome = {}
    for (transcript, scenario), result in zip(pairs, results, strict=True):
        if result is not None and not isinstance(result, Mismatch | TimeoutError):
            raise result
        outcome[transcript.name, scenario.name] = result
    return outcome


def recorded(*, slow: bool, different: bool = False) -> list[tuple[Transcript, Scenario]]:
    return [
        (transcript, scenario)
        for transcript in map(load, FILES)
        for scenario in transcript.scenarios
        if scenario.slow is slow and ((transcript.name, scenario.name) in DIFFERENCES) is different
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_local_orchestrator_does_what_was_recorded(name: str) -> None:
    pairs = [pair for pair in recorded(slow=False) if pair[0].name == name]
    assert pairs
    assert told(asyncio.run(play(pairs))) == ""


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_the_local_orchestrator_does_what_was_recorded_over_minutes() -> None:
    assert told(asyncio.run(play(recorded(slow=True), limit=600))) == ""


@pytest.mark.slow
def test_every_listed_difference_is_still_one() -> None:
    outcome = asyncio.run(play(recorded(slow=False, different=True), apart=DIFFERENCES))
    assert set(outcome) == set(DIFFERENCES)
    assert [key for key, error in outcome.items() if error is None] == []


def test_the_scenarios_that_shared_a_name_pass_without_the_neighbour() -> None:
    transcript = load("stream")

    def without(scenario: Scenario) -> Scenario:
        steps = [
            {"channels": {n: "absent" if n.endswith("-data") else s for n, s in channels.items()}}
            if (channels := step.get("channels"))
            else step
            for step in scenario.steps
        ]
        return dataclasses.replace(scenario, steps=steps)

    pairs = [
        (transcript, without(transcript[name]))
        for name in ("start_ingress", "start_ingress_egress")
    ]
    outcome = asyncio.run(play(pairs))
    assert list(outcome.values()) == [None, None]


@pytest.mark.slow
def test_one_random_change_in_a_scenario_is_noticed() -> None:
    changes = random.Random(20261121)
    pairs = recorded(slow=False)
    changed = [
        (transcript, scenario)
        for transcript, original in changes.sample(pairs, 80)
        if (scenario := with_one_change(original, changes)) is not None
    ]
    assert len(changed) > 70
    outcome = asyncio.run(play(changed, limit=6))  # one that hangs is noticed
    unnoticed = [key for key, error in outcome.items() if error is None]
    assert unnoticed == []
