"""Probabilistic tickets: what one is worth, what it says, and how many pay what is due. No I/O."""

from __future__ import annotations

from fractions import Fraction

from livepeer.runner.devnet.payments.keys import keccak256
from livepeer.runner.devnet.payments.messages import Fields

CERTAIN = (1 << 256) - 1
FACE_VALUE = 35_000_000_000_000_000
TICKET_EV = 8_000_000_000
"""Wei that a ticket is worth, go-livepeer's default (`-ticketEV`)."""
MOST_TICKETS = 100
EXPIRES_BLOCKS = 40
PIXELS = 1280 * 720 * 30
"""720p pixels of a second."""
FIRST_UNITS = {"live": 10, "lv2v": 60 * PIXELS, "fixed": 1}


def win_probability(worth: int) -> int:
    """That of a ticket of `FACE_VALUE` which is worth so much (a little more)."""
    return worth * (CERTAIN // FACE_VALUE + 1)


def value(params: Fields) -> Fraction:
    """Wei that one with these parameters is worth."""
    face, win = params.get("face_value", b""), params.get("win_prob", b"")
    return Fraction(int.from_bytes(face) * int.from_bytes(win), CERTAIN)


def count(fee: Fraction, worth: Fraction, balance: Fraction) -> int:
    """How many are due: whole ones, and one at least is kept in hand."""
    missing = max(fee, worth) - balance
    return max(0, -(-missing // worth))


def ticket_hash(params: Fields, expiration: Fields, sender: bytes, nonce: int) -> bytes:
    """What is signed for one ticket."""
    data = (
        params.get("recipient", b"").rjust(20, b"\0")
        + sender
        + params.get("face_value", b"").rjust(32, b"\0")
        + params.get("win_prob", b"").rjust(32, b"\0")
        + nonce.to_bytes(32)
        + params.get("recipient_rand_hash", b"").rjust(32, b"\0")
    )
    creation, block = (
        expiration.get("creation_round", 0),
        expiration.get("creation_round_block_hash", b""),
    )
    if creation or any(block):
        data += creation.to_bytes(32) + block.rjust(32, b"\0")
    return keccak256(data)


def segment_hash(manifest: bytes, sequence: int, content: bytes) -> bytes:
    """What is signed of a segment, which says who pays for what session."""
    return keccak256(manifest + sequence.to_bytes(32) + content)
