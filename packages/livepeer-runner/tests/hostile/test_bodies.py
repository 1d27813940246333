"""Bodies that are small for what they cost, and large ones that nobody has room for."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.runner import Pipeline
from livepeer.runner.author.files import File
from livepeer.runner.http import asgi
from livepeer.runner.http.json_bounds import has_at_most

MIB = 1024 * 1024
MILLION = 1_000_000
# On a machine with nothing else to do it stays under 0.1 s; before there were bounds it was 10 s.
HEALTH_SECONDS = 1.0

# Each is made when its test runs: all of them are a second's work.
DEARER_THAN_THEY_LOOK: dict[str, Callable[[], bytes]] = {
    "elements that are no files": lambda: b'{"files":[' + b"1," * (MILLION - 1) + b"1]}",
    "unknown keys": lambda: b"{" + b",".join(b'"k%d":1' % i for i in range(MILLION)) + b"}",
    "wrong values": lambda: (
        b'{"table":{' + b",".join(b'"k%d":[]' % i for i in range(MILLION)) + b"}}"
    ),
    "empty objects": lambda: b'{"anything":[' + b"{}," * (MILLION - 1) + b"{}]}",
    "empty texts": lambda: b'{"anything":[' + b'"",' * (MILLION - 1) + b'""]}',
    "semicolons": lambda: b'{"files":["data:' + b";" * (4 * MIB) + b'"]}',
    "escaped quotes": lambda: b'{"anything":"' + b'\\"' * (4 * MIB) + b'"}',
    "one long key": lambda: b'{"' + b"k" * (4 * MIB) + b'": 1}',
    "deep lists": lambda: b'{"anything":' + b"[" * MILLION + b"]" * MILLION + b"}",
    "headers of a part": lambda: b"--b\r\n" + b"a: b\r\n" * MILLION,
    "a header of a part": lambda: b"--b\r\na: " + b"b" * 4 * MIB,
    "parts": lambda: b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * 50_000,
    "form fields": lambda: b"&".join(b"k%d=1" % i for i in range(MILLION)),
}


@pytest.mark.parametrize("made", DEARER_THAN_THEY_LOOK.values(), ids=DEARER_THAN_THEY_LOOK)
def test_a_small_body_costs_little_memory_and_time_and_gets_a_short_answer(
    shared_victim: Any, made: Callable[[], bytes]
) -> None:
    running, body = shared_victim, made()
    before = running.peak()
    kinds = {b"{": "json", b"-": "multipart/form-data; boundary=b"}
    form = {"content-type": kinds.get(body[:1], "application/x-www-form-urlencoded")}
    with running.watched() as seconds:
        response = running.post(body, **form)
    assert response.status_code == 422, response.text[:300]
    assert len(response.content) < 10_000
    assert len(response.json()["error"]["fields"]) <= 20
    assert running.peak() - before < 64 * MIB
    assert max(seconds) < HEALTH_SECONDS
    assert running.post({"text": "abc"}).json() == 3


def test_of_many_errors_the_first_twenty_are_listed_and_all_are_counted(shared_victim: Any) -> None:
    running = shared_victim
    error = running.post({"numbers": ["a"] * 100}).json()["error"]
    assert [field["name"] for field in error["fields"]] == [f"numbers.{i}" for i in range(20)]
    assert "20 of 100" in error["message"]


def test_files_to_fetch_are_bounded_in_number(victim: Any) -> None:
    running = victim(LIVEPEER_ALLOW_PRIVATE_URLS="1")
    response = running.post({"files": ["http://127.0.0.1:9/a"] * 101})
    assert response.status_code == 422
    assert "over 100 files" in response.text


def test_large_plain_inputs_are_taken(shared_victim: Any) -> None:
    running = shared_victim
    assert running.post({"numbers": list(range(200_000))}).json() == 200_000
    prose = 'a, b, "c" {d} [e]\n' * 100_000
    assert running.post({"text": prose}).json() == len(prose)


def test_open_bodies_together_take_no_more_memory_than_the_slots_could(victim: Any) -> None:
    size = 30 * MIB
    running = victim(SLOTS="1", LIVEPEER_MAX_BODY_MB="32")
    before = running.peak()
    with ExitStack() as stack:
        for _ in range(12):
            sock = stack.enter_context(running.connect())
            sock.settimeout(20)
            head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (size + 1)
            with suppress(OSError):
                sock.sendall(head + b"a" * size)
        assert running.post({"text": "abc"}).json() == 3  # what is small always fits
        assert running.peak() - before < 96 * MIB
    _until(lambda: running.post({"text": "a" * size}).status_code == 200)


class Echo(Pipeline):
    def predict(self, text: str) -> str:
        return text


async def test_a_body_that_dribbles_in_is_ended(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pause is long enough to count as a stall: its pace gives it away."""
    monkeypatch.setattr(asgi, "BODY_STALL_SECONDS", 0.5)
    async with served(Echo) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n")

        async def dribble() -> None:
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.02)

        dribbling = asyncio.create_task(dribble())
        async with asyncio.timeout(20):
            assert (await reader.readline()).split()[1] == b"422"
        dribbling.cancel()
        writer.close()


def _count(value: Any) -> int:
    """What the values of a parsed text count: as the bounds are told to callers."""
    if isinstance(value, dict):
        return 20 + max(0, len(value) - 1) + sum(map(_count, value.values()))
    if isinstance(value, list):
        return 4 + max(0, len(value) - 1) + sum(map(_count, value))
    return 0


values = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\,{[é'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='a"\\,{[é'), inner),
    max_leaves=20,
)


@given(values, st.booleans())
def test_values_are_counted_whatever_stands_in_the_texts(value: Any, ascii: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii).encode()
    count = _count(value)
    escaped = sum(text.count('"') for text in _texts(value))
    assert has_at_most(body, count + escaped)
    assert count == 0 or not has_at_most(body, count - 1)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for one in value.values() for text in _texts(one))]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("filler", [";", ";a", ";base64", "a"])
def test_the_time_for_a_data_uri_grows_no_faster_than_its_length(filler: str) -> None:
    def seconds(count: int) -> float:
        text = "data:" + filler * count
        started = time.process_time()
        with suppress(ValueError):
            File._validate(text)
        return time.process_time() - started

    assert seconds(MILLION) < 0.5


def test_the_places_of_refused_bodies_are_given_back(shared_victim: Any) -> None:
    running = shared_victim
    for body in (b"{", b'{"nothing":1}', b'{"files":["http://127.0.0.1/"]}'):
        assert running.post(body).status_code == 422
    with running.connect() as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{")
        sock.shutdown(socket.SHUT_RDWR)
    assert running.post({"text": "abc"}).json() == 3


def _until(done: Any) -> None:
    over = threading.Event()
    limit = time.monotonic() + 30
    while not done():
        assert time.monotonic() < limit
        over.wait(0.01)
