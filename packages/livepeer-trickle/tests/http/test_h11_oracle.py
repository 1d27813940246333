"""The parser of answers against h11: the same bytes in the same pieces, the same reading.

Where the two read something differently, it is in `DIFFERENCES`, with the reason and an example.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livepeer.trickle.http.http1 import MalformedAnswer, ResponseParser


@dataclass(frozen=True)
class Reading:
    """What a parser made of an answer."""

    refused: bool = False
    status: int | None = None
    fields: tuple[tuple[str, bytes], ...] = ()
    body: bytes = b""
    complete: bool = False
    reusable: bool = False
    """Whether the connection may carry another exchange."""


REFUSED = Reading(refused=True)


def ours(pieces: list[bytes], *, eof: bool) -> list[Reading]:
    """The reading after each piece, and after the end of the connection if `eof`."""
    parser, body, readings = ResponseParser(), b"", list[Reading]()
    try:
        for piece in [*pieces, *([None] if eof else [])]:
            if piece is not None:
                parser.feed(piece)
            elif not parser.complete:
                parser.eof()
            body += b"".join(iter(parser.take, b""))
            head = parser.head
            if head is None:
                readings.append(Reading())
                continue
            fields = {k: v.encode("utf-8", "surrogateescape") for k, v in head.fields.items()}
            # h11 tells these two in one form.
            if coding := fields.get("transfer-encoding"):
                fields["transfer-encoding"] = coding.lower()
            if length := fields.get("content-length"):
                fields["content-length"] = length.split(b",")[0].strip()
            reusable = parser.complete and head.keep_alive
            status, complete = head.status, parser.complete
            readings.append(
                Reading(False, status, tuple(sorted(fields.items())), body, complete, reusable)
            )
    except MalformedAnswer:
        readings.append(REFUSED)
    return readings


def oracle(pieces: list[bytes], *, eof: bool) -> list[Reading]:
    """The same by h11."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    status: int | None = None
    fields: dict[str, bytes] = {}
    body, complete, ended_by_eof, readings = b"", False, False, list[Reading]()
    try:
        for piece in [*pieces, *([b""] if eof else [])]:
            if not complete:
                connection.receive_data(piece)
            while not complete:
                event = connection.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                if isinstance(event, h11.Response):
                    status = event.status_code
                    for name, value in event.headers:
                        key = name.decode()
                        fields[key] = fields[key] + b", " + value if key in fields else value
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    complete, ended_by_eof = True, piece == b""
            if status is None:
                readings.append(REFUSED if eof and piece == b"" else Reading())
                continue
            # Of a body that ends with its connection h11 says so one event later.
            reusable = complete and connection.their_state is h11.DONE and not ended_by_eof
            readings.append(
                Reading(False, status, tuple(sorted(fields.items())), body, complete, reusable)
            )
    except h11.RemoteProtocolError:
        readings.append(REFUSED)
    return readings


class Difference(NamedTuple):
    why: str
    example: bytes
    applies: Callable[[bytes, Reading, Reading], object]
    """Whether it explains that an answer is read so by us, and so by h11."""


def head_of(data: bytes) -> bytes:
    """All heads of an answer, the provisional ones too."""
    while data.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and b"\r\n\r\n" in data:
        first, _, rest = data.partition(b"\r\n\r\n")
        if b"HTTP/1" not in rest[:8]:
            return first
        data = rest
    return data.partition(b"\r\n\r\n")[0]


def field(data: bytes, name: bytes) -> list[bytes]:
    return re.findall(rb"(?im)^" + name + rb":[ \t]*(.*?)[ \t]*\r?$", data)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
