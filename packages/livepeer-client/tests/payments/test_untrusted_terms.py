"""What others ask to be paid, whatever they write: it is read as protobuf's own library reads it,
or refused with `ValueError`, and nothing else comes of it."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
from fractions import Fraction
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepeer.client.exceptions import LivepeerError
from livepeer.client.http.deadline import Deadline
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.byoc import balance_in, byoc_payment
from livepeer.client.payments.challenge import TICKET_LIMIT, Challenge
from livepeer.client.payments.tickets import Terms
from livepeer.client.protocol.protobuf import Message
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, PAYMENT, SEG_DATA
from livepeer.client.protocol.wire import amount, capacity_in, price_in
from livepeer.client.types import Offer
from livepeer.client.untrusted import loads

# -- the same messages by protobuf's library ------------------------------------------------------

_INT, _BYTES, _TEXT = 3, 12, 9  # `FieldDescriptorProto.TYPE_INT64`, ..., by their numbers
THEIRS: dict[str, list[tuple[int, str, int | str]]] = {
    "Expiration": [(1, "creation_round", _INT), (2, "creation_round_block_hash", _BYTES)],
    "Ticket": [
        (1, "recipient", _BYTES),
        (2, "face_value", _BYTES),
        (3, "win_prob", _BYTES),
        (4, "recipient_rand_hash", _BYTES),
        (5, "seed", _BYTES),
        (6, "expiration_block", _BYTES),
        (7, "expiration_params", "Expiration"),
    ],
    "Price": [(1, "pricePerUnit", _INT), (2, "pixelsPerUnit", _INT)],
    "Auth": [(1, "token", _BYTES), (2, "session_id", _TEXT), (3, "expiration", _INT)],
    "Sender": [(1, "sender_nonce", _INT), (2, "sig", _BYTES)],
    "Info": [
        (1, "transcoder", _TEXT),
        (2, "ticket_params", "Ticket"),
        (3, "price_info", "Price"),
        (4, "address", _BYTES),
        (6, "auth_token", "Auth"),
    ],
    "Payment": [
        (1, "ticket_params", "Ticket"),
        (2, "sender", _BYTES),
        (3, "expiration_params", "Expiration"),
        (4, "ticket_sender_params", "*Sender"),
        (5, "expected_price", "Price"),
    ],
    "Segment": [
        (1, "manifestId", _BYTES),
        (2, "seq", _INT),
        (3, "hash", _BYTES),
        (4, "profiles", _BYTES),
        (5, "sig", _BYTES),
        (6, "duration", _INT),
        (8, "auth_token", "Auth"),
    ],
}


def _library() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="net.proto", package="net", syntax="proto3")
    for name, fields in THEIRS.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            repeated = isinstance(kind, str) and kind.startswith("*")
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if isinstance(kind, int):
                added.type = kind
            else:
                added.type, added.type_name = 11, f".net.{kind.removeprefix('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"net.{name}"))
        for name in THEIRS
    }


LIBRARY = _library()
OURS: dict[str, Message] = {
    "Info": ORCHESTRATOR_INFO,
    "Payment": PAYMENT,
    "Segment": SEG_DATA,
}

ints = st.sampled_from([0, 1, -1, 303, (1 << 63) - 1, -(1 << 63)]) | st.integers(
    -(1 << 63), (1 << 63) - 1
)
numbers = st.sampled_from([b"", b"\x01", b"\x03\xe8", b"\xff" * 32, b"\x01" * 33])
blobs = numbers | st.binary(max_size=40) | st.just(b"\x01" * 20)


@functools.cache
def values(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """A message of this name, with some of its fields."""

    def of(kind: int | str) -> st.SearchStrategy[Any]:
        if isinstance(kind, str):
            if kind.startswith("*"):
                return st.lists(values(kind[1:]), max_size=3)
            return values(kind)
        return {_INT: ints, _BYTES: blobs, _TEXT: st.text(max_size=10)}[kind]

    return st.fixed_dictionaries({}, optional={field: of(kind) for _, field, kind in THEIRS[name]})


def plain(message: Any) -> dict[str, Any]:
    """A message of the library as ours are: zeros left out, parts that are empty kept."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is None:
            found[field.name] = value
        elif field.is_repeated:
            found[field.name] = [plain(each) for each in value]
        else:
            found[field.name] = plain(value)
    return found


