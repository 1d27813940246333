"""What is open when its payments end is told so, in the moment in which they do, by the reason."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from livepeer.client import (
    ConnectionFailedError,
    InsufficientBalanceError,
    LivepeerError,
    PaymentRequiredError,
    SessionEndedError,
)

from .live_runners import reserved, until
from .meddling import Meddler, json_error, meddling
from .paying import TICKET, FastClock, paying

FACTOR = 10.0
LIMIT = 20.0
SIGN = "/generate-live-payment"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer.client.payments.pace.PACE", FastClock(FACTOR).pace)


def broke(between: Meddler) -> None:
    """The signer's money is used up."""
    between.refuse = lambda path: (
        (483, json_error("insufficient balance")) if path == SIGN else None
    )


async def raised(
    work: Awaitable[Any], kind: type[LivepeerError], says: str = "insufficient balance"
) -> None:
    with pytest.raises(kind, match=says) as caught:
        await asyncio.wait_for(work, LIMIT)
    assert caught.type is kind
    assert caught.value.may_have_run and caught.value.capability == "test/app"


@pytest.mark.parametrize("mode", ["persistent", "single-shot"])
async def test_whoever_waits_at_a_websocket_hears_that_it_is_paid_no_longer_and_why(
    mode: str,
) -> None:
    async with paying(FACTOR) as net, meddling(net.signer.url) as between:
        await net.serve(mode=mode, capacity=2)
        async with net.gateway(signer_url=between.url) as gw, gw.session("test/app") as session:
            waiting = await session.websocket("/ws")
            looping = await session.websocket("/ws")
            await waiting.send("x")
            assert await waiting.receive() == "x"
            asked = asyncio.create_task(waiting.receive())
            looped = asyncio.create_task(anext(aiter(looping)))
            broke(between)
            told = "not paid any longer.*insufficient balance"
            await raised(asked, InsufficientBalanceError, told)
            await raised(looped, InsufficientBalanceError, told)  # not an end in good order
            await raised(waiting.receive(), InsufficientBalanceError)
            await raised(waiting.send("x"), InsufficientBalanceError)
            await asyncio.wait_for(net.app.left.wait(), LIMIT)  # and the app is told
            if mode == "persistent":
                with pytest.raises(SessionEndedError, match="insufficient") as over:
                    await session.request("POST", "/json", json=1)
                assert isinstance(over.value.__cause__, InsufficientBalanceError)
        await net.told_is_signed(gw)
        await until(lambda: reserved(net.orchestrator) == 0)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "invalid sig", PaymentRequiredError),
        (403, "rejected", ConnectionFailedError),  # no matter of money, and of no session
    ],
)
async def test_a_websocket_ends_by_an_error_of_the_kind_of_the_reason(
    status: int, text: str, kind: type[LivepeerError]
) -> None:
    async with paying(FACTOR) as net, meddling(net.signer.url) as between:
        await net.serve(mode="persistent")
        async with net.gateway(signer_url=between.url) as gw, gw.session("test/app") as session:
            async with await session.websocket("/ws") as ws:
                between.refuse = lambda path: (status, json_error(text)) if path == SIGN else None
                await raised(ws.receive(), kind, text)


async def test_what_is_open_in_a_session_that_its_app_ended_says_so() -> None:
    async with paying(FACTOR) as net:
        await net.serve(mode="persistent")
        async with net.gateway() as gw, gw.session("test/app") as session:
            ws = await session.websocket("/ws")
            events = await session.request("GET", "/events?hang&n=1", stream=True)
            assert await events.receive()
            await session.request("POST", "/leave")
            for work in (ws.receive(), events.receive()):
                await raised(work, SessionEndedError, "has ended the session")


async def test_the_answer_that_comes_in_a_session_ends_with_its_payments() -> None:
    async with paying(FACTOR) as net, meddling(net.signer.url) as between:
        await net.serve(mode="persistent")
        async with net.gateway(signer_url=between.url) as gw, gw.session("test/app") as session:
            events = await session.request("GET", "/events?hang&n=1", stream=True)
            assert await events.receive()
            broke(between)
            await raised(events.receive(), InsufficientBalanceError)
            await raised(events.receive(), InsufficientBalanceError)
            await asyncio.wait_for(net.app.left.wait(), LIMIT)


async def _app_stream(gw: Any) -> None:
    async with gw.session("test/app") as session:
        answer = await session.request("GET", "/events?hang", stream=True)
        async for _ in answer.events():
            pass


async def _events(gw: Any) -> None:
    async with gw.stream_async("test/app", route="endless") as events:
        async for _ in events:
            pass


async def _whole(gw: Any) -> None:
    async with gw.session("test/app") as session:
        await session.request("GET", "/events?hang")


@pytest.mark.parametrize("use", [_app_stream, _events, _whole])
async def test_an_answer_has_the_time_that_was_paid_and_is_cut_with_the_reason(
    use: Callable[[Any], Awaitable[None]],
) -> None:
    async with paying(FACTOR) as net, meddling(net.signer.url) as between:
        await net.serve(mode="single-shot")
        async with net.gateway(signer_url=between.url) as gw:
            asked = asyncio.ensure_future(use(gw))
            await until(lambda: bool(net.signer.payments) and bool(net.app.asked))
            broke(between)
            told = "insufficient balance.* wei were paid"
            await raised(asked, InsufficientBalanceError, told)
            assert await net.told_is_signed(gw) == net.orchestrator.income


async def test_the_values_before_a_cut_are_with_its_error() -> None:
    async with paying(FACTOR) as net:
        await net.serve(mode="single-shot")
        async with net.gateway() as gw:
            stream = gw.stream_async("test/app", route="endless", max_spend=4 * TICKET)
            with pytest.raises(PaymentRequiredError, match="max_spend") as caught:
                async for _ in stream:
                    pass
            assert [each["n"] for each in caught.value.received] == [0, 1, 2]


@pytest.mark.parametrize("mode", ["persistent", "single-shot"])
async def test_a_paid_session_that_is_dropped_is_paid_no_longer(mode: str) -> None:
    async with paying(FACTOR) as net:
        await net.serve(mode=mode)
        async with net.gateway() as gw:
            session = await gw.session("test/app").__aenter__()
            await session.websocket("/ws")
            await until(lambda: len(net.signer.payments) >= 2)
            with pytest.warns(ResourceWarning, match="unclosed AppSession"):
                del session
                gc.collect()
            await until(lambda: reserved(net.orchestrator) == 0)
            made = len(net.signer.payments)
            await asyncio.sleep(0.7)  # two payments' time
            assert len(net.signer.payments) == made
        await net.told_is_signed(gw)
