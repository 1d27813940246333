"""Payments made with a key of this process, beside go-livepeer's own numbers and bytes."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from livepeer.client import Gateway
from livepeer.client.exceptions import (
    ConfigurationError,
    PaymentRequiredError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.payments.local_key import LocalKey
from livepeer.client.payments.nonces import MOST, Nonces, UsedUp
from livepeer.client.payments.signer import Order, PriceRose, RefreshNeeded, SignedPayment
from livepeer.client.payments.tickets import Terms, credentials
from livepeer.client.protocol.tickets import AUTH_TOKEN, ORCHESTRATOR_INFO, PAYMENT

FIXTURES = Path(__file__).parents[4] / "specs" / "fixtures" / "payments"
VECTORS = json.loads((FIXTURES / "vectors.json").read_text())
SIGNER = json.loads((FIXTURES / "signer.json").read_text())
SHARED = SIGNER["values"]
KEYS = {name: key["private_key"] for name, key in VECTORS["keys"].items()}

HTTP: Any = None  # a local key asks nobody


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key(tmp_path: Path, clock: Clock) -> LocalKey:
    return LocalKey(KEYS["signer"], nonces=Nonces("0x26", tmp_path), clock=clock, passing=clock)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def params_of(vector: dict[str, Any]) -> dict[str, Any]:
    def big(text: str) -> bytes:
        number = int(text)
        return number.to_bytes((number.bit_length() + 7) // 8)

    return {
        "recipient": unhex(vector["recipient"]),
        "face_value": big(vector["face_value"]),
        "win_prob": big(vector["win_prob"]),
        "recipient_rand_hash": unhex(vector["recipient_rand_hash"]),
        "expiration_params": {
            "creation_round": int(vector["creation_round"]),
            "creation_round_block_hash": unhex(vector["creation_round_block_hash"]),
        },
    }


def named(vectors: list[dict[str, Any]]) -> dict[str, Any]:
    return {"argvalues": vectors, "ids": [vector.get("name") for vector in vectors]}


@pytest.mark.parametrize("vector", **named(VECTORS["tickets"]["vectors"]))
def test_a_ticket_is_hashed_and_signed_as_by_go_livepeer(vector: dict[str, Any]) -> None:
    terms = Terms(params_of(vector), Fraction(vector["ev"]["exact"]))
    digest = terms.hash(unhex(vector["sender"]), int(vector["sender_nonce"]))
    assert digest == unhex(vector["hash"])
    assert LocalKey(KEYS[vector["key"]])._sign(digest) == unhex(vector["sig"])
    if terms.value:
        assert Terms.of(terms.params).value == terms.value


@pytest.mark.parametrize("vector", **named(VECTORS["text_signatures"]["vectors"]))
def test_a_text_is_signed_as_by_go_livepeer(vector: dict[str, Any]) -> None:
    assert LocalKey(KEYS[vector["key"]])._sign_text(vector["text"]) == vector["sig"]


def test_so_many_tickets_are_made_as_by_go_livepeer() -> None:
    table = VECTORS["ticket_count"]
    terms = Terms({}, Fraction(table["ev"]))
    for vector in table["vectors"]:
        count = terms.tickets(Fraction(vector["fee"]), Fraction(vector["balance"]))
        assert count == int(vector["tickets"]), vector
        left = Fraction(vector["balance"]) + count * terms.value - Fraction(vector["fee"])
        assert abs(left - Fraction(vector["balance_after"])) < Fraction(1, 10**5) or not count


def test_credentials_are_those_of_the_reference_signer() -> None:
    vector = next(v for v in VECTORS["protobuf"]["vectors"] if v["name"] == "empty_segment")
    token = SHARED["shared_payment_params_1"]["recorded"]
    auth = ORCHESTRATOR_INFO.decode_text(token)["auth_token"]
    sign = LocalKey(KEYS["signer"])._sign
    assert credentials("mid-golden", auth, sign) == SHARED["shared_segment_1"]["recorded"]
    assert AUTH_TOKEN.encode(auth)
    assert (
        vector["sig"].removeprefix("0x") in base64.b64decode(credentials("mid-1", {}, sign)).hex()
    )


# -- what the reference signer was recorded to make -----------------------------------------------


def order_of(value: dict[str, Any], kind: Any, app: str = "golden/app") -> Order:
    return Order(value["recorded"], kind, app, "mid-golden")


async def paid(key: LocalKey, order: Order, state: Any = None) -> SignedPayment:
    signed = await key.pay(HTTP, order, state, Deadline(5))
    assert signed is not None
    return signed


@pytest.mark.parametrize(
    ("kind", "params", "payment"), [("live", 1, 1), ("lv2v", 3, 3), ("fixed", 4, 4)]
)
async def test_a_first_payment_is_that_of_the_reference_signer_to_the_byte(
    key: LocalKey, kind: Any, params: int, payment: int
) -> None:
    signed = await paid(key, order_of(SHARED[f"shared_payment_params_{params}"], kind))
    assert signed.payment == SHARED[f"shared_payment_{payment}"]["recorded"]
    assert signed.segment == SHARED["shared_segment_1"]["recorded"]


def recorded(name: str) -> list[dict[str, Any]]:
    scenario = next(one for one in SIGNER["scenarios"] if one["name"] == name)
    answers = [step["receives"]["json"] for step in scenario["steps"] if "receives" in step]
    return [answer["payment"] for answer in answers]


def bytes_of(value: Any) -> str:
    if isinstance(value, str):  # "${shared_payment_5}"
        value = SHARED[value[2:-1]]
    return str(value["recorded"])


@pytest.mark.parametrize(("name", "pause"), [("follow_ups", 2.5), ("late", 8.5)])
async def test_what_follows_is_counted_and_numbered_as_by_the_reference_signer(
    key: LocalKey, clock: Clock, name: str, pause: float
) -> None:
    order, state = order_of(SHARED["shared_payment_params_1"], "live"), None
    for payment in recorded(name):
        signed = await paid(key, order, state)
        assert signed.payment == bytes_of(payment)
        state, clock.now = signed.state, clock.now + pause


async def test_nothing_is_due_while_a_ticket_is_in_hand_and_the_state_stays(
    key: LocalKey, clock: Clock
) -> None:
    cheap = changed(price_info={"pricePerUnit": 1, "pixelsPerUnit": 1})
    first = await paid(key, cheap)
    second = await paid(key, cheap, first.state)  # one is always in hand
    assert tickets(first) == tickets(second) == 1
    for _ in range(3):
        clock.now += 3
        assert await key.pay(HTTP, cheap, second.state, Deadline(5)) is None


async def test_a_byoc_job_is_signed_and_paid_by_the_same_key_as_was_recorded(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LIVEPEER_STATE", str(tmp_path))
    scenarios = json.loads((FIXTURES / "byoc-paid.json").read_text())["scenarios"]
    scenario = next(one for one in scenarios if one["name"] == "paid")
    token = scenario["steps"][3]["receives"]["json"]
    recorded = scenario["steps"][4]["send"]["headers"]["Livepeer-Payment"]
    theirs = PAYMENT.decode_text(recorded["recorded"])

    def wire(name: str) -> str:
        value = token["ticket_params"][name]["b64hex"]
        data = theirs["ticket_params"][name] if value.startswith("${") else unhex(value)
        return base64.b64encode(data).decode()

    params = {name: wire(name) for name in token["ticket_params"] if name != "expiration_params"}
    expiration = theirs["expiration_params"]
    params["expiration_params"] = {  # type: ignore[assignment]
        "creation_round": expiration["creation_round"],
        "creation_round_block_hash": base64.b64encode(
            expiration["creation_round_block_hash"]
        ).decode(),
    }
    orch = await start(price=token["price"], ticket_params=params)
    async with Gateway(orch_url=orch.url, eth_key=KEYS["caller"]) as gw:
        await gw.run_async("echo", timeout=60)
        assert gw.spent() == 8 * Terms.of(theirs["ticket_params"]).value
    job = orch.jobs[0]
    assert job.headers["livepeer-payment"] == recorded["recorded"], "go-livepeer took these bytes"
    assert job.job["sender"] == "0xB14753DB595566161491b8Aa57e90fe70d1E7A4A"


# -- what is not paid -----------------------------------------------------------------------------


def changed(order: Order | None = None, **parts: Any) -> Order:
    """An order whose `net.OrchestratorInfo` is another."""
    original = SHARED["shared_payment_params_1"]["recorded"]
    info = copy.deepcopy(ORCHESTRATOR_INFO.decode_text(original))
    for name, value in parts.items():
        if isinstance(value, dict):
            info[name] = {**info[name], **value}
        else:
            info[name] = value
    return Order(ORCHESTRATOR_INFO.encode_text(info), "live", "golden/app", "mid-golden")


def tickets(signed: SignedPayment) -> int:
    return len(PAYMENT.decode_text(signed.payment)["ticket_sender_params"])


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"ticket_params": {"recipient": b"short"}}, "recipient has 5 bytes"),
        ({"ticket_params": {"recipient_rand_hash": b""}}, "recipient_rand_hash has 0 bytes"),
        ({"ticket_params": {"win_prob": b""}}, "worth nothing"),
        ({"ticket_params": {"face_value": bytes([1]) * 33}}, "256 bits"),
        ({"price_info": {"pricePerUnit": 0}}, "no price above 0"),
        ({"price_info": {"pricePerUnit": -1}}, "no price above 0"),
        ({"ticket_params": {"win_prob": bytes([0xFF]) * 32}}, "more than the 3e"),
        ({"price_info": {"pricePerUnit": 10**11}}, "-ticketEV is too low"),
    ],
)
async def test_what_makes_no_sense_or_is_absurd_is_not_signed(
    key: LocalKey, parts: dict[str, Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises((ProtocolError, PaymentRequiredError)) as caught:
        await key.pay(HTTP, changed(**parts), None, Deadline(5))
    assert text in str(caught.value)
    assert os.listdir(tmp_path) == [], "no nonce was taken"


async def test_no_base64_and_no_message_are_refused(key: LocalKey) -> None:
    for params in ("", "%%%", base64.b64encode(b"\xff" * 40).decode()):
        with pytest.raises(ProtocolError):
            await key.pay(HTTP, Order(params, "live", "golden/app"), None, Deadline(5))


async def test_within_a_session_recipient_app_and_kind_stay_and_the_price_does_not_rise(
    key: LocalKey, clock: Clock
) -> None:
    first = await paid(key, changed())
    clock.now += 3
    with pytest.raises(PaymentRequiredError, match="another recipient"):
        other = changed(ticket_params={"recipient": bytes(20)})
        await key.pay(HTTP, other, first.state, Deadline(5))
    with pytest.raises(PaymentRequiredError, match="one app"):
        other = Order(changed().params, "live", "other/app")
        await key.pay(HTTP, other, first.state, Deadline(5))
    with pytest.raises(PriceRose):
        dear = changed(price_info={"pricePerUnit": 2_400_000_001})
        await key.pay(HTTP, dear, first.state, Deadline(5))
    with pytest.raises(PriceRose, match="max_price"):
        limited = Order(changed().params, "live", "golden/app", max_price=Fraction(1000))
        await key.pay(HTTP, limited, None, Deadline(5))


async def test_terms_that_are_old_are_asked_for_anew_and_numbered_anew(
    key: LocalKey, clock: Clock
) -> None:
    price = {"pricePerUnit": 10**8}
    first = await paid(key, changed(price_info=price))
    clock.now += 430
    with pytest.raises(RefreshNeeded):
        await key.pay(HTTP, changed(price_info=price), first.state, Deadline(5))
    renewed = changed(price_info=price, ticket_params={"recipient_rand_hash": bytes([7]) * 32})
    signed = await paid(key, renewed, first.state)
    numbers = PAYMENT.decode_text(signed.payment)["ticket_sender_params"]
    assert numbers[0]["sender_nonce"] == 1
    with pytest.raises(RefreshNeeded):
        ending = changed(auth_token={"expiration": int(clock.now) + 100})
        await key.pay(HTTP, ending, None, Deadline(5))


@pytest.mark.parametrize("jump", [-3600.0, -60.0, 60.0, 1200.0])
async def test_a_clock_that_jumps_changes_nothing_of_what_is_due(
    tmp_path: Path, clock: Clock, jump: float
) -> None:
    """An hour that never passed would have been paid for, or nothing for an hour that did."""
    passing = Clock()
    key = LocalKey(KEYS["signer"], nonces=Nonces("0x26", tmp_path), clock=clock, passing=passing)
    order = changed(auth_token={"expiration": int(clock.now) + 3000})
    first = await paid(key, order)
    clock.now, passing.now = clock.now + jump, passing.now + 3
    assert tickets(await paid(key, order, first.state)) == 1


# -- nonces ---------------------------------------------------------------------------------------


def _take(folder: str, count: int, found: Any) -> None:
    nonces = Nonces("0x26", Path(folder))
    found.put([number for _ in range(count) for number in nonces.take(b"h", 2)])


def test_two_processes_and_a_later_one_never_take_the_same_nonce(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    found: Any = context.SimpleQueue()
    both = [
        context.Process(target=_take, args=(str(tmp_path), 20, found), daemon=True)
        for _ in range(2)
    ]
    for process in both:
        process.start()
    numbers = [number for _ in both for number in found.get()]
    for process in both:
        process.join(30)
    numbers += Nonces("0x26", tmp_path).take(b"h", 2)
    assert sorted(numbers) == list(range(1, 83))
    assert (tmp_path / "nonces-0x26.json").stat().st_mode & 0o777 == 0o600


async def test_payments_at_once_have_nonces_of_their_own(key: LocalKey) -> None:
    signed = await asyncio.gather(*(paid(key, changed()) for _ in range(4)))
    numbers = [
        each["sender_nonce"]
        for one in signed
        for each in PAYMENT.decode_text(one.payment)["ticket_sender_params"]
    ]
    assert sorted(numbers) == list(range(1, 13))


def test_a_hash_that_has_had_all_its_nonces_is_asked_for_anew(tmp_path: Path) -> None:
    nonces = Nonces("0x26", tmp_path)
    assert nonces.take(b"h", MOST - 1) == range(1, MOST)
    with pytest.raises(UsedUp):
        nonces.take(b"h", 2)
    assert nonces.take(b"h", 1) == range(MOST, MOST + 1)


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"a": 1}', b"[" * 100_000, b"\xff"])
def test_a_damaged_file_is_an_error_and_no_new_beginning(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "nonces-0x26.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        Nonces("0x26", tmp_path).take(b"h", 1)
    assert (tmp_path / "nonces-0x26.json").read_bytes() == content


# -- the key --------------------------------------------------------------------------------------


def test_the_key_is_in_no_text_and_no_file(key: LocalKey) -> None:
    assert repr(key) == "LocalKey(0x2696e7910b70f9a890c92374ceD5D737577b21b3)"
    for leak in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="not pickled"):
            leak(key)
    with pytest.raises(ConfigurationError) as caught:
        LocalKey(KEYS["signer"] + "00")
    assert KEYS["signer"][2:20] not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
