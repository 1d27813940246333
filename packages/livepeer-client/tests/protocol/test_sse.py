"""The parser of server-sent events: the HTML standard, and go-livepeer's ways."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.client.protocol.sse import EventParser
from livepeer.client.types import StreamEvent


def parse(*chunks: bytes) -> list[StreamEvent]:
    parser = EventParser()
    found = [event for chunk in chunks for event in parser.feed(chunk)]
    return found + parser.end()


def by_the_standard(stream: bytes) -> list[StreamEvent]:
    """The interpretation of an event stream as the HTML standard words it, step by step."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\n|\r", text)[:-1]  # what follows the last line end is no line
    found = []
    data, event_type, last_id, retry = "", "", "", None
    for line in lines:
        if line == "":
            if data == "":
                event_type, retry = "", None
                continue
            data = data.removesuffix("\n")
            found.append(StreamEvent(data, event_type or "message", last_id, retry))
            data, event_type, retry = "", "", None
        elif line.startswith(":"):
            continue
        else:
            field, colon, value = line.partition(":")
            if colon:
                value = value.removeprefix(" ")
            match field:
                case "event":
                    event_type = value
                case "data":
                    data += value + "\n"
                case "id" if "\0" not in value:
                    last_id = value
                case "retry" if value and all("0" <= digit <= "9" for digit in value):
                    retry = int(value)
    return found


ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
NAMES = st.sampled_from([b"data", b"event", b"id", b"retry", b"other", b"", b"Data", b" data"])
VALUES = st.one_of(
    st.sampled_from([b"", b" ", b"  x", b"12", b"1 2", b"\xff\xfe", b"a\0b", "é✓".encode(), b":"]),
    st.binary(max_size=8).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")),
)
LINES = st.one_of(
    st.tuples(NAMES, st.sampled_from([b":", b": ", b""]), VALUES).map(b"".join),
    st.just(b""),
    st.just(b""),
    VALUES.map(lambda value: b":" + value),
)
STREAMS = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=30).map(b"".join),
    st.sampled_from([b"", b"data: cut off", b"\xe2"]),
).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 400), max_size=30))
def test_any_stream_in_any_chunks_is_read_as_the_standard_says(
    stream: bytes, cuts: list[int]
) -> None:
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    assert parse(*chunks) == by_the_standard(stream)


@given(STREAMS)
def test_byte_by_byte_is_the_same(stream: bytes) -> None:
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == by_the_standard(stream)


BALANCE = b'data: {"balance": 0.000}\n\n\n'


@given(
    st.lists(
        st.sampled_from(
            [
                b'data: {"i":1}\n',
                b"\n",
                b": ping\n",
                b"event: a\n",
                b"id: 7\n",
                b"data: a [DONE] b\n",
                b'data: {"balance": 0.000}\n',
                b": [DONE]\n",
            ]
        ),
        max_size=20,
    ),
    st.integers(1, 40),
)
def test_what_an_orchestrator_puts_before_done_is_taken_out_again(
    lines: list[bytes], size: int
) -> None:
    sent = b"".join(lines)
    forwarded = b"".join(BALANCE + line if b"[DONE]" in line else line for line in lines)
    chunks = [forwarded[i : i + size] for i in range(0, len(forwarded), size)]
    # A pipeline's own balance event before such a line cannot be told from an orchestrator's.
    ambiguous = re.search(rb'data: \{"balance": 0\.000\}\n\n\n[^\n]*\[DONE\]', sent)
    if not ambiguous:
        assert parse(*chunks) == by_the_standard(sent)


@pytest.mark.parametrize(
    "end",
    [
        b"data: [DONE]\n\n",
        b"data: [DONE]\n",
        b"data: [DONE]",
        b"data:[DONE]\n",
        b"[DONE]\n",
        b"event: x\ndata: [DONE]\n\n",
        BALANCE + b"data: [DONE]\n",
        BALANCE + b"data: [DONE]",
        b"data: [DONE]\r\n",
    ],
)
def test_done_ends_the_stream_at_its_own_line_however_it_comes(end: bytes) -> None:
    parser = EventParser()
    assert [event.data for event in parser.feed(b"data: 1\n\n" + end)] == ["1"]
    assert parser.end() == []
    assert parser.done
    assert parser.feed(b"data: after\n\n") == []


@pytest.mark.parametrize(
    "line", [b"data: say [DONE] now", b'data: {"t":"\\u005bDONE]"}', b": [DONE]", b"data: [done]"]
)
def test_done_inside_something_else_is_no_end(line: bytes) -> None:
    parser = EventParser()
    found = parser.feed(line + b"\n\ndata: after\n\n")
    assert found[-1].data == "after" and not parser.done


def test_the_balance_is_told_and_a_pipelines_own_balance_event_passes() -> None:
    parser = EventParser()
    own = b'data: {"balance": 7.000}\n\n'
    found = parser.feed(
        own + b"data: x\n\n" + BALANCE.replace(b"0.000", b"1.250") + b"data: [DONE]\n"
    )
    assert [event.data for event in found] == ['{"balance": 7.000}', "x"]
    assert parser.balance == "1.250" and parser.done


def test_a_balance_in_the_middle_of_an_event_leaves_the_event_whole() -> None:
    found = parse(b"event: e\n" + BALANCE + b"data: a [DONE] b\n\n")
    assert found == [StreamEvent("a [DONE] b", "e")]


def test_a_flood_of_empty_lines_is_noticed_and_costs_nothing() -> None:
    parser = EventParser()
    parser.feed(b"data: 1\n\n")
    assert not parser.flooded
    for _ in range(20):
        parser.feed(b"\n" * 4096)
    assert parser.flooded
    parser.feed(b"data: 2\n\n")
    assert not parser.flooded


def test_a_payload_folded_over_lines_is_one_json_value() -> None:
    text = "x" * 100_000
    payload = f'{{"t":"{text}"}}'.encode()
    folded = b"data: " + payload[:65_000] + b"\ndata: " + payload[65_000:] + b"\n\n"
    (event,) = parse(folded)
    assert event.json() == {"t": text}
    with pytest.raises(ValueError):
        StreamEvent("not\njson").json()


def test_an_event_without_end_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from livepeer.client import ProtocolError
    from livepeer.client.protocol import sse

    monkeypatch.setattr(sse, "EVENT_LIMIT", 1000)
    parser = EventParser()
    with pytest.raises(ProtocolError, match="over"):
        for _ in range(100):
            parser.feed(b"x" * 100)
    parser = EventParser()
    with pytest.raises(ProtocolError, match="over"):
        for _ in range(100):
            parser.feed(b"data: 12345678901234567890\n")


def test_an_event_of_endless_empty_lines_and_an_endless_retry_are_bounded() -> None:
    from livepeer.client import ProtocolError

    parser = EventParser()
    with pytest.raises(ProtocolError, match="lines"):
        for _ in range(1000):
            parser.feed(b"data\n" * 1000)
    # Python refuses to make a number of so many digits, with an error of its own.
    assert parse(b"retry: " + b"9" * 5000 + b"\ndata: 1\n\n") == [StreamEvent("1")]
    with pytest.raises(ValueError, match="nested"):
        StreamEvent("[" * 1_000_000).json()
