"""How a live session notices that it is over, and what it makes of peers that talk nonsense."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import ConnectionFailedError, Gateway, ProtocolError, SessionEndedError
from livepeer.client.live import (
    events as live_events,
)
from livepeer.client.live import (
    outage as live_outage,
)
from livepeer.client.live import (
    output as live_output,
)
from livepeer.client.testing import EVENT_STREAM, chunk, events, reply
from livepeer.trickle import JSONLPublisher, TrickleServer

from .scripts import answers, channels_at

Start = Callable[..., Any]
STATUS = {"type": "status", "state": "ONLINE"}


async def until(condition: Callable[[], object]) -> None:
    # Counters are no events.
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_a_silent_pipeline_is_noticed_within_fifteen_seconds() -> None:
    assert live_events.SILENCE < 15 < live_events.FIRST_SILENCE


async def test_a_pipeline_that_falls_silent_is_dead_and_the_error_says_so(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_events, "SILENCE", 0.3)
    async with TrickleServer() as server:
        orch = await start(other=channels_at(server))
        hosts = ["127.0.0.1"]
        async with Gateway(orch_url=orch.url, trickle_hosts=hosts) as gw, gw.live("t") as session:
            url = server.channel_url("events")
            async with JSONLPublisher(url, one_per_segment=True, delete_on_close=False) as out:
                # Before its first report it may be long about it: a container that starts.
                await asyncio.sleep(0.5)
                assert session.ended is None
                await out.write(STATUS)
                why = await asyncio.wait_for(session.wait(), 30)
            assert "said nothing for 0.3 s" in why and "container is gone, or hangs" in why
            with pytest.raises(SessionEndedError, match="said nothing"):
                await session.update({})


async def test_a_way_that_is_silent_is_no_silent_pipeline(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_events, "SILENCE", 0.1)
    monkeypatch.setattr(live_outage, "OUTAGE", 0.8)
    known: list[bool | None] = []

    async def unknown() -> None:
        known.append(None)

    async with TrickleServer() as server:
        url = server.channel_url("events")
        server.create("events")
        ending = live_events.Ending("t")
        reader = live_events.EventsChannel(url, True, unknown, ending)
        running = asyncio.create_task(reader.run())
        async with JSONLPublisher(url, one_per_segment=True, delete_on_close=False) as out:
            await out.write(STATUS)
            await asyncio.wait_for(running, 30)
    assert ending.lost and ending.why == "the orchestrator was out of reach for 0.8 s"
    assert len(known) > 1


async def test_a_channel_that_answers_nonsense_is_asked_seldom_and_told_seldom(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_outage, "OUTAGE", 1.5)
    asked: list[str] = []

    def other(request: Any) -> list[Any]:
        if "/trickle/" not in request.path:
            return answers()(request)
        asked.append(request.path)
        return reply("<html>", 302, "text/html")

    orch = await start(other=other)
    with caplog.at_level(logging.WARNING):
        async with Gateway(orch_url=orch.url) as gw, gw.live("tint") as session:
            why = await asyncio.wait_for(session.wait(), 30)
            with pytest.raises(SessionEndedError):
                async for _ in session.data():
                    pass
    assert "nothing of sense" in why or "refuses" in why
    assert len(asked) < 60
    assert len([each for each in caplog.records if each.name.startswith("livepeer.client.")]) < 8


async def test_errors_that_are_reported_without_end_are_told_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = live_events.EventsChannel("http://x/y", True, None, live_events.Ending("t"))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for i in range(1000):
            reader.take({"type": "error", "error": {"message": f"\x1b[2J{i}" + "x" * 9999}})
    assert 1 <= len(caplog.records) < 10, "one each ten seconds, however long this takes"
    for told in caplog.records:
        assert "\x1b" not in told.getMessage() and len(told.getMessage()) < 1000
    assert reader.errors == 1000


async def test_what_is_kept_of_events_is_bounded_in_number_and_in_letters() -> None:
    events = live_events.EventsChannel("http://x/y", True, None, live_events.Ending("t"))  # type: ignore[arg-type]
    slow, slower = events.reader(), events.reader()
    for i in range(2 * live_events.EVENTS_KEPT):
        events.take({"type": "own", "i": i})
    slow.close()
    assert len([event async for event in slow]) == live_events.EVENTS_KEPT
    for _ in range(100):
        events.take({"type": "own", "x": "x" * 1_000_000})
    late = events.reader()
    events.close()
    for reader in (slower, late):
        assert len([event async for event in reader]) == 16


async def test_frames_end_with_a_stream_whose_output_nobody_ends(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(live_output, "ORDERLY", 0.2)
    async with TrickleServer() as server:
        orch = await start(other=channels_at(server))
        hosts = ["127.0.0.1"]
        async with Gateway(orch_url=orch.url, trickle_hosts=hosts) as gw, gw.live("t") as session:
            url = server.channel_url("events")
            taking = asyncio.create_task(anext(session.subscribe(), None))
            async with (
                JSONLPublisher(server.channel_url("out"), delete_on_close=False) as output,
                JSONLPublisher(url, one_per_segment=True, delete_on_close=False) as out,
            ):
                await output.write({"no": "frame"})
                await output.flush()
                await out.write({"type": "stream_ended", "reason": "the input ended"})
                assert await asyncio.wait_for(taking, 30) is None
            assert session.ended == "the pipeline ended the stream: the input ended"


def gateway_data(data: list[Any]) -> Callable[[Any], list[Any]]:
    return answers(start=reply({"stream_id": "s"}), stop=reply("{}"), data=data)


async def test_by_a_gateway_what_is_no_record_is_passed_over_and_a_record_is_bounded(
    start: Start,
) -> None:
    lines = ['{"i":1}', "text", "[1]", "[" * 200_000, "9" * 5000, '{"i":2}']
    data = events(*(f"data: {line}\n\n" for line in lines), "data:\n\n")
    gateway = await start(other=gateway_data(data))
    async with Gateway(gateway_url=gateway.url) as gw, gw.live("tint") as session:
        assert [record async for record in session.data()] == [{"i": 1}, {"i": 2}]
    gateway.other = gateway_data([EVENT_STREAM, *[chunk("data: " + "x" * 60_000 + "\n")] * 40])
    async with Gateway(gateway_url=gateway.url) as gw, gw.live("tint") as session:
        with pytest.raises(ProtocolError, match="over 1,048,576 bytes"):
            async for _ in session.data():
                pass
    gateway.other = gateway_data(reply("no such stream", 404, "text/plain"))
    async with Gateway(gateway_url=gateway.url) as gw, gw.live("tint") as session:
        with pytest.raises(ConnectionFailedError, match="answered 404") as caught:
            async for _ in session.data():
                pass
    assert caught.value.status == 404 and json.dumps(caught.value.rejections) == "[]"


async def test_by_a_gateway_data_that_never_begins_ends_with_the_session(start: Start) -> None:
    never = asyncio.Event()
    gateway = await start(other=gateway_data([never]))
    async with Gateway(gateway_url=gateway.url) as gw:
        async with gw.live("tint") as session:
            reading = asyncio.create_task(anext(session.data(), None))
            await until(lambda: any(each.path.endswith("/data") for each in gateway.others))
        assert await asyncio.wait_for(reading, 30) is None
    never.set()
