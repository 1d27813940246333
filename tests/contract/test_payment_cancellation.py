"""Whoever leaves in the middle of paying, wherever that is: what the orchestrator took was told,
and what was told was signed; and many who pay at once stay within one limit."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pytest
from anyio.from_thread import start_blocking_portal

from livepeer.client import Gateway, LivepeerError, PaymentRequiredError
from livepeer.client.protocol.tickets import PAYMENT
from livepeer.client.testing import ScriptedOrchestrator
from livepeer.runner.devnet.payments.chain import PAYER_KEY

from .live_runners import reserved, until
from .paying import TICKET, WEI, Paying, paying

PARAMS = {
    name: base64.b64encode(value).decode()
    for name, value in {
        "recipient": b"\x01" * 20,
        "face_value": (TICKET * 1000).to_bytes(6),
        "win_prob": ((1 << 256) // 1000).to_bytes(32),
        "recipient_rand_hash": b"\x02" * 32,
    }.items()
}
"""Of a token."""
AtEachWait = Callable[..., Coroutine[Any, Any, int]]
T = TypeVar("T")


@pytest.fixture(autouse=True)
def nonces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIVEPEER_STATE", str(tmp_path))


@contextmanager
def elsewhere(network: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """The network on a loop of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(network) as net:
        yield net


class Books:
    """What all gateways so far have told, beside what was signed and taken."""

    def __init__(self, net: Paying) -> None:
        self.net, self.gateways = net, list[Gateway]()

    def gateway(self) -> Gateway:
        self.gateways.append(self.net.gateway())
        return self.gateways[-1]

    def check(self) -> None:
        told = sum((each.spent() for each in self.gateways), Fraction(0))
        assert self.net.orchestrator.income <= told
        assert told <= self.net.signer.spent and self.net.signer.reused == 0


async def paid_session(gw: Gateway) -> None:
    async with gw, gw.session("test/app") as session:
        assert (await session.request("POST", "/json", json=1)).ok


async def paid_request(gw: Gateway) -> None:
    async with gw:
        assert await gw.run_async("test/app", route="json")


@pytest.mark.slow
@pytest.mark.parametrize("again", [0, 1])
@pytest.mark.parametrize("use", [paid_session, paid_request])
async def test_cancelled_at_any_wait_nothing_is_taken_that_was_not_told(
    cancelled_at_each_wait: AtEachWait, use: Any, again: int
) -> None:
    with elsewhere(paying(tls=False)) as net:
        mode = "persistent" if use is paid_session else "single-shot"
        net.app.closes = True
        await net.serve(mode=mode, capacity=1000)
        books = Books(net)

        def once() -> Coroutine[Any, Any, None]:
            books.check()
            return use(books.gateway())  # type: ignore[no-any-return]

        await use(books.gateway())  # what the orchestrator keeps open is open
        count = await cancelled_at_each_wait(once, again=again, allowed=(LivepeerError,))
        assert count > 4  # and a task of its own that is not cancelled
        books.check()
        # The last one was not cancelled: all that it told was taken.
        last = books.gateways[-1].spent()
        assert round(float(last)) == 3 * TICKET
        await until(lambda: reserved(net.orchestrator) == 0)
        # Nobody paid for more than one request, or for a session of a moment.
        assert all(each.spent() in (0, last) for each in books.gateways)
        assert net.orchestrator.income >= last


@pytest.mark.slow
async def test_cancelled_at_any_wait_a_key_has_paid_for_a_job_once_at_most(
    cancelled_at_each_wait: AtEachWait,
) -> None:
    orchestrator = ScriptedOrchestrator(
        price={"pricePerUnit": WEI, "pixelsPerUnit": 1},
        ticket_params=PARAMS,
    )
    gateways: list[Gateway] = []

    async def use() -> None:
        gateways.append(Gateway(orch_url=orchestrator.url, eth_key=PAYER_KEY, timeout=60))
        async with gateways[-1] as gw:
            assert await gw.run_async("echo") == {"ok": True}

    with elsewhere(orchestrator):
        await use()
        assert await cancelled_at_each_wait(use, allowed=(LivepeerError,)) > 3
    sent = [PAYMENT.decode_text(each.headers["livepeer-payment"]) for each in orchestrator.jobs]
    nonces = [each["sender_nonce"] for one in sent for each in one["ticket_sender_params"]]
    assert len(nonces) == len(set(nonces)) > 0
    (cost,) = {each.spent() for each in (gateways[0], gateways[-1])}
    assert all(each.spent() in (0, cost) for each in gateways)
    # What came was told; what was told and did not come was left before it was sent.
    told = sum((each.spent() for each in gateways), Fraction(0))
    assert len(sent) * cost <= told


@pytest.mark.parametrize("key", [False, True], ids=["signer", "key"])
async def test_threads_that_pay_at_once_stay_within_max_spend_to_the_last_wei(key: bool) -> None:
    most = 3 * (3 * Fraction(TICKET) + 1)
    with elsewhere(paying(tls=False)) as net:
        await net.serve(mode="single-shot", capacity=100)
        how: dict[str, Any] = {"eth_key": PAYER_KEY, "signer_url": None} if key else {}

        def call(gw: Gateway) -> bool:
            try:
                return bool(gw.run("test/app", route="json", max_retries=0))
            except PaymentRequiredError as error:
                assert "whose max_spend is" in error.message
                return False

        def work() -> tuple[int, Fraction]:
            with net.gateway(max_spend=most, **how) as gw, ThreadPoolExecutor(8) as threads:
                done = list(threads.map(call, [gw] * 12))
                return sum(done), gw.spent()

        ran, spent = await asyncio.to_thread(work)
        # What was set aside for those that were refused was given back: three fit, and three ran.
        assert ran == len(net.app.asked) == 3
        assert spent == net.orchestrator.income <= most
        if not key:
            assert spent == net.signer.spent
