import asyncio
import json
import logging
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepeer.trickle import (
    ChannelClosed,
    JSONLPublisher,
    JSONLSubscriber,
    RecordTooLarge,
    SegmentFailed,
    Timeouts,
    TricklePublisher,
    TrickleServer,
    TrickleSubscriber,
)
from livepeer.trickle.protocol.records import Record, RecordReader, encode, is_keepalive
from livepeer.trickle.testing import Exchange, FaultProxy, ScriptedServer

LIMIT = 30.0
"""Seconds; far more than anything here takes."""


_KEEP = {"keep": "alive"}
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip
_records = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5), _json, max_size=4
)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 — conditions of any kind
            await asyncio.sleep(0.005)


class Reader:
    """Reads a channel to its end."""

    def __init__(self, url: str, *, keepalives: bool = False) -> None:
        self.subscriber = JSONLSubscriber(url, keepalives=keepalives)
        self.records: list[Record] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def waiting(cls, server: TrickleServer, name: str, **options: bool) -> "Reader":
        """One that the server knows of, so that what is written from now on comes to it."""
        channel = server.get(name)
        assert channel is not None
        before = channel.readers
        reader = cls(server.channel_url(name), **options)
        await until(lambda: channel.readers > before)
        return reader

    async def _read(self) -> None:
        async with self.subscriber:
            async for record in self.subscriber:
                self.records.append(record)

    async def count(self, wanted: int) -> None:
        """Wait for so many records. A channel that is deleted earlier takes the rest with it."""
        await until(lambda: len(self.records) >= wanted or self._reading.done())

    async def ended(self) -> list[Record]:
        """All its records, once the channel has ended."""
        await asyncio.wait_for(self._reading, LIMIT)
        return self.records


# --- the format ----------------------------------------------------------------------------------


