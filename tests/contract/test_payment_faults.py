"""What goes wrong with payments: signers that fail, orchestrators that lie, answers that are lost.

Nothing is paid twice, nothing after the end, and what is told is what was signed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from livepeer.client import (
    ConfigurationError,
    InsufficientBalanceError,
    LivepeerError,
    NoOrchestratorError,
    PaymentRequiredError,
    ProtocolError,
    SessionEndedError,
)
from livepeer.client.payments import remote_signer
from livepeer.client.payments.account import Account
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO

from .live_runners import reserved, until
from .meddling import json_error, meddling
from .paying import FastClock, paying

FACTOR = 10.0
SIGN = "/generate-live-payment"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer.client.payments.pace.PACE", FastClock(FACTOR).pace)


@pytest.mark.parametrize(
    ("status", "text", "kind", "told"),
    [
        (400, "numTickets 174 exceeds maximum of 100", PaymentRequiredError, "-ticketEV"),
        (400, "session: ticket EV 4e12 > max ticket EV 3e12", PaymentRequiredError, "-ticketEV"),
        (400, "session: no sender reserve", InsufficientBalanceError, "filled up"),
        (400, "deposit and reserve is set to unlock soon", InsufficientBalanceError, "filled up"),
        (400, "invalid sig", PaymentRequiredError, "invalid sig"),
        (400, "app mismatch", PaymentRequiredError, "app mismatch"),
        (401, "bad key", ConfigurationError, "headers right"),
        (402, "no credit", InsufficientBalanceError, "no credit"),
        (403, "rejected", ConfigurationError, "headers right"),
        (404, "x", ConfigurationError, "is it a remote signer"),
        (480, "refresh session", ProtocolError, "clock wrong"),
        (481, "price exceeds configured ceiling", PaymentRequiredError, "too dear"),
        (482, "no tickets", PaymentRequiredError, "nothing is due"),
        (483, "insufficient balance", InsufficientBalanceError, "insufficient balance"),
        (500, "Internal Server Error", ProtocolError, "maxTotalEV"),
        (503, "Service Unavailable Error", ProtocolError, "failed: 503"),
    ],
)
async def test_a_signer_that_refuses_is_told_and_nothing_runs(
    status: int, text: str, kind: type[LivepeerError], told: str
) -> None:
    async with paying() as net, meddling(net.signer.url) as between:
        await net.serve()
        between.refuse = lambda path: (status, json_error(text)) if path == SIGN else None
        async with net.gateway(signer_url=between.url, max_retries=0) as gw:
            with pytest.raises(kind, match=told):
                await gw.run_async("test/app", route="json")
            assert gw.spent() == 0
        assert not net.app.asked and not net.orchestrator.income
        assert between.asked.count(SIGN) == (2 if status == 480 else 1)


async def test_a_signer_that_is_down_or_slow_or_talks_nonsense_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_signer, "ANSWER_SECONDS", 0.3)
    async with paying() as net, meddling(net.signer.url) as between:
        await net.serve()
        async with net.gateway(signer_url="http://127.0.0.1:9", max_retries=0) as gw:
            with pytest.raises(LivepeerError, match="signer cannot be asked"):
                await gw.run_async("test/app", route="json")
        for answer in (b"no json", b"[]", b"{}", b'{"payment":"x","segCreds":"y","state":{}}'):
            between.meddle = lambda path, status, body, answer=answer: (
                (200, answer) if path == SIGN else (status, body)
            )
            async with net.gateway(signer_url=between.url, max_retries=0) as gw:
                with pytest.raises(LivepeerError, match="signer"):
                    await gw.run_async("test/app", route="json")
                assert gw.spent() == 0
        assert not net.app.asked


async def test_a_signer_that_fails_for_a_while_costs_no_session(fast: None) -> None:
    async with paying(FACTOR) as net, meddling(net.signer.url) as between:
        await net.serve(mode="persistent")
        async with net.gateway(signer_url=between.url) as gw, gw.session("test/app") as session:
            failed = 0

            def refuse(path: str) -> tuple[int, bytes] | None:
                nonlocal failed
                failed += 1
                return (500, b"") if path == SIGN and failed <= 2 else None

            between.refuse = refuse
            await until(lambda: failed > 2 and len(net.signer.payments) >= 4)
            assert session.ended is None and reserved(net.orchestrator) == 1
        await net.told_is_signed(gw)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda body: body.replace(b"session_", b"session_f"), "another session than the one"),
        (lambda body: b"{}", "names no session"),
        (lambda body: b"[" * 50_000, "names no session"),
    ],
)
async def test_a_place_that_is_not_the_one_that_was_paid_is_given_back_and_paid_no_more(
    answer: Callable[[bytes], bytes], says: str, fast: None
) -> None:
    async with paying(FACTOR, tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve(mode="persistent")
        between.meddle = lambda path, status, body: (
            (status, answer(body))
            if path.endswith("/session") and status == 200
            else (status, body)
        )
        async with net.gateway(orch_url=between.url, max_retries=0) as gw:
            with pytest.raises(LivepeerError, match=says) as told:
                async with gw.session("test/app"):
                    pass
            assert "wei were paid" in str(told.value)
            # It is there, and paid for: nobody else would end it.
            await until(lambda: reserved(net.orchestrator) == 0)
            assert len(net.signer.payments) == 1
            assert gw.spent() == net.signer.spent == net.orchestrator.income > 0
        assert not net.app.asked


async def test_a_payment_whose_answer_is_lost_is_sent_again_and_not_made_again(fast: None) -> None:
    async with paying(FACTOR, tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve(mode="persistent")
        lost = 0

        def meddle(path: str, status: int, body: bytes) -> tuple[int, bytes] | None:
            nonlocal lost
            if path.endswith("/payment") and status == 200 and lost < 2:
                lost += 1
                return None
            return status, body

        between.meddle = meddle
        async with net.gateway(orch_url=between.url) as gw, gw.session("test/app") as session:
            await until(lambda: lost == 2 and len(net.signer.payments) >= 6)
            assert session.ended is None
        # Nothing was signed that the orchestrator did not take, but what was under way at the end.
        missing = await net.told_is_signed(gw) - net.orchestrator.income
        assert missing in (0, net.signer.payments[-1].wei)


async def test_an_orchestrator_that_is_gone_after_a_payment_is_not_replaced_by_another() -> None:
    async with paying(tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve(mode="persistent")
        between.meddle = lambda path, status, body: (
            None if path.endswith("/session") and status == 200 else (status, body)
        )
        urls = [between.url, net.orchestrator.url]
        async with net.gateway(orch_url=urls) as gw:
            # The other one is a little dearer to reach: it is asked second.
            gw._engine.dispatcher.candidates._failures.failed(net.orchestrator.url)
            with pytest.raises(LivepeerError, match=r"2.4e\+10 wei were paid"):
                async with gw.session("test/app"):
                    pass
            assert await net.told_is_signed(gw) == net.orchestrator.income
            # What may have been reserved is given back.
            await until(lambda: reserved(net.orchestrator) == 0)
        assert len(net.signer.payments) == 1


async def test_tickets_that_grow_old_on_their_way_are_replaced_and_the_session_goes_on(
    fast: None,
) -> None:
    async with paying(FACTOR, tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve(mode="persistent")
        late: list[str] = []

        def refuse(path: str) -> None:
            if path.endswith("/payment") and not late:
                late.append(path)
                net.chain.mine(41)  # between the signer and the orchestrator

        between.refuse = refuse
        async with net.gateway(orch_url=between.url) as gw, gw.session("test/app") as session:
            await until(lambda: bool(late) and len(net.signer.payments) >= 6)
            assert session.ended is None and reserved(net.orchestrator) == 1
        told = await net.told_is_signed(gw)
        # That one was not taken; nor, perhaps, one that was under way at the end.
        missing = told - net.orchestrator.income - net.signer.payments[1].wei
        assert missing in (0, net.signer.payments[-1].wei)


async def test_a_first_payment_that_grows_old_on_its_way_is_told_and_nothing_runs() -> None:
    async with paying(tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve(mode="persistent")

        def refuse(path: str) -> None:
            if path.endswith("/session") and net.signer.payments:
                net.chain.mine(41)

        between.refuse = refuse
        async with net.gateway(orch_url=between.url) as gw:
            with pytest.raises(LivepeerError, match=r"2.4e\+10 wei were paid") as caught:
                async with gw.session("test/app"):
                    pass
            assert "400" in str(caught.value.status)
        assert await net.told_is_signed(gw) > net.orchestrator.income == 0
        assert not net.app.asked and reserved(net.orchestrator) == 0
        assert len(net.signer.payments) == 1


def changed(body: bytes, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> bytes:
    told = json.loads(body)
    info = ORCHESTRATOR_INFO.decode_text(told["payment_params"])
    change(told, info)
    if told.get("payment_params"):
        told["payment_params"] = ORCHESTRATOR_INFO.encode_text(info)
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda told, info: info["price_info"].update(pricePerUnit=2_400_000_001), "asks 2.4e"),
        (lambda told, info: info["price_info"].update(pricePerUnit=-1), "no price above 0"),
        (lambda told, info: info["price_info"].update(pixelsPerUnit=0), "no price above 0"),
        (lambda told, info: info.update(address=b"\x01" * 20), "not its own address"),
        (lambda told, info: info["ticket_params"].update(win_prob=b"\xff" * 32), "absurd"),
        (lambda told, info: info["ticket_params"].update(win_prob=b"\xff" * 33), "256 bits"),
        (lambda told, info: info["ticket_params"].update(win_prob=b""), "worth nothing"),
        (lambda told, info: info["auth_token"].update(session_id="x"), "another session"),
        (lambda told, info: told.update(manifest_id="another"), "another session"),
        (lambda told, info: told.update(manifest_id="a/../b"), "no session"),
        (lambda told, info: told.update(payment_url="https://evil.test/x"), "no address"),
        (lambda told, info: told.update(payment_params=""), "no payment_params"),
    ],
)
async def test_what_must_not_be_paid_is_refused_with_the_reason(change: Any, told: str) -> None:
    async with paying(tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve()
        between.meddle = lambda path, status, body: (
            (status, changed(body, change)) if status == 402 else (status, body)
        )
        async with net.gateway(orch_url=between.url, max_retries=0) as gw:
            with pytest.raises((PaymentRequiredError, NoOrchestratorError), match=told):
                await gw.run_async("test/app", route="json")
            assert gw.spent() == 0
        assert not net.signer.payments and not net.app.asked


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda told, info: (
                info["ticket_params"].update(recipient=b"\x01" * 20),
                info.update(address=b"\x01" * 20),
            ),
            "another recipient",
        ),
        (lambda told, info: told.update(manifest_id="another"), "another session"),
        (lambda told, info: info["price_info"].update(pricePerUnit=9_000_000_000), "rose from"),
    ],
)
async def test_what_changes_for_the_worse_in_a_session_ends_it(
    fast: None, change: Any, told: str
) -> None:
    async with paying(FACTOR, tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve(mode="persistent")
        between.meddle = lambda path, status, body: (
            (status, changed(body, change)) if path == "/refresh-payment" else (status, body)
        )
        async with net.gateway(orch_url=between.url) as gw, gw.session("test/app") as session:
            net.chain.mine(39)
            await until(lambda: session.ended is not None)
            assert told in str(session.ended)
            made = len(net.signer.payments)
            await asyncio.sleep(0.7)
            assert len(net.signer.payments) == made


async def test_a_price_that_rises_within_max_price_is_paid_by_a_new_state(fast: None) -> None:
    def dearer(told: dict[str, Any], info: dict[str, Any]) -> None:
        info["price_info"].update(pricePerUnit=2_500_000_000)

    async with paying(FACTOR, tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve(mode="persistent")
        between.meddle = lambda path, status, body: (
            (status, changed(body, dearer)) if path == "/refresh-payment" else (status, body)
        )
        async with net.gateway(orch_url=between.url, max_price=3e9) as gw:
            async with gw.session("test/app") as session:
                net.chain.mine(39)
                await until(lambda: len({each.state for each in net.signer.payments}) == 2)
            assert await net.told_is_signed(gw) == session.spent


async def test_a_session_that_the_orchestrator_released_as_unpaid_is_over(fast: None) -> None:
    async with paying(FACTOR) as net, meddling(net.signer.url) as between:
        await net.serve(mode="persistent")
        async with net.gateway(signer_url=between.url) as gw, gw.session("test/app") as session:
            between.refuse = lambda path: (482, json_error("no tickets")) if path == SIGN else None
            await until(lambda: reserved(net.orchestrator) == 0)
            with pytest.raises(SessionEndedError, match="session is over"):
                await session.request("POST", "/json", json=1)
            assert await net.told_is_signed(gw) == session.spent


async def test_an_unexpected_error_of_payments_ends_the_session_and_quotes_nothing(
    fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(account: Account, path: str, *rest: Any) -> Any:
        raise RuntimeError(path)

    async with paying(FACTOR) as net:
        await net.serve(mode="persistent")
        async with net.gateway() as gw, gw.session("test/app") as session:
            monkeypatch.setattr(Account, "post", broken)
            await until(lambda: session.ended is not None)
            told = str(session.ended)
            assert "broke off" in told and "RuntimeError" in told and "payment" in told
            assert "/session/" not in told and "/sessions/" not in told
        await until(lambda: reserved(net.orchestrator) == 0)


async def test_no_secret_of_a_payment_is_in_a_repr_or_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    sent: list[str] = []
    async with paying(tls=False) as net, meddling(net.orchestrator.url) as between:
        await net.serve()
        between.meddle = lambda path, status, body: (
            (400, base64.b64encode(body))
            if path.endswith("/json") and status == 200
            else (status, body)
        )
        async with net.gateway(orch_url=between.url) as gw:
            pay = gw._engine.wallet.signer.pay

            async def kept(*arguments: Any) -> Any:
                found = await pay(*arguments)
                sent.extend((found.payment, found.segment, found.state["State"]))
                assert not any(each in repr((found, arguments)) for each in sent)
                return found

            gw._engine.wallet.signer.pay = kept  # type: ignore[method-assign]
            with pytest.raises(LivepeerError) as caught:
                await gw.run_async("test/app", route="json")
    assert len(sent) == 3
    assert not any(each in f"{caplog.text} {caught.value!r}" for each in sent)
    assert Fraction(0) < gw.spent()
