"""Paid calls of live runners end to end: our client, the local network with test money."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from livepeer.client import (
    Gateway,
    InsufficientBalanceError,
    LivepeerError,
    NoOrchestratorError,
    PaymentRequiredError,
    SessionEndedError,
)

from .live_runners import reserved, until
from .paying import PRICE, TICKET, WEI, FastClock, Paying, paying

FACTOR = 10.0
"""A second of a payment's clock is a tenth of one."""


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's payments keep the same time as the network's."""
    monkeypatch.setattr("livepeer.client.payments.pace.PACE", FastClock(FACTOR).pace)


async def test_a_single_request_is_paid_and_what_it_cost_is_told() -> None:
    async with paying() as net:
        await net.serve(mode="single-shot")
        async with net.gateway() as gw:
            assert await gw.run_async("test/app", input={"x": 1}, route="json")
            # 10 seconds, in whole tickets.
            assert round(float(await net.told_is_signed(gw))) == 3 * TICKET
            assert net.orchestrator.income == gw.spent()
            async with gw.session("test/app") as session:
                answer = await session.request("POST", "/json", json={"x": 2})
                assert answer.json()["body"] == {"x": 2}
                assert answer.spent == session.spent == gw.spent() / 2
                uploaded = await session.request("POST", "/upload", files={"a": b"bytes"})
                assert uploaded.ok and uploaded.spent == answer.spent
        assert net.orchestrator.income == await net.told_is_signed(gw)
        assert len(net.app.asked) == 3  # nothing ran twice


async def test_a_session_is_paid_until_it_is_left_and_not_longer(fast: None) -> None:
    async with paying(FACTOR) as net:
        await net.serve(mode="persistent")
        async with net.gateway() as gw:
            async with gw.session("test/app") as session:
                # Longer than what its first payment covers.
                await until(lambda: len(net.signer.payments) >= 6)
                assert (await session.request("POST", "/json", json=1)).ok
                assert session.ended is None
                assert reserved(net.orchestrator) == 1
            assert await net.told_is_signed(gw) == session.spent
            assert reserved(net.orchestrator) == 0
            made = len(net.signer.payments)
            await asyncio.sleep(1)
            assert len(net.signer.payments) == made
        assert {each.state for each in net.signer.payments} == {net.signer.payments[0].state}
        assert [each.sequence for each in net.signer.payments] == list(range(made))


async def test_an_answer_that_outlives_its_first_units_is_paid_beside_it(fast: None) -> None:
    async with paying(FACTOR) as net:
        await net.serve(mode="single-shot")
        net.app.hold = asyncio.Event()
        async with net.gateway() as gw, gw.session("test/app") as session:
            asked = asyncio.create_task(session.request("POST", "/hold"))
            await until(lambda: len(net.signer.payments) >= 6)
            assert reserved(net.orchestrator) == 1
            net.app.hold.set()
            answer = await asked
            assert await net.told_is_signed(gw) == session.spent >= answer.spent
            made = len(net.signer.payments)
            await asyncio.sleep(1)
            assert len(net.signer.payments) == made


async def test_a_websocket_is_paid_as_long_as_it_is_open_and_one_that_is_not_opened_says_so(
    fast: None,
) -> None:
    async with paying(FACTOR) as net:
        await net.serve(mode="single-shot")
        async with net.gateway() as gw, gw.session("test/app") as session:
            async with await session.websocket("/ws") as ws:
                await until(lambda: len(net.signer.payments) >= 3)
                await ws.send("still here")
                assert await ws.receive() is not None
            told = await net.told_is_signed(gw)
            assert told == session.spent
            await until(lambda: reserved(net.orchestrator) == 0)
            made = len(net.signer.payments)
            with pytest.raises(LivepeerError, match=r"2\.4e\+10 wei were paid"):
                await session.websocket("/missing")
            assert len(net.signer.payments) == made + 1
            await asyncio.sleep(0.7)  # two payments' time
            assert len(net.signer.payments) == made + 1
            await net.told_is_signed(gw)


async def test_events_of_a_stream_are_paid_and_say_what_they_cost() -> None:
    async with paying() as net:
        await net.serve(mode="single-shot")
        async with net.gateway() as gw:
            async with gw.stream_async("test/app", route="events") as events:
                assert len([event async for event in events]) >= 1
                assert events.spent > 0
            assert await net.told_is_signed(gw) == events.spent
        assert reserved(net.orchestrator) == 0


async def test_tickets_that_grow_old_are_renewed_without_a_gap(fast: None) -> None:
    async with paying(FACTOR) as net:
        await net.serve(mode="persistent")
        async with net.gateway() as gw, gw.session("test/app") as session:
            for round_ in range(3):
                await until(lambda: net.orchestrator.income == net.signer.spent)
                net.chain.mine(39)  # the next block is the tickets' last
                before = len(net.signer.payments)
                await until(lambda before=before: len(net.signer.payments) >= before + 2)
                assert session.ended is None, round_
            assert reserved(net.orchestrator) == 1
        # Signed and taken, but for one that may have been under way at the end.
        missing = await net.told_is_signed(gw) - net.orchestrator.income
        assert missing in (0, net.signer.payments[-1].wei)


async def test_without_means_to_pay_nothing_is_sent_and_the_price_is_told() -> None:
    async with paying() as net:
        await net.serve()
        async with Gateway(orch_url=net.orchestrator.url, tls="insecure", max_retries=0) as gw:
            with pytest.raises(PaymentRequiredError, match=r"2.4e\+09 wei per second.*signer_url"):
                await gw.run_async("test/app", route="json")
            (info,) = await gw.capabilities_async(["test/app"])
        assert (info.offers[0].price, info.offers[0].unit) == (WEI, "seconds")
        assert not net.app.asked


@pytest.mark.parametrize("unit", ["720p", "fixed"])
async def test_other_units_are_paid_by_their_own_kind(unit: str) -> None:
    async with paying() as net:
        price = {"price": 0.01 if unit == "720p" else 0.00004, "currency": "usd", "unit": unit}
        await net.serve(price_info=price)
        async with net.gateway() as gw:
            (info,) = await gw.capabilities_async(["test/app"])
            names = {"720p": "720p-pixel-seconds", "fixed": "fixed"}
            assert info.offers[0].unit == names[unit]
            assert await gw.run_async("test/app", route="json")
            assert net.orchestrator.income == await net.told_is_signed(gw) > 0


async def test_what_is_above_max_price_is_not_called() -> None:
    async with paying() as net:
        await net.serve()
        async with net.gateway(max_price=WEI - 1, max_retries=0) as gw:
            with pytest.raises(NoOrchestratorError, match="more than max_price"):
                await gw.run_async("test/app", route="json")
        async with net.gateway(max_price=WEI) as gw:
            assert await gw.run_async("test/app", route="json")


async def test_max_spend_is_asked_before_a_payment_of_a_call_and_of_the_gateway() -> None:
    async with paying() as net:
        await net.serve()
        cost = 3 * TICKET + 1
        async with net.gateway(max_spend=2 * cost) as gw:
            with pytest.raises(PaymentRequiredError, match="this call, whose max_spend"):
                await gw.run_async("test/app", route="json", max_spend=cost - 2)
            assert gw.spent() == 0 and not net.signer.payments
            for _ in range(2):
                await gw.run_async("test/app", route="json", max_spend=cost)
            with pytest.raises(PaymentRequiredError, match="this gateway, whose max_spend"):
                await gw.run_async("test/app", route="json")
            assert len(net.signer.payments) == 2
            await net.told_is_signed(gw)


async def test_a_session_that_would_cost_too_much_ends_and_says_so(fast: None) -> None:
    async with paying(FACTOR) as net:
        await net.serve(mode="persistent")
        async with net.gateway() as gw:
            async with gw.session("test/app", max_spend=5 * TICKET + 1) as session:
                await until(lambda: session.ended is not None)
                assert "max_spend" in str(session.ended)
                with pytest.raises(SessionEndedError, match="max_spend"):
                    await session.request("POST", "/json")
            # What a signer made beyond it was not sent: what is told is what was taken.
            assert 0 < gw.spent() <= 5 * TICKET + 1
            assert net.orchestrator.income == gw.spent() and net.signer.reused == 0


async def test_a_payer_without_a_deposit_is_told_so() -> None:
    async with paying() as net:
        await net.serve()
        net.chain._funded.clear()
        async with net.gateway(max_retries=0) as gw:
            with pytest.raises(InsufficientBalanceError, match="deposit and reserve"):
                await gw.run_async("test/app", route="json")


async def test_a_full_runner_takes_the_payment_that_was_made_as_soon_as_it_has_room() -> None:
    async with paying() as net:
        await net.serve(mode="persistent", capacity=1)
        async with net.gateway() as gw, gw.session("test/app") as first:
            made = len(net.signer.payments)
            # It asks for money first, and says then that it is full.
            dispatcher = gw._engine.dispatcher
            for known in dispatcher._runners._lists._kept.values():
                object.__setattr__(known, "lasts", 1e9)
                object.__setattr__(
                    known, "runners", tuple(_with_room(each) for each in known.runners)
                )
            second = asyncio.create_task(_entered(gw))
            await until(lambda: len(net.signer.payments) > made)
            await first.aclose()
            spent = await second
        paid = [each for each in net.signer.payments if each.sequence == 0]
        assert len(paid) == 2
        assert spent >= paid[1].wei


def _with_room(entry: Any) -> Any:
    return replace(entry, free=1)


async def _entered(gw: Gateway) -> Fraction:
    async with gw.session("test/app") as session:
        return session.spent


async def test_a_caller_that_is_cancelled_before_it_has_paid_pays_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    async with paying() as net:
        await net.serve(mode="persistent")
        async with net.gateway() as gw:
            signer = gw._engine.wallet.signer
            pay: Callable[..., Any] = signer.pay

            async def held(*arguments: Any) -> Any:
                begun.set()
                await go_on.wait()
                return await pay(*arguments)

            monkeypatch.setattr(signer, "pay", held)
            entering = asyncio.create_task(_entered(gw))
            await asyncio.wait_for(begun.wait(), 20)
            entering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await entering
            go_on.set()
            await until(lambda: bool(net.signer.payments))
        assert reserved(net.orchestrator) == 0
        assert net.orchestrator.income == 0


def test_the_price_of_the_tests_is_what_it_says() -> None:
    assert Fraction(str(PRICE["price"])) / 3600 * 10**18 / 2000 == WEI
    assert isinstance(Paying, type)


@pytest.mark.soak
async def test_ten_minutes_of_a_session_are_paid_without_a_gap_and_once_an_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a minute by a faster clock; tickets are renewed at every one of the ten."""
    factor = 10.0
    clock = FastClock(factor)
    monkeypatch.setattr("livepeer.client.payments.pace.PACE", clock.pace)
    await _paid_for_ten_minutes(clock.now, factor)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_ten_minutes_of_a_session_are_paid_in_real_time() -> None:
    await _paid_for_ten_minutes(time.time, 1.0)


