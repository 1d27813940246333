"""Waiting for a free place, and what is never tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.client import (
    CallTimeoutError,
    ConfigurationError,
    Gateway,
    LivepeerError,
    NoCapacityError,
    PaymentRequiredError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.retries import LONGEST, UNKNOWN_RETRIES, Retries
from livepeer.client.testing import CUT, events, reply

Start = Callable[..., Any]

FULL = {"error": {"type": "over_capacity", "message": "full"}}
NOT_READY = {"error": {"type": "not_ready", "message": "loading", "retry_after": 0.01}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer.client.http.retries.FIRST", 0.001)


def first(answers: list[Any], then: Any = None) -> Callable[[Any], list[Any]]:
    """These answers, one after the other, and then good ones."""
    left = iter(answers)
    return lambda request: next(left, then or reply({"ok": True}))


async def until(condition: Callable[[], object]) -> None:
    for _ in range(30_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


@pytest.mark.parametrize(
    "answer",
    [
        reply(FULL, 503, "text/plain"),
        reply(NOT_READY, 503, "text/plain"),
        reply("No capacity available for capability\n", 503, "text/plain"),
        reply("busy", 429),
        reply("busy", 503, Retry_After="0"),
    ],
)
async def test_a_full_or_loading_pipeline_is_waited_for(start: Start, answer: Any) -> None:
    orch = await start(job=first([answer] * 3))
    async with Gateway(orch_url=orch.url) as gw:
        assert await gw.run_async("echo") == {"ok": True}
        assert len({each.job["id"] for each in orch.jobs}) == len(orch.jobs) == 4
        orch.job = first([answer] * 2, events("data: 1\n\ndata: [DONE]\n\n"))
        async with gw.stream_async("echo") as stream:
            assert [event.data async for event in stream] == ["1"]


async def test_places_that_are_taken_at_first_are_waited_for_on_both_roads(start: Start) -> None:
    orch = await start(capacity=0)

    async def free() -> None:
        await until(lambda: len(orch.tokens) >= 2)
        orch.capacity = 1

    async with Gateway(orch_url=orch.url) as gw:
        freeing = asyncio.create_task(free())
        assert await gw.run_async("echo") == {"ok": True}
        await freeing
    none = reply("No orchestrators found for capability echo\n", 400, "text/plain")
    orch = await start(job=first([none] * 2))
    async with Gateway(gateway_url=orch.url) as gw:
        assert await gw.run_async("echo") == {"ok": True}


async def test_a_name_that_nobody_has_is_asked_for_a_few_times_only(start: Start) -> None:
    orch = await start(capacity=0)
    async with Gateway(orch_url=orch.url, max_retries=50) as gw:
        with pytest.raises(NoCapacityError, match=r"tried 3 times in \d") as caught:
            await gw.run_async("ecko")
        assert len(orch.tokens) == UNKNOWN_RETRIES + 1 == len(caught.value.rejections)
        assert "nothing of that name is registered" in str(caught.value)


async def test_a_name_that_is_nearly_one_that_was_used_is_asked_about(start: Start) -> None:
    orch = await start()
    async with Gateway(orch_url=orch.url, max_retries=0) as gw:
        await gw.run_async("sentiment")
        orch.capacity = 0
        with pytest.raises(NoCapacityError, match=r"Did you mean 'sentiment'\?"):
            await gw.run_async("sentimnet")


async def test_after_the_last_retry_the_error_says_how_often_and_how_long(start: Start) -> None:
    orch = await start(job=reply(FULL, 503))
    async with Gateway(orch_url=orch.url, max_retries=3) as gw:
        with pytest.raises(NoCapacityError, match=r"full.*; tried 4 times in \d+\.\d s") as caught:
            await gw.run_async("echo")
        assert len(orch.jobs) == 4 == len(caught.value.rejections)
        with pytest.raises(NoCapacityError) as once:
            await gw.run_async("echo", max_retries=0)
        assert len(orch.jobs) == 5 and "tried" not in str(once.value)


async def test_a_wait_that_the_deadline_has_no_room_for_is_told_at_once(start: Start) -> None:
    later = {"error": {"type": "over_capacity", "message": "full", "retry_after": 60}}
    orch = await start(job=reply(later, 503))
    async with Gateway(orch_url=orch.url) as gw:
        async with asyncio.timeout(20):
            with pytest.raises(NoCapacityError, match="try again in 60 s") as caught:
                await gw.run_async("echo", timeout=30)
        assert caught.value.retry_after == 60 and len(orch.jobs) == 1


@pytest.mark.parametrize(
    "answer",
    [
        reply({"error": {"type": "interrupted", "message": "drained"}}, 503),
        reply({"error": {"type": "mine", "message": "in the middle"}}, 503),
        reply("boom", 500),
        reply("no", 422),
        reply("late", 504),
        [CUT],
        events("data: 1\n\n", f"event: error\ndata: {reply(FULL)[0][-60:].decode()}\n\n"),
    ],
)
async def test_what_may_have_run_is_never_made_again(start: Start, answer: Any) -> None:
    orch = await start(job=answer)
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(LivepeerError):
            await gw.run_async("echo")
        await asyncio.sleep(0.05)
        assert len(orch.jobs) == 1


async def test_what_was_paid_for_is_never_made_again(start: Start, payer: Any) -> None:
    price = {"pricePerUnit": 1}
    orch = await start(price=price, ticket_params=payer.params, job=reply(FULL, 503))
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(NoCapacityError, match="wei were paid"):
            await gw.run_async("echo")
        assert gw.spent() == payer.ticket
    assert len(orch.jobs) == 1


async def test_a_cancelled_wait_ends_at_once(start: Start) -> None:
    orch = await start(job=reply(FULL | {"retry_after": 50}, 503))
    async with Gateway(orch_url=orch.url) as gw:
        call = asyncio.create_task(gw.run_async("echo", timeout=100))
        await asyncio.wait_for(orch.begun.wait(), 30)
        call.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await call


@pytest.mark.parametrize("value", [-1, 1.5, "3", True])
async def test_a_number_of_retries_that_is_none_is_refused(start: Start, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_retries"):
        Gateway(orch_url="http://a", max_retries=value)
    orch = await start()
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(ConfigurationError, match="max_retries"):
            await gw.run_async("echo", max_retries=value)
    assert not orch.tokens


@given(
    st.integers(0, 20),
    st.none() | st.floats(0, 1e6),
    st.booleans(),
    st.floats(0.01, 1000),
)
def test_pauses_are_bounded_and_honour_what_was_asked(
    allowed: int, wait: float | None, known: bool, limit: float
) -> None:
    retries = Retries(allowed, Deadline(limit))
    pauses = []
    while (pause := retries.pause(NoCapacityError("x", retry_after=wait), known=known)) is not None:
        pauses.append(pause)
    assert len(pauses) <= (allowed if known else min(allowed, UNKNOWN_RETRIES))
    for pause in pauses:
        assert (wait or 0) <= pause <= (wait or 0) + LONGEST and pause < limit
    for error in (
        NoCapacityError("x", may_have_run=True),
        PaymentRequiredError("x"),
        CallTimeoutError("x"),
    ):
        assert Retries(9, Deadline(9)).pause(error, known=True) is None


# -- who is waited for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "price"), [({}, 5), ({"max_price": 3}, 5)], ids=["unpayable", "too dear"]
)
async def test_an_offer_that_does_not_fit_hides_no_free_one(
    start: Start, settings: dict[str, Any], price: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The free one answers later than the grace that an offer used to begin."""
    monkeypatch.setattr("livepeer.client.network.offers.OFFER_SECONDS", 0.0)
    dear = await start(price={"pricePerUnit": price, "pixelsPerUnit": 1})
    free = await start()
    late = asyncio.Event()
    script = free.script
    free.script = lambda request: (
        [late, *script(request)] if request.path == "/process/token" else script(request)
    )
    async with Gateway(orch_url=[dear.url, free.url], **settings) as gw:
        call = asyncio.create_task(gw.run_async("echo", timeout=60))
        await until(lambda: dear.tokens)
        await asyncio.sleep(0.4)  # past the grace; what is late has to be late
        late.set()
        assert await call == {"ok": True}
        # nor does it from the cache: the free one is asked again once its own offer is gone
        assert await gw.run_async("echo") == {"ok": True}
    assert (len(dear.jobs), len(free.jobs), len(free.tokens)) == (0, 2, 2)


async def test_a_slow_free_one_is_found_when_the_quick_one_is_full(start: Start) -> None:
    quick = await start(job=reply(FULL, 503))
    slow = await start()
    script = slow.script
    slow.script = lambda request: (
        [0.6, *script(request)] if request.path == "/process/token" else script(request)
    )
    async with Gateway(orch_url=[quick.url, slow.url]) as gw:
        assert await gw.run_async("echo", timeout=60) == {"ok": True}
    assert (len(quick.jobs), len(slow.jobs)) == (1, 1)


async def test_offers_are_kept_in_a_bounded_number(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.network.offers.OFFERS", 3)
    monkeypatch.setattr("livepeer.client.network.offers.OFFER_SECONDS", 1000.0)
    orch = await start()
    async with Gateway(orch_url=orch.url) as gw:
        for i in (*range(8), 7, 6, 5):
            await gw.run_async(f"echo-{i}", validate=False)
        assert len(orch.tokens) == 8
        await gw.run_async("echo-4", validate=False)
        assert len(orch.tokens) == 9
