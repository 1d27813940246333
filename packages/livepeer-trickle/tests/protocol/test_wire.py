import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.wire import Answer, Changes, Headers, Target


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("7", 7),
        ("+1", 1),
        ("01", 1),
        ("-0", 0),
        ("-1", -1),
        ("-2", -2),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_a_number_is_what_the_reference_takes_for_one(text: str, number: int) -> None:
    assert wire.parse_sequence(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "abc", "1.0", "1e1", "0x1", " 1", "1 ", "-", "+", "--1", "NEXT", "next", "1_0"),
        *("²", "١", "9223372036854775808", "9" * 20, "9" * 100_000, None),
    ],
)
def test_what_the_reference_refuses_is_no_number(text: str | None) -> None:
    assert wire.parse_sequence(text) is None


@given(st.integers(-(2**70), 2**70))
def test_numbers_are_64_bits(number: int) -> None:
    expected = number if -(2**63) <= number < 2**63 else None
    assert wire.parse_sequence(str(number)) == expected


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/cam", Target("cam")),
        ("/cam/0", Target("cam", "0")),
        ("/cam/%31", Target("cam", "1")),
        ("/cam/next", Target("cam", "next")),
        ("/a%2Fb", Target("a/b")),
        ("/a%20b/-1", Target("a b", "-1")),
        ("/caf%C3%A9", Target("café")),
        ("/...", Target("...")),
        ("/a+b", Target("a+b")),
    ],
)
def test_a_path_names_a_channel_and_perhaps_a_segment(path: str, target: Target) -> None:
    assert wire.parse_path(path) == target


@pytest.mark.parametrize(
    "path", ["/", "/cam/", "/a/b/c", "//cam", "/cam//0", "/./cam", "/../x", ""]
)
def test_other_paths_name_nothing(path: str) -> None:
    assert wire.parse_path(path) is None


def test_a_base_path_has_to_be_there_whole() -> None:
    assert wire.parse_path("/ai/trickle/cam/0", "/ai/trickle/") == Target("cam", "0")
    assert wire.parse_path("/ai/trickle/cam/0", "/ai/trickle") == Target("cam", "0")
    assert wire.parse_path("/cam/0", "/ai/trickle/") is None
    assert wire.parse_path("/ai/trickle", "/ai/trickle/") is None
    assert wire.parse_path("/ai/tricklecam", "/ai/trickle") is None


@given(st.text(min_size=1).filter(lambda name: name not in (".", "..")), st.integers(-2, 2**63 - 1))
def test_every_name_and_number_comes_back_from_its_url(name: str, seq: int) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    url = wire.segment_url(wire.channel_url("http://host/base/", name), seq)
    target = wire.parse_path(url.removeprefix("http://host"), "/base")
    assert target == Target(name, str(seq))
    assert target.seq == seq
    assert not target.is_next


def test_a_query_stays_at_the_end_of_a_segment_url() -> None:
    assert wire.segment_url("http://h/cam?token=x", 3) == "http://h/cam/3?token=x"
    assert wire.next_url("http://h/cam/") == "http://h/cam/next"


@pytest.mark.parametrize("url", ["cam", "ftp://h/cam", "http:///cam", "http://h", "http://h/", ""])
def test_a_url_that_names_no_channel_is_refused_with_the_reason(url: str) -> None:
    with pytest.raises(ValueError, match="channel URL"):
        wire.check_channel_url(url)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_is_no_path_segment_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of a channel"):
        wire.channel_url("http://h", name)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, Answer.OK),
        (204, Answer.OK),
        (470, Answer.RESYNC),
        (404, Answer.NOT_FOUND),
        (410, Answer.NOT_FOUND),
        (400, Answer.REJECTED),
        (405, Answer.REJECTED),
        (307, Answer.REJECTED),
        (401, Answer.REFUSED),
        (403, Answer.REFUSED),
        (429, Answer.SERVER_ERROR),
        (500, Answer.SERVER_ERROR),
        (503, Answer.SERVER_ERROR),
    ],
)
def test_a_status_has_one_meaning(status: int, answer: Answer) -> None:
    assert wire.classify(status) is answer


@pytest.mark.parametrize("status", [200, 404, 500])
def test_the_mark_of_the_end_wins_over_the_status(status: int) -> None:
    told = Headers.parse({wire.CLOSED: "anything"})
    assert wire.classify(status, closed=told.closed) is Answer.TERMINATED


def test_headers_come_back_from_what_was_written() -> None:
    for headers in (Headers(3, 5), Headers(3, 3, True), Headers(), Headers(None, 7)):
        assert Headers.parse(headers.format()) == headers


def test_latest_is_left_out_where_it_equals_the_segment_unless_the_channel_has_ended() -> None:
    assert Headers(3, 3).format() == {"Lp-Trickle-Seq": "3"}
    assert Headers(3, 3, True).format() == {
        "Lp-Trickle-Seq": "3",
        "Lp-Trickle-Latest": "3",
        "Lp-Trickle-Closed": "terminated",
    }


def test_a_header_that_is_no_number_counts_as_absent() -> None:
    assert Headers.parse({"Lp-Trickle-Seq": "x", "Lp-Trickle-Latest": ""}) == Headers()


@pytest.mark.parametrize(
    "changes",
    [Changes(added=("cam",)), Changes(removed=("a", "é")), Changes(), Changes(("a",), ("b",))],
)
def test_an_entry_of_the_change_feed_comes_back(changes: Changes) -> None:
    assert Changes.parse(changes.format()) == changes


def test_the_change_feed_leaves_empty_keys_out() -> None:
    assert Changes(added=("_changes",)).format() == b'{"added":["_changes"]}'


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"added":"cam"}', b'{"removed":[1]}', b"{", b"[" * 100_000]
)
def test_what_is_no_entry_of_the_change_feed_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"change feed|Expecting"):
        Changes.parse(data)


def test_only_the_lower_case_word_asks_for_the_next_number() -> None:
    assert Target("cam", "next").is_next
    assert not Target("cam", "NEXT").is_next
    assert json.dumps(Target("cam", "NEXT").seq) == "null"
