"""What go-livepeer's orchestrator and signer were recorded to say, as this client takes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from livepeer.client import ConfigurationError, Gateway, LivepeerError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.payments.challenge import Challenge
from livepeer.client.payments.remote_signer import RemoteSigner
from livepeer.client.payments.signer import Order, PriceRose, RefreshNeeded, SignedPayment
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, PAYMENT
from livepeer.client.testing import reply

Start = Callable[..., Any]
FIXTURES = Path(__file__).parents[3] / "specs" / "fixtures" / "payments"


WITH_ZEROS = frozenset({"round_zero", "price_zero", "pixels_zero", "auth_zero"})
"""Scenarios whose requests the recorder wrote by hand, with zeros that Go leaves out."""


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every message of a file."""
    if isinstance(value, dict):
        if "b64proto" in value and "recorded" in value:
            yield value
        for each in value.values():
            yield from inside(each)
    elif isinstance(value, list):
        for each in value:
            yield from inside(each)


@pytest.mark.parametrize("name", ["signer", "live-runner-paid", "byoc-paid"])
def test_every_recorded_payment_is_read_and_written_byte_for_byte(name: str) -> None:
    count = 0
    recorded = json.loads((FIXTURES / f"{name}.json").read_text())
    scenarios = [each for each in recorded["scenarios"] if each["name"] not in WITH_ZEROS]
    for each in inside([recorded.get("values"), scenarios]):
        shape = {"net.Payment": PAYMENT, "net.OrchestratorInfo": ORCHESTRATOR_INFO}.get(
            each["b64proto"]
        )
        if shape is None or "capabilities" in each["fields"]:
            continue
        found = shape.decode_text(each["recorded"])
        assert shape.encode_text(found) == each["recorded"]
        count += 1
    assert count > 20


def recorded_answers() -> dict[str, tuple[int, Any]]:
    """The signer's answers to requests for a payment, by the scenario, those that are none."""
    found: dict[str, tuple[int, Any]] = {}
    for scenario in json.loads((FIXTURES / "signer.json").read_text())["scenarios"]:
        asked = ""
        for step in scenario["steps"]:
            asked = step.get("send", {}).get("path", asked)
            told = step.get("receives") or {}
            if asked == "/generate-live-payment" and told.get("status", 200) != 200:
                body = told["json"] if "json" in told else told.get("body", "")
                found[scenario["name"]] = (told["status"], body)
    return found


async def test_every_recorded_refusal_of_the_signer_is_one_clear_error(start: Start) -> None:
    answers = recorded_answers()
    assert len(answers) > 60
    server, http = await start(), Http()
    signer = RemoteSigner(server.url, {}, TlsPolicy("verify"))
    order = Order("params", "live", "test/app", "session")
    try:
        for name, (status, body) in answers.items():
            answer = reply(body, status)
            server.other = lambda _, answer=answer: answer
            if status == 482:
                assert await signer.pay(http, order, None, Deadline(10)) is None
                continue
            kinds = {480: RefreshNeeded, 481: PriceRose}
            with pytest.raises(kinds.get(status, LivepeerError)) as caught:
                await signer.pay(http, order, None, Deadline(10))
            text = body["error"]["message"] if isinstance(body, dict) else ""
            if status not in (480, 500, 405) and text:
                assert text.replace("\u00a0", " ")[:60] in str(caught.value), name
    finally:
        await http.aclose()


def test_recorded_payments_are_worth_what_the_signer_charged() -> None:
    """Ten seconds of 2.4e9 wei are three tickets of 8e9."""
    (scenario,) = [
        each
        for each in json.loads((FIXTURES / "live-runner-paid.json").read_text())["scenarios"]
        if each["name"] == "paid"
    ]
    found = {each["name"]: each["recorded"] for each in inside(scenario) if "name" in each}
    info = ORCHESTRATOR_INFO.decode_text(found["payment_params_1"])
    manifest = info["auth_token"]["session_id"]
    path = f"/apps/run-paid/session/{manifest}/payment"
    body = {
        "payment_params": found["payment_params_1"],
        "manifest_id": manifest,
        "payment_url": f"https://127.0.0.1:19935{path}",
    }
    challenge = Challenge.read(json.dumps(body).encode())
    assert (challenge.price, challenge.path) == (2_400_000_000, path)
    signed = SignedPayment(found["payment_1"], found["segment_1"])
    value, tickets = challenge.value(signed, "0x2696e7910b70f9a890c92374ceD5D737577b21b3")
    assert tickets == challenge.tickets(10 * challenge.price, Fraction(0)) == 3
    assert round(float(value)) == 24_000_000_000
    with pytest.raises(ValueError, match="another address"):
        challenge.value(signed, "0x" + "00" * 20)


async def test_a_signer_that_signs_no_byoc_jobs_says_the_three_ways_that_work(
    start: Start, payer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()

    def other(request: Any) -> list[Any]:
        if request.path == "/sign-orchestrator-info":
            return reply({"address": "0xAbC", "signature": "0x01"})
        return reply("404 page not found\n", 404, "text/plain")

    price = {"pricePerUnit": 5, "pixelsPerUnit": 1}
    orch = await start(price=price, ticket_params=payer.params)
    remote = await start(other=other)
    async with Gateway(orch_url=orch.url, signer_url=remote.url) as gw:
        with pytest.raises(ConfigurationError, match=r"gateway_url.*eth_key.*live runner"):
            await gw.run_async("echo")
        assert gw.spent() == 0
    assert not orch.jobs


async def test_a_byoc_job_is_paid_for_its_whole_time_less_what_is_left(
    start: Start, payer: Any
) -> None:
    price = {"pricePerUnit": 50, "pixelsPerUnit": 1}
    orch = await start(price=price, ticket_params=payer.params)
    async with Gateway(orch_url=orch.url) as gw:
        assert await gw.run_async("echo", timeout=100) == {"ok": True}
        assert [(each.kind, each.units) for each in payer.orders] == [("units", 100)]
        assert gw.spent() == 5 * payer.ticket
    assert orch.jobs[0].headers["livepeer-payment"]
