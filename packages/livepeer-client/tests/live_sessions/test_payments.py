"""A live stream that has a price is paid for as long as it runs, by whoever can sign payments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from typing import Any

import pytest

from livepeer.client import Gateway, LivepeerError, PaymentRequiredError, SessionEndedError
from livepeer.client.live import outage as live_outage
from livepeer.client.live import payments as live_payments
from livepeer.client.payments.byoc import STREAM_SECONDS
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO
from livepeer.client.testing import ScriptedOrchestrator, reply
from livepeer.trickle import TrickleServer

Start = Callable[..., Any]
LIMIT = 20.0
PRICE = {"pricePerUnit": 7, "pixelsPerUnit": 1}


@pytest.fixture
async def channels() -> AsyncIterator[TrickleServer]:
    async with TrickleServer(port=0) as server:
        yield server


def orchestrator(channels: TrickleServer, payment: Callable[[], list[Any]]) -> Callable[..., Any]:
    def other(request: Any) -> list[Any]:
        match request.path:
            case "/ai/stream/start":
                names = [f"{request.job['id']}-{kind}" for kind in ("control", "events")]
                for name in names:
                    channels.create(name)
                control, events = map(channels.channel_url, names)
                return reply(b"", X_Control_Url=control, X_Events_Url=events)
            case "/ai/stream/payment":
                return payment()
        return reply({"ok": True})

    return other


async def paid(server: ScriptedOrchestrator, count: int) -> list[Any]:
    """The payments for the running stream, once there are so many."""
    async with asyncio.timeout(LIMIT):
        while True:
            found = [each for each in server.others if each.path == "/ai/stream/payment"]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


def live(gw: Gateway) -> Any:
    return gw.live("tint", publish=False, subscribe=False, data=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_payments, "PAYMENT_SECONDS", 0.05)
    monkeypatch.setattr(live_outage, "PAUSE", 0.02)


async def test_it_is_paid_for_with_its_start_and_again_and_again_by_fresh_tokens(
    start: Start, channels: TrickleServer, payer: Any
) -> None:
    answers = [reply(b"", 500)]  # a payment that does not get through is made again

    def payment() -> list[Any]:
        return answers.pop() if answers else reply(b"")

    orch = await start(
        price=PRICE, ticket_params=payer.params, other=orchestrator(channels, payment)
    )
    async with Gateway(orch_url=orch.url, trickle_hosts="127.0.0.1") as gw, live(gw) as session:
        payments = await paid(orch, 4)
        assert session.ended is None
    started = next(each for each in orch.others if each.path == "/ai/stream/start")
    assert all(each.headers["livepeer-payment"] for each in (started, *payments))
    assert len(orch.tokens) >= 5  # the price and the ticket parameters may change
    for each in payments:
        assert json.loads(each.job["request"]) == {"stream_id": session.stream_id}
        assert session.spent == gw.spent() == len(payer.orders) * payer.ticket
    # 60 seconds that are wanted, a debit of 23, and the time until the next payment.
    assert {(each.kind, each.units) for each in payer.orders} == {("units", STREAM_SECONDS)}
    count = len([each for each in orch.others if each.path == "/ai/stream/payment"])
    await asyncio.sleep(0.3)
    assert len(await paid(orch, 0)) == count  # nobody pays for a stream that is over


@pytest.mark.parametrize("who", ["signer", "orchestrator"])
async def test_a_stream_that_cannot_be_paid_for_any_longer_ends_and_says_so(
    start: Start, channels: TrickleServer, payer: Any, who: str
) -> None:
    refused = reply("insufficient balance\n", 402, "text/plain")
    answer = refused if who == "orchestrator" else reply(b"")
    orch = await start(
        price=PRICE, ticket_params=payer.params, other=orchestrator(channels, lambda: answer)
    )
    async with Gateway(orch_url=orch.url, trickle_hosts="127.0.0.1") as gw, live(gw) as session:
        if who == "signer":
            payer.refusal = PaymentRequiredError("the signer has no balance left")
        why = await asyncio.wait_for(session.wait(), LIMIT)
        assert "cannot be paid for" in why and "balance" in why
        with pytest.raises(SessionEndedError, match="cannot be paid for"):
            await session.update({})


@pytest.mark.parametrize(("most", "ends"), [(None, True), (Fraction(23, 3), True), (8, False)])
async def test_a_price_that_rises_in_mid_stream_is_paid_within_max_price_and_no_further(
    start: Start, channels: TrickleServer, payer: Any, most: Any, ends: bool
) -> None:
    """Each payment is made by a token of its own, which names a price of its own."""
    orch = await start(
        price=PRICE, ticket_params=payer.params, other=orchestrator(channels, lambda: reply(b""))
    )
    settings = {"orch_url": orch.url, "trickle_hosts": "127.0.0.1", "max_price": most}
    async with Gateway(**settings) as gw, live(gw) as session:
        await paid(orch, 1)
        orch.price = {"pricePerUnit": 8, "pixelsPerUnit": 1}
        if ends:
            why = await asyncio.wait_for(session.wait(), LIMIT)
            assert "rose from 7 to 8 wei per second" in why
            assert ("over max_price 7.66667" in why) == (most is not None)
        else:
            await paid(orch, len(await paid(orch, 0)) + 2)
            assert session.ended is None
        prices = [
            ORCHESTRATOR_INFO.decode_text(each.params)["price_info"]["pricePerUnit"]
            for each in payer.orders
        ]
        assert set(prices) == ({7} if ends else {7, 8})
        # 140 seconds of 8 wei take a second ticket.
        assert gw.spent() == session.spent == sum(each - 6 for each in prices) * payer.ticket


@pytest.mark.parametrize("limited", [False, True])
async def test_a_debt_that_an_orchestrator_makes_up_is_paid_within_max_spend_alone(
    start: Start, payer: Any, limited: bool
) -> None:
    """A minute costs 420 wei; so much more is owed only by its own word."""
    orch = await start(price=PRICE, ticket_params=payer.params, balance=-9_000)
    async with Gateway(orch_url=orch.url, max_spend=10_000 if limited else None) as gw:
        if limited:
            assert await gw.run_async("echo", timeout=60) == {"ok": True}
            assert gw.spent() == 10 * payer.ticket  # of 9,420
            with pytest.raises(PaymentRequiredError, match="max_spend"):
                await gw.run_async("echo", timeout=60)
        else:
            with pytest.raises(PaymentRequiredError, match="9000 wei are owed there from before"):
                await gw.run_async("echo", timeout=60)
            assert gw.spent() == 0 and not payer.orders and not orch.jobs
            orch.balance = -420  # as much again as the call: what calls side by side can leave
            assert await gw.run_async("echo", timeout=60) == {"ok": True}
            assert gw.spent() == payer.ticket


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"price": {"pricePerUnit": -1, "pixelsPerUnit": 1}}, "its price is none"),
        ({"price": {"pricePerUnit": 1 << 63, "pixelsPerUnit": 1}}, "its price is none"),
        ({"price": {"pricePerUnit": float("nan"), "pixelsPerUnit": 1}}, "its price is none: nan"),
        ({"price": {"pricePerUnit": 7.5, "pixelsPerUnit": 1}}, "its pricePerUnit is no number"),
        ({"price": ["7"]}, "its price is none: a list"),
        ({"balance": "1/0"}, "its balance is no number"),
        ({"balance": float("inf")}, "its balance is no number"),
        ({"ticket_params": {"recipient": 5}}, "its recipient is none"),
        ({"ticket_params": {"recipient": "%"}}, "its recipient is no base64"),
        ({"ticket_params": {}}, "its tickets are worth nothing"),
        ({"ticket_params": 5}, "no ticket parameters"),
    ],
)
async def test_a_token_that_makes_no_sense_is_one_precise_error_and_nothing_is_paid(
    start: Start, payer: Any, wrong: dict[str, Any], told: str
) -> None:
    orch = await start(
        price=PRICE,
        token=reply(
            {"price": PRICE, "available_capacity": 1, "ticket_params": payer.params} | wrong
        ),
    )
    async with Gateway(orch_url=orch.url, max_retries=0) as gw:
        with pytest.raises(LivepeerError, match=told):
            await gw.run_async("echo")
        assert gw.spent() == 0 and not payer.orders and not orch.jobs


async def test_a_free_stream_is_not_paid_for(
    start: Start, channels: TrickleServer, payer: Any
) -> None:
    orch = await start(other=orchestrator(channels, lambda: reply(b"")))
    async with Gateway(orch_url=orch.url, trickle_hosts="127.0.0.1") as gw, live(gw):
        await asyncio.sleep(0.3)
    assert not await paid(orch, 0)
    started = next(each for each in orch.others if each.path == "/ai/stream/start")
    assert "livepeer-payment" not in started.headers and not payer.orders