# The first draw imports and compiles: on a busy machine that alone is "too slow".
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_records)
def test_a_record_is_one_line_that_comes_back(record: Record) -> None:
    line = encode(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    reader = RecordReader()
    assert reader.feed(line) + reader.end() == [json.loads(json.dumps(record))]


@given(st.lists(_records, max_size=6), st.lists(st.integers(1, 20), max_size=40))
def test_records_come_whole_however_their_bytes_are_cut(
    records: list[Record], sizes: list[int]
) -> None:
    data = b"".join(map(encode, records))
    reader, got = RecordReader(), []
    for size in sizes:
        got += reader.feed(data[:size])
        data = data[size:]
    got += reader.feed(data) + reader.end()
    assert got == json.loads(json.dumps(records))
    assert reader.bad == 0


@pytest.mark.parametrize("record", [[], "x", 1, None, {"a": object()}, {"a": {1, 2}}])
def test_what_is_no_record_is_refused(record: object) -> None:
    with pytest.raises(TypeError):
        encode(record)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_can_not_say_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|Unicode"):
        encode({"a": value})


def test_the_longest_record_is_just_under_64_kib() -> None:
    assert len(encode({"a": "x" * (65535 - 9)})) == 65535
    with pytest.raises(RecordTooLarge, match=r"65,536 bytes.*65,535"):
        encode({"a": "x" * (65535 - 8)})


@pytest.mark.parametrize(
    ("data", "records", "bad"),
    [
        (b'{"a":1}', [{"a": 1}], 0),
        (b'{"a":1}\n\n  \r\n{"b":2}\n', [{"a": 1}, {"b": 2}], 0),
        (b'{"a":1}\nnonsense\n{"b":2}\n', [{"a": 1}, {"b": 2}], 1),
        (b'nonsense\n{"b":2}\n[1]\n3\n', [{"b": 2}], 3),
        (b'{\n  "a": [\n    1\n  ]\n}\n', [{"a": [1]}], 0),
        (b'{"half":', [], 1),
        (b"\xff\xfe\n", [], 1),
        (b"[" * 100_000 + b'\n{"a":1}\n', [{"a": 1}], 1),
        (b"", [], 0),
    ],
)
def test_a_segment_is_read_in_either_form_and_bad_lines_are_counted(
    data: bytes, records: list[Record], bad: int
) -> None:
    for cut in {0, 1, len(data) // 2}:
        reader = RecordReader()
        got = reader.feed(data[:cut]) + reader.feed(data[cut:]) + reader.end()
        assert (got, reader.bad) == (records, bad)


def test_an_endless_line_takes_no_endless_memory() -> None:
    reader = RecordReader()
    for _ in range(100):
        assert reader.feed(bytes(64 * 1024)) == []
        assert len(reader._rest) <= 1024 * 1024
    assert reader.feed(b'\n{"a":1}\n') == [{"a": 1}]
    assert reader.bad == 1


def test_only_the_keepalive_is_a_keepalive() -> None:
    assert is_keepalive({"keep": "alive"})
    assert not is_keepalive({"keep": "alive", "a": 1})
    assert not is_keepalive({"keep": 1})


# --- lines ---------------------------------------------------------------------------------------


async def test_a_burst_arrives_whole_and_in_order(server: TrickleServer) -> None:
    url = server.channel_url("burst")
    async with JSONLPublisher(url, create=True, linger=0) as publisher:
        reader = await Reader.waiting(server, "burst")
        for number in range(30_000):
            await publisher.write({"n": number})
        await publisher.flush()
        await reader.count(30_000)
    assert [record["n"] for record in await reader.ended()] == list(range(30_000))
    assert publisher.stats.records == reader.subscriber.stats.records == 30_000
    assert reader.subscriber.transport.stats.gaps == 0


async def test_a_record_arrives_while_its_segment_is_open(server: TrickleServer) -> None:
    url = server.channel_url("open")
    async with (
        JSONLPublisher(url, create=True, linger=0) as publisher,
        JSONLSubscriber(url) as subscriber,
    ):
        for number in range(5):
            await publisher.write({"n": number})
            async with asyncio.timeout(LIMIT):
                assert await anext(subscriber) == {"n": number}
        assert subscriber.transport.stats.segments == 1


async def test_a_segment_of_lines_is_ended_by_time_without_another_record(
    server: TrickleServer,
) -> None:
    url = server.channel_url("time")
    async with JSONLPublisher(url, create=True, linger=0) as publisher:
        await publisher.write({"n": 0})
        await until(lambda: publisher.transport.stats.segments == 1)
        await publisher.write({"n": 1})
        await until(lambda: publisher.transport.stats.segments == 2)


async def test_a_segment_of_lines_is_ended_by_size(server: TrickleServer) -> None:
    url = server.channel_url("size")
    async with JSONLPublisher(url, create=True, linger=0) as publisher:
        reader = await Reader.waiting(server, "size")
        for number in range(64):
            await publisher.write({"n": number, "pad": "x" * 60_000})
        await publisher.flush()
        await reader.count(64)
    assert [record["n"] for record in await reader.ended()] == list(range(64))
    # Of a megabyte each; on a busy machine time ends some earlier.
    assert 3 <= reader.subscriber.transport.stats.segments < 32


async def test_a_record_that_is_too_large_changes_nothing(server: TrickleServer) -> None:
    url = server.channel_url("large")
    async with JSONLPublisher(url, create=True, linger=0) as publisher:
        reader = await Reader.waiting(server, "large")
        await publisher.write({"n": 0})
        with pytest.raises(RecordTooLarge, match="large"):
            await publisher.write({"pad": "x" * 70_000})
        await publisher.write({"n": 1})
        await reader.count(2)
    assert await reader.ended() == [{"n": 0}, {"n": 1}]


async def test_a_cut_is_counted_in_records_and_writing_goes_on(
    server: TrickleServer, proxy: FaultProxy
) -> None:
    url = server.channel_url("cut")
    async with JSONLPublisher(proxy.rewrite(url), create=True, linger=0) as publisher:
        reader = await Reader.waiting(server, "cut")
        for number in range(10):
            await publisher.write({"n": number})
        await publisher.flush()
        proxy.cut()
        number = 10
        while publisher.stats.uncertain == 0:
            await publisher.write({"n": number})
            await asyncio.sleep(0.01)
            number += 1
        await publisher.write({"n": number})
        await until(lambda: {"n": number} in reader.records)
    seen = [record["n"] for record in await reader.ended()]
    assert seen == sorted(set(seen))
    assert seen[-1] == number
    assert number + 1 - len(seen) <= publisher.stats.uncertain


async def test_a_writer_whose_server_stays_away_is_told_at_the_next_write(
    server: TrickleServer, proxy: FaultProxy
) -> None:
    url = proxy.rewrite(server.channel_url("away"))
    async with JSONLPublisher(url, create=True, timeouts=Timeouts(outage=0.2)) as publisher:
        await publisher.write({"n": 0})
        await proxy.refuse()
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(LIMIT):
                while True:
                    await publisher.write({"n": 1})
                    await asyncio.sleep(0.01)


async def test_closing_sends_what_was_gathered_and_ends_the_writer(server: TrickleServer) -> None:
    url = server.channel_url("last")
    publisher = JSONLPublisher(url, create=True, linger=2)
    await publisher.__aenter__()
    reader = await Reader.waiting(server, "last")
    await publisher.write({"n": 1})
    await publisher.aclose()
    await publisher.aclose()
    assert await reader.ended() == [{"n": 1}]
    with pytest.raises(ChannelClosed):
        await publisher.write({"n": 2})


async def test_records_that_could_not_leave_are_given_back_and_told(
    server: TrickleServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.create("gone")
    async with JSONLPublisher(server.channel_url("gone"), delete_on_close=False) as publisher:
        await publisher.write({"n": 0})
        await publisher.flush()
        await until(lambda: publisher.transport.stats.segments == 1)  # nothing is under way
        await server.close_channel("gone")
        queue = publisher.transport._queue
        await until(lambda: queue.ahead is None or queue.ahead.upload.over)  # it has been told
        await publisher.write({"n": 1})
        await publisher.write({"n": 2})
        with pytest.raises(ChannelClosed):
            await publisher.flush()
        assert publisher.unsent == [{"n": 1}, {"n": 2}]
        assert publisher.stats.uncertain == 0
    assert "2 records were not sent: the channel was closed" in caplog.text


async def test_a_keepalive_moves_the_channel_and_no_reader_sees_it(server: TrickleServer) -> None:
    url = server.channel_url("quiet")
    async with JSONLPublisher(url, create=True, linger=2) as publisher:
        reader = await Reader.waiting(server, "quiet")
        await publisher.write({"n": 0})
        await publisher.keep_alive()  # while a segment of lines is open
        await publisher.keep_alive()
        await publisher.write({"n": 1})
    assert await reader.ended() == [{"n": 0}, {"n": 1}]
    assert publisher.transport.stats.segments == 4


# --- one for each segment ------------------------------------------------------------------------


async def test_a_reader_that_keeps_up_misses_no_event_of_a_burst(server: TrickleServer) -> None:
    url = server.channel_url("events")
    async with JSONLPublisher(url, create=True, one_per_segment=True, linger=0) as publisher:
        reader = await Reader.waiting(server, "events")
        for number in range(40):
            await publisher.write({"type": "status", "n": number})
        await reader.count(40)
    assert [record["n"] for record in await reader.ended()] == list(range(40))
    assert reader.subscriber.transport.stats.segments == 40


async def test_an_event_is_the_whole_segment_and_acknowledged(server: TrickleServer) -> None:
    url = server.channel_url("event")
    async with (
        JSONLPublisher(url, create=True, one_per_segment=True, linger=0) as publisher,
        TrickleSubscriber(url, start=0) as subscriber,
    ):
        await publisher.write({"type": "x"})
        assert publisher.transport.stats.segments == 1
        segment = await anext(subscriber)
        assert segment.mime_type == "application/json"
        assert await segment.read() == b'{"type":"x"}'


async def test_events_of_several_tasks_do_not_collide(server: TrickleServer) -> None:
    url = server.channel_url("tasks")
    async with JSONLPublisher(url, create=True, one_per_segment=True, linger=0) as publisher:
        reader = await Reader.waiting(server, "tasks")
        await asyncio.gather(*(publisher.write({"n": number}) for number in range(10)))
        await reader.count(10)
    assert sorted(record["n"] for record in await reader.ended()) == list(range(10))


async def _opened(scripted: ScriptedServer, publisher: JSONLPublisher) -> Exchange:
    opening = asyncio.create_task(publisher.__aenter__())
    asked = await scripted.request("GET", "/cam/next")
    await asked.answer(200, {"Lp-Trickle-Latest": "0"}, b"0")
    post = await scripted.request("POST", "/cam/0")
    await opening
    return post


async def test_an_event_that_was_on_its_way_when_its_channel_closed_is_uncertain(
    scripted: ScriptedServer,
) -> None:
    publisher = JSONLPublisher(scripted.url + "/cam", one_per_segment=True, linger=0)
    post = await _opened(scripted, publisher)
    writing = asyncio.create_task(publisher.write({"n": 0}))
    assert await post.body() == b'{"n":0}'
    await post.answer(200, {"Lp-Trickle-Closed": "terminated"})
    with pytest.raises(SegmentFailed):  # who sends it again may send it twice
        await writing
    with pytest.raises(ChannelClosed):
        await publisher.write({"n": 1})
    assert (publisher.stats.records, publisher.stats.uncertain) == (1, 1)
    await publisher.aclose()


async def test_records_of_a_segment_that_ended_and_was_not_acknowledged_are_uncertain(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.trickle.jsonl_publisher._SEGMENT_SIZE", 1)
    publisher = JSONLPublisher(scripted.url + "/cam", delete_on_close=False)
    post = await _opened(scripted, publisher)
    await publisher.write({"n": 0})
    await publisher.write({"n": 1})
    await publisher.flush()
    assert await post.body() == b'{"n":0}\n{"n":1}\n'
    assert publisher.stats.uncertain == 0
    post.cut()
    await publisher.aclose()
    assert publisher.stats.uncertain == 2


async def test_closing_a_writer_whose_channel_closed_under_way_raises_nothing(
    scripted: ScriptedServer,
) -> None:
    publisher = JSONLPublisher(scripted.url + "/cam", linger=0)
    post = await _opened(scripted, publisher)
    await publisher.write({"n": 0})
    await publisher.flush()
    assert await post.piece() == b'{"n":0}\n'
    await post.answer(200, {"Lp-Trickle-Closed": "terminated"})
    await until(lambda: publisher.transport._channel.state.closed)
    await publisher.aclose()
    assert publisher.stats.uncertain == 1


# --- reading -------------------------------------------------------------------------------------


async def test_keepalives_are_passed_over_and_counted(server: TrickleServer) -> None:
    channel = server.create("control", "application/json")
    plain = await Reader.waiting(server, "control")
    everything = await Reader.waiting(server, "control", keepalives=True)
    for record in (_KEEP, {"a": 1}, _KEEP):
        await channel.write(json.dumps(record).encode())
    await everything.count(3)
    await until(lambda: plain.subscriber.stats.keepalives == 2)
    await server.close_channel("control")
    assert await plain.ended() == [{"a": 1}]
    assert await everything.ended() == [_KEEP, {"a": 1}, _KEEP]


async def test_bad_lines_are_passed_over_counted_and_reported(
    server: TrickleServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.channel_url("bad")
    with caplog.at_level(logging.WARNING):
        async with TricklePublisher(url, create=True, linger=0) as publisher:
            reader = await Reader.waiting(server, "bad")
            async with publisher.segment() as segment:
                await segment.write(b'{"n":1}\nsecret nonsense\n{"n":2}\n')
            await reader.count(2)
        assert await reader.ended() == [{"n": 1}, {"n": 2}]
    assert reader.subscriber.stats.bad == 1
    assert "1 lines of segment 0" in caplog.text
    assert "secret" not in caplog.text
