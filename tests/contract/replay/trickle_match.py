"""Whether what arrived is what a transcript expects."""

from __future__ import annotations

from typing import Any, Final

from .trickle_connection import RawConnection

Expectation = dict[str, Any]

LATE: Final = 3.0
"""Seconds that a provisional answer may be late on a busy machine."""


def piece_bytes(piece: str | Expectation) -> bytes:
    """The bytes of one piece: a text, or one letter many times."""
    if isinstance(piece, str):
        return piece.encode()
    fill: str = piece["fill"]
    return fill.encode() * int(piece["count"])


def seen(connection: RawConnection) -> str:
    """All that arrived, for a message and to compare."""
    answer = connection.answer
    state = [f"{len(answer.provisional)} provisional", f"status {answer.status}"]
    state += [f"{len(answer.body)} bytes {answer.body[:60]!r}", f"ended {answer.ended}"]
    return ", ".join([*state, f"closed {connection.eof}"])


def missing(connection: RawConnection, expect: Expectation) -> list[str]:
    """What has not arrived yet."""
    answer = connection.answer
    absent: list[str] = []
    provisional = len(answer.provisional) - connection.taken_provisional
    if provisional < len(expect.get("provisional", ())):
        absent.append("provisional answers")
    if "status" in expect and not answer.status:
        absent.append("an answer")
    if expect.get("status", 200) < 300 and len(answer.body) < connection.taken + _length(expect):
        absent.append("bytes")
    if expect.get("ended") and not answer.ended:
        absent.append("the end of the answer")
    if expect.get("closed") and not connection.eof:
        absent.append("the end of the connection")
    return absent


def mismatches(connection: RawConnection, expect: Expectation, *, ill_formed: bool) -> list[str]:
    """What arrived and is different. What matched counts as taken afterwards."""
    answer = connection.answer
    wrong = _provisional(connection, expect.get("provisional", []))
    status = expect.get("status")
    if status is not None:
        redirected = 300 <= status < 400 and answer.status == 404
        refused = ill_formed and status >= 400 and answer.status >= 400
        if redirected or refused:
            return []
        if answer.status != status:
            wrong.append(f"status {answer.status}, not {status}")
        if answer.version != expect.get("version", "HTTP/1.1"):
            wrong.append(f"version {answer.version}")
        wrong += _headers(answer.headers, expect["headers"], error=status >= 400)
    elif set(expect) == {"closed"} and answer.status:
        wrong.append(f"status {answer.status} where the connection should end without an answer")
    if "pieces" in expect and answer.status < 400:
        body = answer.body[connection.taken :]
        expected = b"".join(piece_bytes(piece) for piece in expect["pieces"])
        if body != expected:
            wrong.append(f"body {body[:80]!r} ({len(body)}), not {expected[:80]!r}")
    if "ended" in expect and answer.ended is not expect["ended"]:
        wrong.append(f"ended {answer.ended}")
    if expect.get("closed") is False:
        if connection.eof:
            wrong.append("the server ended the connection")
        if answer.headers.get("connection", "").lower() == "close":
            wrong.append("the answer says Connection: close")
    connection.taken = len(answer.body)
    connection.taken_provisional = len(answer.provisional)
    return wrong


def _length(expect: Expectation) -> int:
    return sum(len(piece_bytes(piece)) for piece in expect.get("pieces", ()))


def _provisional(connection: RawConnection, expected: list[Expectation]) -> list[str]:
    arrived = connection.answer.provisional[connection.taken_provisional :]
    if len(arrived) != len(expected):
        return [f"{len(arrived)} provisional answers, not {len(expected)}"]
    wrong = []
    for (status, at), one in zip(arrived, expected, strict=True):
        if status != one["status"]:
            wrong.append(f"provisional status {status}")
        if not one.get("at_s", 0) - 0.5 <= at < one.get("at_s", 0) + LATE:
            wrong.append(f"provisional answer at {at:.1f} s, not {one.get('at_s', 0)} s")
    return wrong


def _headers(got: dict[str, str], expected: Expectation, *, error: bool) -> list[str]:
    wrong = []
    names = {name.lower() for name in expected}
    for name, value in expected.items():
        if error and name == "Content-Length":
            continue  # texts of errors are each server's own
        allowed = value["one_of"] if isinstance(value, dict) else [value]
        if got.get(name.lower()) not in allowed:
            wrong.append(f"{name}: {got.get(name.lower())!r}, not {value!r}")
    unexpected = [n for n in got if n.startswith("lp-trickle-") and n not in names]
    return wrong + [f"unexpected {name}: {got[name]}" for name in unexpected]
