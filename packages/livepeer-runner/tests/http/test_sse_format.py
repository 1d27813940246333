"""The bytes of an event: what an orchestrator reads line by line and passes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.runner.errors import InvalidInput
from livepeer.runner.http.sse import (
    DONE,
    HEARTBEAT,
    LINE_LIMIT,
    data_event,
    error_event,
    fold,
    progress_event,
)


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def data_of(event: bytes) -> bytes:
    """The payload as our rule reads it: the data lines, joined without line feeds."""
    assert event.endswith(b"\n\n")
    lines = event[:-2].split(b"\n")
    return b"".join(line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: "))


def test_a_payload_is_one_data_line_and_a_blank_one() -> None:
    assert data_event(b'{"a":1}') == b'data: {"a":1}\n\n'


def test_the_end_is_a_bare_event_and_a_heartbeat_a_comment() -> None:
    assert DONE == b"data: [DONE]\n\n"
    assert HEARTBEAT.startswith(b":")


def test_done_inside_a_payload_is_escaped_and_reads_the_same() -> None:
    event = data_event(compact({"text": "say [DONE] now", "[DONE]": 1}))
    assert b"[DONE]" not in event
    assert json.loads(data_of(event)) == {"text": "say [DONE] now", "[DONE]": 1}


def test_a_line_of_exactly_the_limit_is_not_folded() -> None:
    payload = compact("x" * (LINE_LIMIT - len("data: ") - 2))
    event = data_event(payload)
    assert len(event.split(b"\n")[0]) == LINE_LIMIT
    assert event.count(b"\n") == 2


def test_a_line_of_one_byte_more_is_folded() -> None:
    payload = compact("x" * (LINE_LIMIT - len("data: ") - 1))
    event = data_event(payload)
    assert max(map(len, event.split(b"\n"))) <= LINE_LIMIT
    assert data_of(event) == payload


def test_folds_are_between_tokens_where_they_can_be_so_that_a_plain_reader_needs_no_rule() -> None:
    value = [{"n": i, "text": 'é, [x] \\ "quoted"'} for i in range(9000)]
    event = data_event(compact(value))
    assert event.count(b"data: ") > 1
    joined = b"\n".join(line[6:] for line in event[:-2].split(b"\n"))
    assert json.loads(joined) == value


def test_a_fold_never_splits_a_character() -> None:
    for line in fold(compact("é€😀" * 60), room=11):
        line.decode("utf-8")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(alphabet='ab"\\,[]{}:é😀\n', max_size=80),
        lambda children: st.lists(children) | st.dictionaries(st.text(max_size=5), children),
        max_leaves=30,
    ),
    st.integers(8, 64),
)
def test_any_payload_survives_any_fold(value: Any, room: int) -> None:
    payload = compact(value)
    lines = fold(payload, room)
    assert all(0 < len(line) <= room and b"\n" not in line for line in lines)
    assert b"".join(lines) == payload


@given(st.text(alphabet="[DONE] x\\u005b", max_size=60))
def test_no_payload_ever_shows_the_end_mark(text: str) -> None:
    event = data_event(compact(text))
    assert b"[DONE]" not in event
    assert json.loads(data_of(event)) == text


def test_an_error_event_has_the_shape_of_an_error_response() -> None:
    event = error_event(InvalidInput("too dark", field="image"))
    name, data = event.split(b"\n")[:2]
    assert name == b"event: error"
    assert json.loads(data[6:])["error"]["fields"][0]["name"] == "image"


@pytest.mark.parametrize("text", ["[DONE]", "a\nb"])
def test_a_progress_event_is_one_line_of_json(text: str) -> None:
    event = progress_event(0.5, text)
    assert event.count(b"\n") == 3 and b"[DONE]" not in event
    assert json.loads(data_of(event)) == {"progress": 0.5, "message": text}
