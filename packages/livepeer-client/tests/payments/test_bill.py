"""The payments of one session on their way: by real HTTP, and a clock that passes as they wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from typing import Any

import pytest

from livepeer.client.exceptions import LivepeerError, PaymentRequiredError, ProtocolError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.payments import bill as bills
from livepeer.client.payments.account import Account
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.challenge import Challenge
from livepeer.client.payments.pace import Pace
from livepeer.client.payments.signer import Order, SignedPayment
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, PAYMENT
from livepeer.client.testing import CUT, HANG, Request, ScriptedOrchestrator, reply

Start = Callable[..., Any]
SESSION = "a-session-that-nobody-else-knows"
PATH = f"/apps/app/session/{SESSION}/payment"
PAID = reply(b"")
LIMIT = 20.0


def params(price: int = 100, recipient: bytes = b"\x01" * 20) -> str:
    """What is asked: tickets of 1,000 wei, of which three seconds of 100 take one."""
    return ORCHESTRATOR_INFO.encode_text(
        {
            "ticket_params": {
                "recipient": recipient,
                "face_value": (1000).to_bytes(2),
                "win_prob": b"\xff" * 32,
                "recipient_rand_hash": b"\x02" * 32,
            },
            "price_info": {"pricePerUnit": price, "pixelsPerUnit": 1},
            "address": recipient,
            "auth_token": {"session_id": SESSION, "expiration": 1},
        }
    )


class Road:
    """One session at a scripted orchestrator: what it answers to payments, and what came."""

    def __init__(self, server: ScriptedOrchestrator, payer: Any, http: Http) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.answers: list[list[Any]] = []
        """To payments, one by one; then all are taken."""
        self.renewals: list[list[Any]] = []
        """To `/refresh-payment`; then what is asked is as before."""
        self.sent: list[str] = []
        """The payments that came, in their order."""
        self.taken: set[str] = set()
        self.payer, self.server = payer, server
        server.other = self._answer
        self.pace = Pace(now=lambda: self.now, sleep=self._sleep)
        self.budget = Budget()
        self.account = Account(
            http,
            payer,
            TlsPolicy("verify"),
            self.budget,
            self.pace,
            orchestrator=server.url,
            app="test/app",
            unit="seconds",
            listed=Fraction(100),
            max_price=None,
        )
        self.account.accept(Challenge.of(params(), SESSION, PATH))
        self.bill = Bill(http, self.account, self.pace)

    def _answer(self, request: Request) -> list[Any]:
        if request.path == "/refresh-payment":
            again = {"payment_params": params(), "manifest_id": SESSION}
            return self.renewals.pop(0) if self.renewals else reply(again)
        assert request.path == PATH
        payment = request.headers["livepeer-payment"]
        self.sent.append(payment)
        answer = self.answers.pop(0) if self.answers else PAID
        if b" 200 " in (answer[0][:20] if isinstance(answer[0], bytes) else b""):
            self.taken.add(payment)
        return answer

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)
        self.now += seconds

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():  # noqa: ASYNC110 — a server's list is no event
                await asyncio.sleep(0.001)

    @property
    def worth(self) -> Fraction:
        """What the orchestrator has taken."""
        tickets = [PAYMENT.decode_text(each)["ticket_sender_params"] for each in self.taken]
        return 1000 * Fraction(sum(map(len, tickets)))


@pytest.fixture
async def road(start: Start, payer: Any) -> AsyncIterator[Road]:
    http = Http()
    server = await start()
    _numbered(payer)
    found = Road(server, payer, http)
    try:
        yield found
    finally:
        await found.bill.end()
        await http.aclose()


def _numbered(payer: Any) -> None:
    """No two of its payments are alike, as with any real one."""
    pay = payer.pay
    payer.states = []

    async def numbered(http: Http, order: Order, state: Any, deadline: Deadline) -> Any:
        payer.states.append(state)
        signed: SignedPayment = await pay(http, order, state, deadline)
        values = PAYMENT.decode_text(signed.payment)
        for each in values["ticket_sender_params"]:
            each["sender_nonce"] += 1000 * len(payer.orders)
        return SignedPayment(PAYMENT.encode_text(values), "segment-credentials", signed.state)

    payer.pay = numbered


async def test_a_payment_that_is_being_made_while_it_pauses_is_the_next_one(road: Road) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    pay = road.payer.pay

    async def slow(*arguments: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await pay(*arguments)

    road.payer.pay = slow
    road.bill.start()
    await asyncio.wait_for(begun.wait(), LIMIT)
    await road.bill.hold()  # no place yet: nothing is paid meanwhile
    go_on.set()
    await road.until(lambda: road.bill.spent > 0)
    assert not road.sent
    road.bill.start()
    await road.until(lambda: len(road.sent) >= 3)
    await road.bill.end()
    # The one that was made and counted, and not another.
    first = PAYMENT.decode_text(road.sent[0])["ticket_sender_params"]
    assert [each["sender_nonce"] for each in first] == [1001]
    assert road.bill.problem is None
    assert len(set(road.sent)) == len(road.sent)


async def test_a_payment_that_was_on_its_way_while_it_pauses_is_sent_again_itself(
    road: Road,
) -> None:
    road.answers = [[HANG]]
    road.bill.start()
    await road.until(lambda: len(road.sent) == 1)
    await road.bill.hold()
    road.bill.start()
    await road.until(lambda: len(road.sent) >= 3)
    await road.bill.end()
    assert road.sent[0] == road.sent[1] != road.sent[2]
    assert road.bill.spent == road.budget.spent == 1000 * len(road.payer.orders)


async def test_after_a_refusal_what_is_asked_is_asked_anew_however_long_that_fails(
    road: Road,
) -> None:
    cheaper = reply({"payment_params": params(price=50), "manifest_id": SESSION})
    road.answers = [PAID, reply("ticket expired\n", 400, "text/plain")]
    road.renewals = [reply("x", 503), [CUT], cheaper]
    road.bill.start()
    await road.until(lambda: len(road.sent) >= 3)
    await road.bill.end()
    assert not road.renewals
    # A first payment, for what is asked by then: the state before counts as paid what was refused.
    assert road.payer.states[:3] == [None, {"n": 1}, None]
    assert road.payer.orders[2].params == params(price=50)
    assert road.payer.orders[1].params == params()


async def test_an_orchestrator_that_refuses_what_it_keeps_is_not_paid_again_and_again(
    road: Road,
) -> None:
    """Each replaced payment is a first one: 10 seconds of the price in place of 3."""
    no = reply("ticket expired\n", 400, "text/plain")
    road.answers = [no, PAID] * 100
    why: list[str] = []
    road.bill.listen(lambda error: why.append(str(error)))
    road.bill.start()
    await road.until(lambda: bool(why))
    assert "refused a payment: 400 ticket expired" in why[0]
    assert len(road.sent) == 3
    assert road.now < bills.REPLACED_SECONDS


async def test_a_refusal_a_while_after_the_last_one_is_mended_like_the_first(road: Road) -> None:
    no = reply("ticket expired\n", 400, "text/plain")
    between = int(bills.REPLACED_SECONDS / 2.9) + 1
    road.answers = [no, *([PAID] * between), no]
    road.bill.start()
    await road.until(lambda: len(road.sent) >= between + 4)
    assert road.bill.problem is None


async def test_an_error_of_our_own_ends_payments_and_says_so(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(account: Account, path: str, *rest: Any) -> Any:
        raise RuntimeError(path)

    monkeypatch.setattr(Account, "post", broken)
    why: list[str] = []
    road.bill.listen(lambda error: why.append(str(error)))
    road.bill.start()
    await road.until(lambda: bool(why))
    assert "broke off" in why[0] and "RuntimeError" in why[0] and SESSION not in why[0]
    assert str(road.bill.problem) == why[0]


MUCH = b"x" * (10 << 20)


@pytest.mark.parametrize(
    "answer",
    [
        [CUT],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx", CUT],
        reply(b"", 500),
        reply(b"", 502),
        [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MUCH), MUCH],
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz"],
        [b"nonsense\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n", *([b"x", 0.02] * 90)],
    ],
    ids=["cut", "cut in its answer", "500", "502", "10 MB", "gzip", "no HTTP", "drips"],
)
async def test_a_payment_without_a_good_answer_is_sent_again_and_not_made_again(
    road: Road, answer: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bills, "STEP_SECONDS", 0.5)
    seen = reply("invalid ticket senderNonce: already seen\n", 400, "text/plain")
    road.answers = [PAID, answer, seen]
    road.bill.start()
    await road.until(lambda: len(road.sent) >= 4)
    await road.bill.end()
    first, second, again, third = road.sent[:4]
    assert second == again and len({first, second, third}) == 3
    assert road.bill.problem is None
    assert road.payer.states[0] is None and None not in road.payer.states[1:]  # nothing anew
    assert road.bill.spent == 1000 * len(road.payer.orders) == road.budget.spent
    # What it says that it has seen it has taken.
    road.taken.add(again)
    assert road.bill.spent - road.worth <= 1000  # but for one that was under way at the end


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(b"", 302, Location="http://127.0.0.1:9/x"), "refused a payment: 302"),
        (reply(b"", 307, Location="http://127.0.0.1:9/x"), "refused a payment: 307"),
        (reply("no\n", 403, "text/plain"), "refused a payment: 403 no"),
        (reply("gone\n", 404, "text/plain"), "has ended the session"),
        (
            reply(f"Cannot POST {PATH}", 403, "text/html"),
            "Cannot POST /apps/app/session/[redacted]",
        ),
    ],
)
async def test_a_final_answer_ends_it_with_the_reason_and_quotes_no_session(
    road: Road, answer: list[Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    road.answers = [answer]
    why: list[str] = []
    road.bill.listen(lambda error: why.append(str(error)))
    road.bill.start()
    await road.until(lambda: bool(why))
    assert told in why[0]
    assert len(road.sent) == len(road.payer.orders) == 1
    assert SESSION not in f"{why} {caplog.text} {road.bill!r} {road.account!r}"


async def test_an_answer_that_repeats_what_it_was_sent_is_quoted_without_it(road: Road) -> None:
    road.bill.start()
    await road.until(lambda: len(road.sent) >= 1)
    why: list[str] = []
    road.bill.listen(lambda error: why.append(str(error)))
    _echoing(road)
    await road.until(lambda: bool(why))
    payment = road.sent[-1]
    assert "refused a payment: 401" in why[0] and "[redacted]" in why[0]
    assert not any(each in why[0] for each in (payment, payment[:60], "segment-credentials"))


def _echoing(road: Road) -> None:
    def echo(request: Request) -> list[Any]:
        road.sent.append(request.headers["livepeer-payment"])
        return reply({"error": {"message": str(request.headers)}}, 401)

    road.server.other = echo


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (
            reply({"payment_params": params(recipient=b"\x09" * 20), "manifest_id": SESSION}),
            PaymentRequiredError,
            "another recipient",
        ),
        (
            reply({"payment_params": params(), "manifest_id": "b"}),
            PaymentRequiredError,
            "another session",
        ),
        (
            reply({"payment_params": params(price=101), "manifest_id": SESSION}),
            PaymentRequiredError,
            "rose from",
        ),
        (
            reply({"payment_params": "!" * (1 << 15), "manifest_id": SESSION}),
            PaymentRequiredError,
            "32,768 letters",
        ),
        (reply("[" * 100_000), PaymentRequiredError, "no JSON object"),
        (reply(MUCH), LivepeerError, "over 1,048,576 bytes"),
        (reply({"a": 1}, 302, Location="http://127.0.0.1:9/x"), PaymentRequiredError, "302"),
        (reply(b"", 500), ProtocolError, "500"),
    ],
)
async def test_what_is_asked_anew_and_must_not_be_paid_is_one_precise_error(
    road: Road, body: list[Any], kind: type[LivepeerError], told: str
) -> None:
    road.account.begin_anew()
    road.renewals = [body]
    with pytest.raises(kind, match=told):
        await road.account.make(Deadline(5))
    assert road.budget.spent == 0 and not road.payer.orders
    # The next try asks anew once more.
    assert await road.account.make(Deadline(5)) is not None


async def test_a_price_that_moves_is_paid_to_the_edge_of_max_price_and_not_above(
    start: Start, payer: Any
) -> None:
    http, server = Http(), await start()
    _numbered(payer)
    road = Road(server, payer, http)
    road.account._max_price = Fraction(303, 3)
    try:
        for price, paid in ((101, True), (102, False)):
            road.account.begin_anew()
            road.renewals = [reply({"payment_params": params(price=price), "manifest_id": SESSION})]
            if paid:
                assert await road.account.make(Deadline(5)) is not None
            else:
                with pytest.raises(PaymentRequiredError, match="over max_price 101"):
                    await road.account.make(Deadline(5))
        assert road.budget.spent == 1000
    finally:
        await http.aclose()
