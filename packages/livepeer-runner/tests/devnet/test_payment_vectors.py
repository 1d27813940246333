"""Test money against vectors that go-livepeer's own packages made."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from livepeer.runner.devnet.payments import messages, tickets
from livepeer.runner.devnet.payments.keys import Key, keccak256, signer_of

FIXTURES = Path(__file__).parents[4] / "specs" / "fixtures" / "payments"
SHAPES = {
    "net.Payment": messages.PAYMENT,
    "net.OrchestratorInfo": messages.ORCHESTRATOR_INFO,
    "net.SegData": messages.SEGMENT,
    "net.PaymentResult": messages.PAYMENT_RESULT,
}
WITH_MORE = {"price_with_capability", "with_data"}
"""They have fields that nothing here has a use for."""


def vectors() -> Any:
    return json.loads((FIXTURES / "vectors.json").read_text())


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


@pytest.fixture(scope="module")
def keys() -> dict[str, Key]:
    known = {name: Key(each["private_key"]) for name, each in vectors()["keys"].items()}
    assert {name: each.name for name, each in known.items()} == {
        name: each["address"] for name, each in vectors()["keys"].items()
    }
    return known


def test_texts_and_tickets_are_signed_byte_for_byte(keys: dict[str, Key]) -> None:
    for each in vectors()["text_signatures"]["vectors"]:
        assert keys[each["key"]].sign(keccak256(each["text"].encode())) == raw(each["sig"])
    for each in vectors()["tickets"]["vectors"]:
        params = {
            "recipient": raw(each["recipient"]),
            "face_value": int(each["face_value"]).to_bytes(32),
            "win_prob": int(each["win_prob"]).to_bytes(32),
            "recipient_rand_hash": raw(each["recipient_rand_hash"]),
        }
        expiration = {
            "creation_round": each["creation_round"],
            "creation_round_block_hash": raw(each["creation_round_block_hash"]),
        }
        sender = raw(each["sender"])
        found = tickets.ticket_hash(params, expiration, sender, each["sender_nonce"])
        assert found == raw(each["hash"]), each["name"]
        assert keys[each["key"]].sign(found) == raw(each["sig"])
        assert tickets.value(params) == Fraction(each["ev"]["exact"])


def test_a_signature_is_looked_at_as_go_livepeer_does(keys: dict[str, Key]) -> None:
    forms = vectors()["signature_forms"]
    digest = raw(forms["digest"])
    for each in forms["vectors"]:
        found = signer_of(digest, raw(each["sig"])) == keys[forms["key"]].address
        assert found is each["accepted"], each["name"]


def test_messages_are_read_and_written_byte_for_byte(keys: dict[str, Key]) -> None:
    for each in vectors()["protobuf"]["vectors"]:
        shape = SHAPES.get(each["message"])
        if shape is None or each["name"] in WITH_MORE:
            continue
        fields = messages.read(shape, raw(each["hex"]))
        assert messages.write(shape, fields) == raw(each["hex"]), each["name"]
        if each["message"] == "net.SegData":
            manifest, content = fields.get("manifestId", b""), fields["hash"]
            found = tickets.segment_hash(manifest, fields.get("seq", 0), content)
            assert found == keccak256(raw(each["signed"]))
            assert keys[each["key"]].sign(found) == fields["sig"]


def test_so_many_tickets_are_due() -> None:
    known = vectors()["ticket_count"]
    worth = Fraction(known["ev"])
    for each in known["vectors"]:
        fee, balance = Fraction(each["fee"]), Fraction(each["balance"])
        assert tickets.count(fee, worth, balance) == each["tickets"]