DIFFERENCES = (
    Difference(
        "we take a line to end with CR LF only: a bare LF means different things to others",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        lambda data, we, they: we.refused and re.search(rb"(?<!\r)\n", data),
    ),
    Difference(
        "we refuse folded fields, as RFC 9112 allows (5.2)",
        OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        lambda data, we, they: we.refused and re.search(rb"\r\n[ \t]", data),
    ),
    Difference(
        "we refuse bytes after the end: nobody asked for them; h11 keeps them for a next request",
        OK + b"Content-Length: 0\r\n\r\nx",
        lambda data, we, they: we.refused and they.complete,
    ),
    Difference(
        "we refuse a length told twice, even if it is the same",
        OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        lambda data, we, they: (
            we.refused and b"," in b",".join(field(head_of(data), b"content-length"))
        ),
    ),
    Difference(
        "we do not look at a length that does not count, beside chunks or without a body",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n",
        lambda data, we, they: they.refused and field(head_of(data), b"content-length"),
    ),
    Difference(
        "a connection whose answer has a length beside chunks is not used again",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        lambda data, we, they: (
            same_but_for_reuse(we, they)
            and they.reusable
            and field(head_of(data), b"content-length")
        ),
    ),
    Difference(
        "a connection of HTTP/1.0 is used again if it says keep-alive",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        lambda data, we, they: (
            same_but_for_reuse(we, they) and we.reusable and b"HTTP/1.0" in head_of(data)
        ),
    ),
    Difference(
        "we let control characters pass in reasons and values, but for CR, LF and NUL",
        OK + b"A: b\x0cc\r\nContent-Length: 0\r\n\r\n",
        lambda data, we, they: they.refused and re.search(rb"[\x0b\x0c]", data),
    ),
    Difference(
        "we pass over trailers without reading them",
        CHUNKED + b"0\r\nno field\r\n\r\n",
        lambda data, we, they: we.complete and they.refused and b"0\r\n" in data,
    ),
    Difference(
        "we take white space before the extension of a chunk",
        CHUNKED + b"1 ;a\r\nx\r\n0\r\n\r\n",
        lambda data, we, they: they.refused and re.search(rb"[0-9A-Fa-f][ \t]+;", data),
    ),
    Difference(
        "sizes of chunks and lengths have bounds of their own: 16 and 18 digits, h11 has 20",
        CHUNKED + b"00000000000000001\r\nx\r\n0\r\n\r\n",
        lambda data, we, they: we.refused and re.search(rb"[0-9A-Fa-f]{17}", data),
    ),
    Difference(
        "we look for `close` anywhere in Connection: a connection too few is used again",
        OK + b"Connection: closed\r\nContent-Length: 0\r\n\r\n",
        lambda data, we, they: (
            same_but_for_reuse(we, they)
            and they.reusable
            and b"close" in b",".join(field(head_of(data), b"connection")).lower()
        ),
    ),
)


def same_but_for_reuse(we: Reading, they: Reading) -> bool:
    return (we.status, we.fields, we.body, we.complete) == (
        *(they.status, they.fields, they.body),
        they.complete,
    )


def unexplained(data: bytes, we: Reading, they: Reading) -> bool:
    return we != they and not any(each.applies(data, we, they) for each in DIFFERENCES)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


LINES = st.sampled_from(
    [
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"content-length:5",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: Chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: Keep-Alive, Close",
        b"Lp-Trickle-Seq: 7",
        b"Lp-Trickle-Latest:\t8 ",
        b"Empty:",
        b"A: \xc3\xa4 b\tc \xff",
        b"A: two",
        b" folded",
        b"A : b",
        b"no field",
    ]
)
BODIES = st.one_of(
    st.sampled_from([b"", b"hello", b"hell", b"hello!", b"\r\n"]),
    st.lists(st.binary(min_size=1, max_size=20), max_size=3).map(
        lambda chunks: (
            b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        )
    ),
    st.sampled_from(
        [
            b"5;a=1\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"-1\r\n\r\n",
            b"g\r\n",
        ]
    ),
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    provisional = draw(st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2"]))
    status = draw(st.sampled_from([b"200 OK", b"200", b"470 Resync", b"204 No", b"304 ", b"101 S"]))
    lines = draw(st.lists(LINES, max_size=4))
    body = draw(BODIES)
    data = provisional + b"\r\n".join([version + b" " + status, *lines]) + b"\r\n\r\n" + body
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        drop = draw(st.integers(0, 2))
        put = draw(st.sampled_from([b"", b"\r", b"\n", b" ", b"0", b":", b"\0", b"\x0c", b";"]))
        data = data[:at] + put + data[at + drop :]
    return data


@given(answers(), st.lists(st.integers(1, 40), max_size=30), st.booleans())
@example(OK + b"\r\nup to the end", [20, 3], True)
def test_an_answer_is_read_as_h11_reads_it(data: bytes, sizes: list[int], eof: bool) -> None:
    pieces = cut(data, sizes)
    we, they = ours(pieces, eof=eof), oracle(pieces, eof=eof)
    # One may refuse a head or a chunk some pieces earlier: from there on the last reading counts.
    for mine, other in zip(we, they, strict=False):
        if mine.status is not None and other.status is not None:
            assert not unexplained(data, mine, other), (mine, other)
    if eof:
        assert not unexplained(data, we[-1], they[-1]), (we[-1], they[-1])


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda each: each.why[:40])
def test_each_listed_difference_is_one(difference: Difference) -> None:
    pieces = [difference.example]
    we, they = ours(pieces, eof=True)[-1], oracle(pieces, eof=True)[-1]
    assert we != they
    assert difference.applies(difference.example, we, they)
