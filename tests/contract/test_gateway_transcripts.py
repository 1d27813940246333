"""The local gateway against what go-livepeer's was recorded to do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Sequence

import pytest

from livepeer.runner.devnet import LocalGateway, LocalOrchestrator
from livepeer.runner.devnet.certificate import server_context

from .replay.changes import with_one_change
from .replay.gateway import replay_gateway
from .replay.transcript import Mismatch, Scenario, load, told

AT_ONCE = 24
TRANSCRIPT = load("gateway")

_CRASH = (
    "How go-livepeer's gateway fails without a wallet; ours has the form of one and does not fail."
)
#: Every recorded scenario that is not reproduced, and why. One that passes must leave this table.
DIFFERENCES = {
    "offchain_pair": _CRASH,
    "offchain_success": _CRASH,
    "offchain_error": _CRASH,
    "stream_no_ticket_params": _CRASH,
}

Outcome = dict[str, Exception | None]


@contextlib.asynccontextmanager
async def start(urls: Sequence[str]) -> AsyncIterator[str]:
    async with LocalGateway(urls) as gateway:
        yield gateway.url.removeprefix("http://")


def mime_type(channel: str) -> str:
    if channel.endswith(("-control", "-events")):
        return "application/json"
    return "application/jsonl" if channel.endswith("-data") else "video/MP2T"


async def play(scenarios: Sequence[Scenario], limit: float = 100) -> Outcome:
    room = asyncio.Semaphore(AT_ONCE)
    front: ssl.SSLContext = server_context("127.0.0.1")

    async with LocalOrchestrator() as orchestrator:

        def create(channel: str) -> None:
            orchestrator.trickle.create(channel, mime_type(channel))

        async def attempt(scenario: Scenario) -> None:
            address = orchestrator.url.removeprefix("https://")
            async with room, asyncio.timeout(limit):
                await replay_gateway(TRANSCRIPT, scenario, address, start, create, front)

        attempts = (attempt(scenario) for scenario in scenarios)
        results = await asyncio.gather(*attempts, return_exceptions=True)
    outcome: Outcome = {}
    for scenario, result in zip(scenarios, results, strict=True):
        if result is not None and not isinstance(result, Mismatch | TimeoutError):
            raise result
        outcome[f"{scenario.group}-{scenario.name}"] = result
    return outcome


def recorded(*, slow: bool) -> list[Scenario]:
    return [
        scenario
        for scenario in TRANSCRIPT.scenarios
        if scenario.slow is slow and scenario.name not in DIFFERENCES
    ]


def test_the_local_gateway_does_what_was_recorded() -> None:
    assert told(asyncio.run(play(recorded(slow=False)))) == ""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_local_gateway_does_what_was_recorded_over_minutes() -> None:
    assert told(asyncio.run(play(recorded(slow=True), limit=180))) == ""


def test_every_listed_difference_is_still_one() -> None:
    different = [scenario for scenario in TRANSCRIPT.scenarios if scenario.name in DIFFERENCES]
    assert len(different) == len(DIFFERENCES)
    outcome = asyncio.run(play(different, limit=20))
    assert [name for name, error in outcome.items() if error is None] == []


def test_one_random_change_in_a_scenario_is_noticed() -> None:
    changes = random.Random(20261121)
    sample = changes.sample(recorded(slow=False), 40)
    changed = [one for scenario in sample if (one := with_one_change(scenario, changes))]
    assert len(changed) > 35
    outcome = asyncio.run(play(changed, limit=6))  # one that hangs is noticed
    assert [name for name, error in outcome.items() if error is None] == []