def without_zeros(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: without_zeros(each) for name, each in value.items()}
        return {
            name: each
            for name, each in kept.items()
            if isinstance(each, dict) or each not in (0, b"", "", [])
        }
    return [without_zeros(each) for each in value] if isinstance(value, list) else value


def filled(message: Any, told: dict[str, Any]) -> Any:
    for name, value in told.items():
        if isinstance(value, dict):
            getattr(message, name).SetInParent()
            filled(getattr(message, name), value)
        elif isinstance(value, list):
            for each in value:
                filled(getattr(message, name).add(), each)
        else:
            setattr(message, name, value)
    return message


named = st.sampled_from(sorted(OURS)).flatmap(lambda name: st.tuples(st.just(name), values(name)))


@given(named)
def test_a_message_is_written_to_the_byte_as_protobuf_writes_it(
    told: tuple[str, dict[str, Any]],
) -> None:
    name, fields = told
    ours = OURS[name].encode(fields)
    assert ours == filled(LIBRARY[name](), fields).SerializeToString(deterministic=True)
    assert without_zeros(OURS[name].decode(ours)) == without_zeros(fields)


@given(named, st.data())
def test_whatever_bytes_come_are_read_as_protobuf_reads_them_or_refused(
    told: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    name, fields = told
    whole = bytearray(OURS[name].encode(fields))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(whole)))
        match data.draw(st.integers(0, 3)):
            case 0:
                del whole[at:]
            case 1:
                whole[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case 2:
                whole[at:at] = data.draw(st.binary(max_size=12))
            case _:
                whole += OURS[name].encode(data.draw(values(name)))
    try:
        ours = OURS[name].decode(bytes(whole))
    except ValueError:
        return
    theirs = LIBRARY[name]()
    try:
        theirs.ParseFromString(bytes(whole))
    except DecodeError:
        pytest.fail(f"read as {ours}, and protobuf refuses it: {bytes(whole).hex()}")
    assert without_zeros(ours) == plain(theirs), json_format.MessageToDict(theirs)


def test_a_part_that_comes_twice_is_refused_since_a_signer_would_put_both_together() -> None:
    one = ORCHESTRATOR_INFO.encode({"price_info": {"pricePerUnit": 9}})
    two = ORCHESTRATOR_INFO.encode({"price_info": {"pixelsPerUnit": 1}})
    merged = LIBRARY["Info"].FromString(one + two).price_info
    assert (merged.pricePerUnit, merged.pixelsPerUnit) == (9, 1)
    with pytest.raises(ValueError, match="comes twice"):
        ORCHESTRATOR_INFO.decode(one + two)
    for number in (0, 1 << 29):
        with pytest.raises(ValueError, match="no such field"):
            ORCHESTRATOR_INFO.decode(_varint(number << 3) + b"\x00")


def _varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


# -- what is asked to be paid ---------------------------------------------------------------------

anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.sampled_from(["1/0", "0", "-1", "1e999999999", "NaN", "0x10", "9" * 400, "٣", "\ud800"])
    | st.text(max_size=8),
    lambda each: (
        st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=3), each, max_size=2)
    ),
    max_leaves=4,
)


@given(anything)
def test_a_number_of_others_is_an_amount_or_refused(value: Any) -> None:
    for read in (amount, lambda each: price_in({"price": {"pricePerUnit": each}})):
        try:
            price = read(value)
        except ValueError:
            continue
        assert isinstance(price, Fraction) and 0 <= price < 1 << 64
    for count in (capacity_in, balance_in):
        try:
            found = count({"available_capacity": value, "balance": value})
        except ValueError:
            continue
        assert abs(found) < 1 << 100


