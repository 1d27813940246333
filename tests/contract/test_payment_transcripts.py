"""The local network's payments against what go-livepeer's orchestrator and signer were recorded to
do (replayer 1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from livepeer.runner.devnet import LocalOrchestrator, LocalSigner

from .replay.byoc_payments import ByocPaymentReplay, MovedClock
from .replay.payments import PaymentReplay, addressed, load_payments, payers
from .replay.transcript import Mismatch, Scenario, told

AT_ONCE = 8
DIFFERENCES: dict[str, str] = {
    "no_expiration_params": "the signer's own round is this network's",
    "round_zero": "the signer's own round is this network's",
    "no_round": "400 where the reference breaks the connection and loses a place",
    "lv2v_capabilities": "capabilities go into no segment here",
    "state_changed": "what is inside a state is this network's own",
}
"""Every recorded scenario that is not reproduced, and why. One that passes leaves this table."""
Outcome = dict[str, Exception | None]


def recorded(name: str, *, different: bool = False) -> list[Scenario]:
    """Those of an orchestrator and a signer without options, in which no time passes."""
    return [
        each
        for each in load_payments(name).scenarios
        if not (each.slow or "inexact" in each.extra)
        and addressed(each) <= {"orch", "signer"}
        and not any("webhook" in str(step.get("at")) for step in each.steps)
        and (each.name in DIFFERENCES) is different
    ]


async def play(name: str, scenarios: Iterable[Scenario]) -> Outcome:
    transcript = load_payments(name)
    room = asyncio.Semaphore(AT_ONCE)

    async def attempt(scenario: Scenario) -> None:
        chain, caller = payers(transcript.raw)
        chain.fund(caller)
        async with (
            room,
            LocalOrchestrator(chain=chain, secret="orch-secret") as orchestrator,
            LocalSigner(chain) as signer,
            asyncio.timeout(20),
        ):
            address = orchestrator.url.removeprefix("https://")
            to = signer.url.removeprefix("http://")
            replay = PaymentReplay(transcript, scenario, address, orchestrator.secret, to, chain)
            await replay.run()

    played = list(scenarios)
    results = await asyncio.gather(*map(attempt, played), return_exceptions=True)
    outcome: Outcome = {}
    for scenario, result in zip(played, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
        outcome[scenario.name] = result
    return outcome


@pytest.mark.parametrize(
    "name", ["signer", pytest.param("live-runner-paid", marks=pytest.mark.slow)]
)
def test_payments_are_as_was_recorded(name: str) -> None:
    outcome = asyncio.run(play(name, recorded(name)))
    assert told(outcome) == ""
    assert len(outcome) > 40


def byoc_recorded() -> list[Scenario]:
    """All but those through a gateway; their minutes pass by a clock that is moved."""
    scenarios = load_payments("byoc-paid").scenarios
    return [each for each in scenarios if addressed(each) <= {"orch", "signer"}]


async def play_byoc(scenarios: Iterable[Scenario]) -> Outcome:
    transcript, outcome = load_payments("byoc-paid"), {}
    for scenario in scenarios:
        clock = MovedClock()
        chain, caller = payers(transcript.raw, now=clock.now, sleep=clock.sleep)
        chain.fund(caller)
        async with (
            LocalOrchestrator(chain=chain, secret="orch-secret") as orchestrator,
            LocalSigner(chain) as signer,
            asyncio.timeout(60),
        ):
            address = orchestrator.url.removeprefix("https://")
            to = signer.url.removeprefix("http://")
            secret = orchestrator.secret
            replay = ByocPaymentReplay(clock, transcript, scenario, address, secret, to, chain)
            outcome[scenario.name] = None
            try:
                await replay.run()
            except Mismatch as mismatch:
                outcome[scenario.name] = mismatch
    return outcome


@pytest.mark.parametrize("minutes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_paid_byoc_is_as_was_recorded_with_its_traps(minutes: bool) -> None:
    outcome = asyncio.run(play_byoc(each for each in byoc_recorded() if each.slow is minutes))
    assert told(outcome) == ""
    assert len(outcome) == (6 if minutes else 32)


def test_every_listed_difference_of_payments_is_still_one() -> None:
    outcome: Outcome = {}
    for name in ("signer", "live-runner-paid"):
        outcome |= asyncio.run(play(name, recorded(name, different=True)))
    assert set(outcome) == set(DIFFERENCES)
    assert [name for name, error in outcome.items() if error is None] == []
