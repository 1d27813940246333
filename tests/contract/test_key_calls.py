"""Calls that a key of the caller's own pays (extra `eth`), by both registries of a network that
costs test money: our client, our orchestrator, our runner."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livepeer.client import (
    ConfigurationError,
    Gateway,
    LivepeerError,
    LiveSession,
    NoOrchestratorError,
    SessionEndedError,
)
from livepeer.client.live import payments as live_payments
from livepeer.runner import LivePipeline, Pipeline, VideoFrame, create_app
from livepeer.runner.devnet import LocalOrchestrator, LocalSigner
from livepeer.runner.devnet.byoc.streams import LOOK_SECONDS
from livepeer.runner.devnet.payments.chain import PAYER_KEY
from livepeer.runner.local.http import listening
from livepeer.runner.serving.server import bind
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings, Secret, Settings

from .live_runners import reserved, until
from .meddling import json_error, meddling
from .paying import PRICE, TICKET, WEI, FastClock, paying
from .replay.byoc_payments import MovedClock

BYOC_WEI = WEI * 101 // 100
"""go-livepeer adds what it costs to redeem tickets."""


class Say(Pipeline):
    """Says what it is told."""

    runs = 0

    def predict(self, text: str) -> str:
        type(self).runs += 1
        return text


class Spell(Pipeline):
    """Says it letter by letter."""

    runs = 0

    async def predict(self, text: str) -> AsyncIterator[str]:
        type(self).runs += 1
        for letter in text:
            yield letter


class Ticks(LivePipeline):
    """Shows a picture ten times a second."""

    async def generate(self) -> AsyncIterator[VideoFrame]:
        picture = np.full((32, 32, 3), 100, np.uint8)
        i = 0
        while True:
            yield VideoFrame.from_ndarray(picture, time=i / 10)
            i += 1


@dataclass
class KeyNetwork:
    """An orchestrator with priced pipelines in both registries, and a key that has test money."""

    orchestrator: LocalOrchestrator
    signer: LocalSigner
    eth_key: str = PAYER_KEY

    def gateway(self, **more: Any) -> Gateway:
        settings: dict[str, Any] = {"tls": "insecure", "timeout": 30.0, "eth_key": self.eth_key}
        return Gateway(orch_url=self.orchestrator.url, **(settings | more))


@asynccontextmanager
async def pipelines(
    *classes: type, clock: Any = None, tls: bool = True
) -> AsyncIterator[KeyNetwork]:
    options: dict[str, Any] = {"clock": clock, "tls": tls, "heartbeat_ttl": 10_000.0}
    async with paying(**options) as net, AsyncExitStack() as stack:
        address = OrchestratorAddress(net.orchestrator.url, Secret(net.orchestrator.secret))
        for cls in classes:
            registration = RegistrationSettings(
                (address,),
                kind="both",
                app=f"test/{cls.__name__.lower()}",
                app_price=PRICE["price"],
                price_per_unit=WEI,
            )
            listener = bind("127.0.0.1", 0)
            port = listener.getsockname()[1]
            settings = Settings(port=port, registration=registration, tls="insecure")
            app = create_app(cls, settings)
            await stack.enter_async_context(listening(app, listener))
            async with asyncio.timeout(60):
                await app.state.service.lifecycle.wait_settled()
                await app.state.service.registration.settled()
        yield KeyNetwork(net.orchestrator, net.signer)


@pytest.fixture(autouse=True)
def nonces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIVEPEER_STATE", str(tmp_path))


async def test_run_stream_and_live_are_paid_by_a_key_in_both_registries() -> None:
    async with pipelines(Say, Spell, Ticks) as net, net.gateway() as gw:
        income = net.orchestrator.income
        for folder in ("test/", ""):
            assert await gw.run_async(f"{folder}say", input={"text": "hi"}) == "hi"
            async with gw.stream_async(f"{folder}spell", input={"text": "abc"}) as events:
                assert [event.json() async for event in events] == ["a", "b", "c"]
                assert events.spent > 0
            async with gw.live(f"{folder}ticks", publish=False) as session:
                async with asyncio.timeout(60):
                    async for frame in session.subscribe():
                        assert frame.width == 32
                        break
            # All that was told was taken, and something by each road.
            assert gw.spent() == net.orchestrator.income > income
            income = net.orchestrator.income
        (info,) = await gw.capabilities_async(["say"])
        assert [each.price for each in info.offers] == [BYOC_WEI]
        # What was paid for a minute, and not used, pays the jobs that follow.
        for _ in range(3):
            assert await gw.run_async("say", input={"text": "again"}) == "again"
        assert gw.spent() - income < 5 * TICKET
    assert (Say.runs, Spell.runs) == (5, 2)


async def test_a_live_session_whose_payment_is_refused_ends_and_nothing_more_is_paid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("livepeer.client.payments.pace.PACE", FastClock(10.0).pace)
    async with pipelines(Ticks, clock=FastClock(10.0)) as net, meddling(net.signer.url) as between:
        async with net.gateway(eth_key=None, signer_url=between.url) as gw:
            session = gw.live("test/ticks", publish=False)
            with pytest.raises(LivepeerError, match="insufficient balance") as ended:
                async with session, asyncio.timeout(60):
                    async for frame in session.subscribe():
                        assert frame.width == 32
                        between.refuse = lambda path: (483, json_error("insufficient balance"))
            assert isinstance(ended.value, SessionEndedError)
            paid, taken = len(net.signer.payments), net.orchestrator.income
            await asyncio.sleep(0.7)
            assert len(net.signer.payments) == paid
            assert gw.spent() == taken == net.orchestrator.income > 0
        await until(lambda: reserved(net.orchestrator) == 0)


async def test_a_session_of_an_app_is_paid_by_a_key() -> None:
    async with paying() as net:
        await net.serve(mode="persistent")
        key = {"signer_url": None, "eth_key": PAYER_KEY}
        async with net.gateway(**key) as gw, gw.session("test/app") as session:
            assert (await session.request("POST", "/json", json=1)).ok
            assert gw.spent() == session.spent == net.orchestrator.income > 0
        assert not net.signer.payments


async def test_a_key_without_a_deposit_is_refused_and_nothing_runs() -> None:
    Say.runs = 0
    async with pipelines(Say) as net:
        async with net.gateway(eth_key="0x" + "11" * 32, max_retries=0) as gw:
            with pytest.raises(NoOrchestratorError, match="insufficient sender reserve"):
                await gw.run_async("say", input={"text": "hi"})
            assert gw.spent() == 0
        assert net.orchestrator.income == Say.runs == 0


async def test_a_signer_that_signs_no_jobs_pays_for_no_capability_and_says_what_works() -> None:
    Say.runs = 0
    async with pipelines(Say) as net:
        by_signer = {"eth_key": None, "signer_url": net.signer.url, "max_retries": 0}
        async with net.gateway(**by_signer) as gw:
            with pytest.raises(ConfigurationError, match="cannot sign BYOC jobs"):
                await gw.run_async("say", input={"text": "hi"})
            # The live runner of the same pipeline is one of the ways.
            assert await gw.run_async("test/say", input={"text": "hi"}) == "hi"
            assert gw.spent() == net.signer.spent == net.orchestrator.income > 0
        assert Say.runs == 1


async def test_an_answer_that_is_lost_is_told_with_what_was_paid_and_the_balance_stays() -> None:
    Say.runs = 0
    async with pipelines(Say, tls=False) as net, meddling(net.orchestrator.url) as between:
        lost: list[str] = []

        def meddle(path: str, status: int, body: bytes) -> tuple[int, bytes] | None:
            if path.startswith("/process/request/") and not lost:
                lost.append(path)
                return None
            return status, body

        between.meddle = meddle
        async with Gateway(orch_url=between.url, eth_key=net.eth_key, timeout=30.0) as gw:
            with pytest.raises(LivepeerError, match="wei were paid"):
                await gw.run_async("say", input={"text": "hi"})
            paid = gw.spent()
            assert paid == net.orchestrator.income > 0
            assert Say.runs == 1  # and not a second time
            assert await gw.run_async("say", input={"text": "hi"}) == "hi"
            assert gw.spent() - paid <= 2 * TICKET + 1


@asynccontextmanager
async def byoc_stream(
    monkeypatch: pytest.MonkeyPatch, every: float
) -> AsyncIterator[tuple[MovedClock, KeyNetwork, Gateway, LiveSession]]:
    """A stream that its orchestrator looks at by a moved clock; paid `every` so many seconds."""
    clock = MovedClock()
    monkeypatch.setattr(live_payments, "PAYMENT_SECONDS", every)
    async with pipelines(Ticks, clock=clock) as net, net.gateway() as gw:
        async with gw.live("ticks", publish=False, subscribe=False) as session:
            yield clock, net, gw, session


@pytest.mark.slow
async def test_a_live_stream_of_byoc_is_paid_beside_for_as_long_as_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with byoc_stream(monkeypatch, every=0.02) as (clock, net, gw, session):
        for _ in range(5):
            before = gw.spent()
            await clock.move(2 * LOOK_SECONDS)
            await until(lambda before=before: gw.spent() > before)
        # Unpaid it would have been over for 46 s.
        assert session.ended is None
        assert gw.spent() - before < 3 * LOOK_SECONDS * BYOC_WEI
        await until(lambda: gw.spent() == net.orchestrator.income)


@pytest.mark.slow
async def test_a_live_stream_of_byoc_that_is_not_paid_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with byoc_stream(monkeypatch, every=600.0) as (clock, net, gw, session):
        await clock.move(7 * LOOK_SECONDS)
        assert session.ended is None
        await clock.move(LOOK_SECONDS)
        await until(lambda: session.ended is not None)
        assert gw.spent() == net.orchestrator.income
        with pytest.raises(SessionEndedError):
            await session.update({})


CALLS = """
import sys
from livepeer.client import Gateway
with Gateway(orch_url=sys.argv[1], eth_key=sys.argv[2], tls="insecure", timeout=60) as gw:
    for i in range(3):
        assert gw.run("test/app", input={"x": i}, route="json")
    print(gw.spent())
"""


@pytest.mark.slow
async def test_two_processes_with_one_key_are_both_paid_for_and_no_ticket_comes_twice() -> None:
    async with paying() as net:
        await net.serve(mode="single-shot", capacity=2)
        asked = [sys.executable, "-c", CALLS, net.orchestrator.url, PAYER_KEY]
        both = [
            await asyncio.create_subprocess_exec(*asked, stdout=asyncio.subprocess.PIPE)
            for _ in range(2)
        ]
        try:
            async with asyncio.timeout(120):
                told = [(await each.communicate())[0].decode() for each in both]
        finally:
            for each in both:
                if each.returncode is None:
                    each.kill()
        assert [each.returncode for each in both] == [0, 0]
        spent = sum((Fraction(each.strip()) for each in told), Fraction(0))
        assert spent == net.orchestrator.income > 0
        assert len(net.app.asked) == 6