async def _paid_for_ten_minutes(now: Callable[[], float], factor: float) -> None:
    async with paying(factor, heartbeat_ttl=10_000.0) as net:
        await net.serve(mode="persistent")
        async with net.gateway() as gw, gw.session("test/app") as session:
            begun = now()
            for minute in range(1, 11):
                while now() < begun + 60 * minute:
                    await asyncio.sleep(0.5 / factor)
                    assert session.ended is None and reserved(net.orchestrator) == 1
                net.chain.mine(39)
            assert (await session.request("POST", "/json", json=1)).ok
        spent = await net.told_is_signed(gw)
        times = [each.at for each in net.signer.payments]
        gaps = [after - before for before, after in pairwise(times)]
        # A tenth of a second of this machine is a second of the faster clock.
        assert 600 / (3 + 0.6 * factor) < len(times) < 600 / 2.9 + 5
        print(
            f"\n{len(times)} payments in ten minutes by a clock {factor:g} times as fast: every"
            f" {sum(gaps) / len(gaps):.2f} s ({min(gaps):.2f} to {max(gaps):.2f}), tickets renewed"
            f" 10 times; signed {float(spent / 10**9):.1f} gwei for 600 s at {WEI / 10**9:g} gwei,"
            f" taken {float(net.orchestrator.income / 10**9):.1f}; nonces used twice:"
            f" {net.signer.reused}"
        )
        assert max(gaps) < 10
        # Ten minutes and ten seconds ahead, each payment rounded up to whole seconds.
        assert 600 * WEI <= spent <= (620 + len(times)) * WEI
