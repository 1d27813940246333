"""The parser of answers: HTTP/1.1 is read the same however it is cut; the rest is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.trickle.http.connection import split_url
from livepeer.trickle.http.http1 import MalformedAnswer, ResponseParser

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_ANSWERS = [
    # bytes, status, body, whether the connection may be used again
    (_OK + b"Content-Length: 5\r\n\r\nhello", 200, b"hello", True),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    (
        b"HTTP/1.1 470 status code 470\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
        *(470, b"no", False),
    ),
    (
        b"HTTP/1.1 100 Continue\r\n\r\n" * 8 + _OK + b"Content-Length: 1\r\n\r\nx",
        *(200, b"x", True),
    ),
    (_CHUNKED + b"5\r\nhello\r\n1;a=1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n", 200, b"hello!", True),
    (_CHUNKED.replace(b"chunked", b"Chunked") + b"0\r\n\r\n", 200, b"", True),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
    (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
        *(200, b"x", True),
    ),
]


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


@given(st.sampled_from(_ANSWERS), st.lists(st.integers(1, 30), max_size=60))
def test_an_answer_is_read_the_same_however_it_is_cut(
    answer: tuple[bytes, int, bytes, bool], sizes: list[int]
) -> None:
    data, status, body, keep_alive = answer
    parser, got = ResponseParser(), b""
    for piece in _cut(data, sizes):
        assert not parser.complete
        parser.feed(piece)
        got += parser.take()
    assert parser.complete
    assert parser.head is not None
    assert (parser.head.status, got, parser.head.keep_alive) == (status, body, keep_alive)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(1, 40)))
def test_chunks_come_whole_however_they_are_cut(chunks: list[bytes], sizes: list[int]) -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    parser = ResponseParser()
    for piece in _cut(data, sizes):
        parser.feed(piece)
    assert parser.complete
    assert parser.take() == b"".join(chunks)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\n\r\nsome")
    assert not parser.complete
    parser.feed(b" more")
    parser.eof()
    assert parser.complete
    assert parser.take() == b"some more"
    assert parser.head is not None
    assert not parser.head.keep_alive


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(data: bytes) -> None:
    parser = ResponseParser()
    parser.feed(data)
    with pytest.raises(MalformedAnswer, match="amid"):
        parser.eof()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
    ],
)
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        ResponseParser().feed(data)


@given(st.binary(max_size=200))
def test_garbage_never_gets_past_as_another_error(data: bytes) -> None:
    parser = ResponseParser()
    try:
        parser.feed(data)
        parser.feed(b"HTTP/1.1 200 OK\r\n" + data)
        parser.eof()
    except MalformedAnswer:
        pass


def test_field_names_have_no_case() -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nLP-TRICKLE-seq: 7\r\nContent-Length: 0\r\n\r\n")
    assert parser.head is not None
    assert parser.head.fields.get("Lp-Trickle-Seq") == "7"


@pytest.mark.parametrize(
    ("url", "host", "port", "lines", "target"),
    [
        ("http://h/a/0", "h", 80, "Host: h\r\n", "/a/0"),
        ("http://h:81/a?x=1", "h", 81, "Host: h:81\r\n", "/a?x=1"),
        ("https://[::1]:8935/a", "::1", 8935, "Host: [::1]:8935\r\n", "/a"),
        ("http://h/caf%C3%A9", "h", 80, "Host: h\r\n", "/caf%C3%A9"),
        ("http://h/café x\r\n", "h", 80, "Host: h\r\n", "/caf%C3%A9%20x%0D%0A"),
        ("http://h:81/a#part", "h", 81, "Host: h:81\r\n", "/a"),
        ("http://h?x=1", "h", 80, "Host: h\r\n", "/?x=1"),
        ("http://h:0/a", "h", 0, "Host: h:0\r\n", "/a"),
        ("http://u:p%40@h/a", "h", 80, "Host: h\r\nAuthorization: Basic dTpwQA==\r\n", "/a"),
    ],
)
def test_a_url_becomes_an_origin_and_a_target(
    url: str, host: str, port: int, lines: str, target: str
) -> None:
    origin, asked = split_url(url)
    assert (origin.host, origin.port, origin.lines, asked) == (host, port, lines, target)


@pytest.mark.parametrize(
    "url",
    [
        *("http://", "ftp://h/a", "h/a", "http://h:x/a", "http://h:99999/a"),
        *("http://a b/c", "http://a\0b/c", "http://.h/a"),
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|ort|host"):
        split_url(url)


@pytest.mark.parametrize(
    "data",
    [
        # A bare line feed would hide a field in the reason, or make one out of a value.
        b"HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 0\r\n\r\n",
        _CHUNKED + b"1;a\nb\r\nx\r\n",
        # The limits hold as well where all of it comes at once.
        _OK + b"A: b\r\n" * 20_000 + b"\r\n",
        _CHUNKED + b"1;" + b"x" * 5000 + b"\r\n",
        _CHUNKED + b"0\r\n" + b"A: b\r\n" * 20_000,
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        ResponseParser().feed(data)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_connection_whose_answer_has_two_lengths_is_not_used_again(head: bytes) -> None:
    parser = ResponseParser()
    parser.feed(head + b"1\r\nx\r\n0\r\n\r\n")
    assert parser.take() == b"x"
    assert parser.head is not None
    assert not parser.head.keep_alive