def test_a_balance_is_what_it_says() -> None:
    for told, meant in (("10/4", Fraction(5, 2)), (2.5, Fraction(5, 2)), (-3, -3), ("7", 7)):
        assert balance_in({"balance": told}) == meant
    assert amount(0.303) == Fraction(303, 1000)
    for wrong in ("1/0", "1/00", "5/", float("nan"), float("inf"), True, None, [], "1.5/3", 10**31):
        with pytest.raises(ValueError, match=r"."):
            balance_in({"balance": wrong})


@given(values("Info"), anything, st.sampled_from(["session-1", "", "a/b", None]), st.booleans())
def test_a_challenge_is_payable_in_all_its_parts_or_refused(
    info: dict[str, Any], odd: Any, manifest: Any, whole: bool
) -> None:
    if whole:
        recipient = b"\x01" * 20
        info = info | {
            "ticket_params": info.get("ticket_params", {}) | {"recipient": recipient},
            "address": recipient,
            "auth_token": {"session_id": "session-1"},
        }
    told = {
        "payment_params": ORCHESTRATOR_INFO.encode_text(info) if whole else odd,
        "manifest_id": manifest,
        "payment_url": f"https://elsewhere.test/apps/app/session/{manifest}/payment",
    }
    try:
        challenge = Challenge.read(json.dumps(told).encode())
    except ValueError as refused:
        assert str(refused)
        return
    theirs = LIBRARY["Info"].FromString(base64.b64decode(told["payment_params"]))
    price, ticket = theirs.price_info, theirs.ticket_params
    assert challenge.price == Fraction(price.pricePerUnit, price.pixelsPerUnit) > 0
    worth = int.from_bytes(ticket.face_value) * int.from_bytes(ticket.win_prob)
    assert 0 < challenge.ticket == Fraction(worth, (1 << 256) - 1) <= TICKET_LIMIT
    assert challenge.recipient == ticket.recipient == theirs.address
    assert challenge.manifest_id == theirs.auth_token.session_id == manifest
    assert challenge.path == f"/apps/app/session/{manifest}/payment"
    assert challenge.params not in repr(challenge) and manifest not in repr(challenge)


@given(st.binary(max_size=200) | anything.map(lambda each: json.dumps(each).encode()))
def test_no_body_of_a_402_is_anything_but_read_or_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Challenge.read(body)


@given(values("Ticket"))
def test_terms_are_whole_or_refused(params: dict[str, Any]) -> None:
    try:
        terms = Terms.of(params)
    except ValueError:
        return
    assert len(terms.rand_hash) == 32 and terms.value > 0
    assert len(params["recipient"]) == 20
    assert len(params["face_value"]) <= 32 >= len(params["win_prob"])


texts = st.sampled_from(["", "AQ==", base64.b64encode(b"\x01" * 20).decode(), "%", "A" * 300])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    params=st.dictionaries(
        st.sampled_from(["recipient", "face_value", "win_prob", "expiration_params", "seed"]),
        texts | anything,
    ),
    price=st.fixed_dictionaries({"pricePerUnit": ints, "pixelsPerUnit": ints | anything}),
    balance=anything | st.integers(-(10**9), 10**9),
    usual=st.booleans(),
)
def test_a_token_is_paid_within_the_limit_or_refused(
    payer: Any, params: dict[str, Any], price: dict[str, Any], balance: Any, usual: bool
) -> None:
    if usual:
        params, price = payer.params, {"pricePerUnit": 50, "pixelsPerUnit": 1}
    token = {"ticket_params": params, "price": price, "balance": balance}
    try:
        token = loads(json.dumps(token))
        offer = Offer("https://o", "echo", 1, price_in(token), token=token)
    except ValueError:
        return
    if offer.free:
        return
    budget = Budget(Fraction(20_000))
    try:
        asyncio.run(byoc_payment(payer, None, offer, 60, budget, Deadline(5)))  # type: ignore[arg-type]
    except LivepeerError as refused:
        assert refused.capability == "echo"
        assert budget.spent == 0
    else:
        assert budget.spent <= 20_000
        assert budget.spent >= min(1000, max(0, 3000 - balance_in(token)))
