"""A remote signer that answers whatever it likes: one precise error, nothing sent, nothing quoted
that is a secret."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from typing import Any

import pytest

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConfigurationError,
    InsufficientBalanceError,
    LivepeerError,
    PaymentRequiredError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.payments import remote_signer
from livepeer.client.payments.remote_signer import RemoteSigner, decimal
from livepeer.client.payments.signer import Order
from livepeer.client.protocol.tickets import PAYMENT
from livepeer.client.testing import CUT, HANG, Request, reply
from livepeer.client.untrusted import loads

Start = Callable[..., Any]
KEY = "a-key-of-the-signer-s-own"
SESSION = "a-session-that-nobody-else-knows"
ORDER = Order("params", "live", "test/app", SESSION, max_price=Fraction(7, 2))
PAYER = b"\xab" * 20
MUCH = b'{"payment": "' + b"x" * (10 << 20) + b'"}'


def signed(payer: bytes = PAYER, **other: Any) -> Any:
    payment = PAYMENT.encode_text({"sender": payer, "ticket_sender_params": [{"sender_nonce": 1}]})
    return {"payment": payment, "segCreds": "c2Vn", "state": {"State": "s", "Sig": "t"}} | other


class Remote:
    """A signer that answers a payment as it is told."""

    def __init__(self, server: Any, http: Http) -> None:
        self.server, self.http = server, http
        self.answer: list[Any] = reply(signed())
        self.address = "0x" + PAYER.hex()
        server.other = self._answer
        headers = {"Authorization": f"Bearer {KEY}"}
        self.signer = RemoteSigner(server.url, headers, TlsPolicy("verify"))

    def _answer(self, request: Request) -> list[Any]:
        if request.path == "/sign-orchestrator-info":
            return reply({"address": self.address, "signature": "0x01"})
        return self.answer

    async def pay(self, state: Any = None) -> Any:
        await self.signer.identity(self.http, Deadline(5))
        return await self.signer.pay(self.http, ORDER, state, Deadline(5))


@pytest.fixture
async def remote(start: Start) -> AsyncIterator[Remote]:
    http = Http()
    try:
        yield Remote(await start(), http)
    finally:
        await http.aclose()


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (reply(b"", 302, Location="http://127.0.0.1:9/"), PaymentRequiredError, "refused.*302"),
        (reply(b"<html>", 200, "text/html"), ProtocolError, "did not answer with JSON"),
        (reply(b"\xff\xfe"), ProtocolError, "did not answer with JSON"),
        (reply("[" * 200_000), ProtocolError, "did not answer with JSON"),
        (reply(b'{"n": ' + b"9" * 6_000 + b"}"), ProtocolError, "did not answer with JSON"),
        (reply(MUCH), ProtocolError, "over 1,048,576 bytes"),
        (reply([signed()]), ProtocolError, "has no state"),
        (reply(signed(state="s")), ProtocolError, "has no state"),
        (reply(signed(state=None)), ProtocolError, "has no state"),
        (reply(signed(state={"s": float("nan")})), ProtocolError, "has no state"),
        (reply(signed(state={"s": float("inf")})), ProtocolError, "has no state"),
        (reply(signed(state={"s": "x" * (1 << 17)})), ProtocolError, "has no state"),
        (reply(b'{"state": {"s": "\\ud800"}}'), ProtocolError, "has no state"),
        (reply(signed(payment=5)), ProtocolError, "no 'payment'"),
        (reply(signed(payment="a" * (1 << 17))), ProtocolError, "no 'payment'"),
        (reply(signed(payment="a\r\nX: y")), ProtocolError, "no line of ASCII"),
        (reply(signed(segCreds="\u00e9")), ProtocolError, "no line of ASCII"),
        (reply(signed(b"\xcd" * 20)), PaymentRequiredError, "another address"),
        ([CUT], LivepeerError, "remote signer cannot be asked"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", CUT], LivepeerError, "be asked"),
        ([b"nonsense\r\n\r\n"], LivepeerError, "."),
        ([HANG], CallTimeoutError, "did not answer within 0.3 s"),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n", *([b"x", 0.02] * 90)],
            CallTimeoutError,
            "did not answer within 0.3 s",
        ),
        (reply({"error": {"message": f"bad Bearer {KEY}"}}, 401), ConfigurationError, "bad"),
        (reply({"error": {"message": KEY}}, 483), InsufficientBalanceError, "filled up"),
        (reply({"error": {"message": f"no {SESSION}"}}, 400), PaymentRequiredError, r"redacted"),
        (reply({"error": ["x"] * 1000}, 400), PaymentRequiredError, "without a word"),
        (reply({"error": {"message": "x" * 9_000}}, 400), PaymentRequiredError, "xxx"),
        (reply(b"\x1b[31mred", 418), PaymentRequiredError, "418"),
    ],
)
async def test_an_answer_that_is_none_is_one_precise_error_without_a_secret(
    remote: Remote,
    answer: list[Any],
    kind: type[LivepeerError],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(remote_signer, "ANSWER_SECONDS", 0.3)
    remote.answer = answer
    with pytest.raises(kind, match=told) as caught:
        await remote.pay({"State": "s"})
    assert len(caught.value.message) < 1_000 and "\x1b" not in caught.value.message
    text = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(remote.signer)
    assert KEY not in text and SESSION not in text


async def test_a_state_goes_back_as_it_came(remote: Remote) -> None:
    state = {"State": "\u00e9<>&/+==", "Sig": "x", "n": 1.5}
    remote.answer = reply(signed(state=state))
    first = await remote.pay()
    await remote.pay(first.state)
    assert loads(remote.server.others[-1].body)["state"] == state
    assert loads(remote.server.others[-1].body)["maxPrice"]["price"] == "3.5"


async def test_a_signer_whose_key_has_changed_is_asked_for_its_address_anew(
    remote: Remote,
) -> None:
    await remote.pay()
    remote.answer, remote.address = reply(signed(b"\xcd" * 20)), "0x" + "cd" * 20
    with pytest.raises(PaymentRequiredError, match="was its key changed"):
        await remote.pay()
    assert await remote.pay() is not None


@pytest.mark.parametrize("address", [5, "", "x" * 2_000, "0x\r\nX: y", None])
async def test_an_address_that_is_none_is_one_precise_error(remote: Remote, address: Any) -> None:
    remote.address = address
    with pytest.raises(ProtocolError, match="'address'"):
        await remote.pay()


async def test_who_leaves_a_signer_that_hangs_has_left(remote: Remote) -> None:
    remote.answer = [HANG]
    paying = asyncio.create_task(remote.pay())
    async with asyncio.timeout(20):
        while len(remote.server.others) < 2:  # noqa: ASYNC110 — a server's list is no event
            await asyncio.sleep(0.005)
    paying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await paying
    await asyncio.wait_for(remote.server.left.wait(), 20)


def test_a_ceiling_in_decimals_is_never_above_the_one_that_was_set() -> None:
    for price in (Fraction(1, 3), Fraction(2, 3), Fraction(303, 1000), Fraction(10**30, 7)):
        assert 0 <= price - Fraction(decimal(price)) < Fraction(1, 10**18)
