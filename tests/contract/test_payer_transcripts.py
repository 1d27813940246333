"""The client against every payment that was recorded: what the signer says, and those of live
runners, BYOC and live-video-to-video (replayer 3)."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from livepeer.client.payments import exchange

from .replay.grpc_front import GrpcFront
from .replay.payer import PayerReplay
from .replay.payer_ways import OTHER_WAYS
from .replay.payments import load_payments
from .replay.scripted import ScriptedServer
from .replay.transcript import Mismatch, Scenario, told

AT_ONCE = 16
Outcome = dict[str, list[str | None] | Mismatch]


async def play(name: str) -> Outcome:
    transcript = load_payments(name)
    signer = load_payments("signer")["sign_json"].steps[1]["receives"]["json"]
    room = asyncio.Semaphore(AT_ONCE)

    async def attempt(scenario: Scenario) -> list[str | None]:
        async with (
            room,
            asyncio.timeout(60),
            ScriptedServer() as server,
            GrpcFront(server) as front,
        ):
            address = front.address if name == "lv2v" else server.address
            return await PayerReplay(transcript, scenario, server, address, signer).run()

    scenarios = transcript.scenarios
    results = await asyncio.gather(*map(attempt, scenarios), return_exceptions=True)
    outcome: Outcome = {}
    for scenario, result in zip(scenarios, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, Mismatch):
            raise RuntimeError(f"{name}: {scenario.name}") from result
        outcome[scenario.name] = result
    return outcome


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("signer", 128),
        ("live-runner-paid", 238),
        pytest.param("byoc-paid", 87, marks=pytest.mark.slow),  # a hundred signatures in Python
        ("lv2v", 37),
    ],
)
def test_the_client_pays_as_was_recorded(
    name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`count`: of its requests that our client sends as they were recorded."""
    monkeypatch.setenv("LIVEPEER_STATE", str(tmp_path))
    monkeypatch.setattr(exchange, "PAUSES", (0.0, 0.0))
    outcome = asyncio.run(play(name))
    assert told(outcome) == ""
    played = {key: sent for key, sent in outcome.items() if isinstance(sent, list)}
    sends = [each for sent in played.values() for each in sent]
    whole = sum(1 for sent in played.values() if not any(sent))
    print(f"\n{name}: {len(played)} scenarios, {whole} whole; {len(sends)} requests")
    print(f"{sends.count(None):4}  as our client sends them")
    for reason, times in Counter(each for each in sends if each).most_common():
        print(f"{times:4}  {reason}")
    assert sends.count(None) == count
    # Every listed difference is still one.
    ways = {key: why for (file, key), why in OTHER_WAYS.items() if file == name}
    assert [key for key, why in ways.items() if why not in played[key]] == []
