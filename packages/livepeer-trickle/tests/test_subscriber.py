import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable

import pytest

from livepeer.trickle import (
    ChannelClosed,
    ChannelNotFound,
    ChannelRefused,
    ProtocolError,
    SegmentFailed,
    Timeouts,
    Transport,
    TrickleConnectionError,
    TrickleServer,
    TrickleSubscriber,
)
from livepeer.trickle.reader import SegmentReader
from livepeer.trickle.testing import Exchange, ScriptedServer

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


def _seq(number: int, latest: int | None = None) -> dict[str, str]:
    headers = {"Lp-Trickle-Seq": str(number), "Content-Type": "video/MP2T"}
    if latest is not None:
        headers["Lp-Trickle-Latest"] = str(latest)
    return headers


def _subscriber(server: ScriptedServer, **options: object) -> TrickleSubscriber:
    return TrickleSubscriber(server.url + "/cam", **options)  # type: ignore[arg-type]


async def _first(
    server: ScriptedServer, subscriber: TrickleSubscriber, body: bytes | None = b""
) -> tuple[Exchange, SegmentReader]:
    """Segment 0, asked for and answered."""
    getting = asyncio.create_task(anext(subscriber))
    exchange = await server.request("GET")
    await exchange.answer(200, _seq(0), body)
    return exchange, await getting


# --- asking --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "path"), [("next", "-1"), ("current", "-2"), (7, "7")])
async def test_the_request_leaves_when_the_subscriber_opens(
    scripted: ScriptedServer, start: object, path: str
) -> None:
    async with _subscriber(scripted, start=start):
        exchange = await scripted.request("GET", f"/cam/{path}")
        assert exchange.headers["accept-encoding"] == "identity"


async def test_the_next_segment_is_asked_for_with_the_headers_of_this_one_and_none_further(
    scripted: ScriptedServer,
) -> None:
    async with _subscriber(scripted) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        ahead = await scripted.request("GET", "/cam/1")
        await ahead.answer(200, _seq(1), b"next")
        await scripted.quiet()
        await exchange.send(b"one")
        assert await segment.receive() == b"one"
        await exchange.end()
        assert await segment.receive() == b""
        await scripted.quiet()


async def test_bytes_are_handed_out_as_they_come(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        for piece in (b"one", b"two", b"three"):
            await exchange.send(piece)
            assert await segment.receive() == piece
        await exchange.end()
        assert await segment.read() == b""
        assert subscriber.stats.bytes == 11


async def test_a_reader_that_does_not_read_holds_the_sender_back(
    scripted: ScriptedServer,
) -> None:
    async with _subscriber(scripted) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)

        async def flood() -> None:
            for _ in range(2000):
                await exchange.send(bytes(64 * 1024))
            await exchange.end()

        flooding = asyncio.create_task(flood())
        await asyncio.wait((flooding,), timeout=0.3)
        assert not flooding.done()
        assert len(await segment.read()) == 2000 * 64 * 1024
        await flooding


async def test_asking_for_the_next_segment_gives_up_the_rest_of_this_one(
    scripted: ScriptedServer,
) -> None:
    async with _subscriber(scripted) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"unread")
        ahead = await scripted.request("GET", "/cam/1")
        await ahead.answer(200, _seq(1), b"x")
        later = await anext(subscriber)
        assert (later.seq, await later.read()) == (1, b"x")
        assert await segment.receive() == b""
        await exchange.gone()


# --- the answers ---------------------------------------------------------------------------------


async def test_470_goes_to_the_live_edge_and_counts_what_is_skipped(
    scripted: ScriptedServer,
) -> None:
    async with _subscriber(scripted) as subscriber:
        _, segment = await _first(scripted, subscriber, b"0")
        await segment.read()
        getting = asyncio.create_task(anext(subscriber))
        ahead = await scripted.request("GET", "/cam/1")
        await ahead.answer(470, {"Lp-Trickle-Seq": "1", "Lp-Trickle-Latest": "9"}, b"no")
        resynced = await scripted.request("GET", "/cam/9")
        await resynced.answer(200, _seq(9), b"9")
        assert (await getting).seq == 9
        assert (subscriber.stats.gaps, subscriber.stats.resyncs) == (8, 1)
        assert subscriber.stats.reconnects == 0


async def test_470_goes_to_the_oldest_where_that_is_asked_for(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted, on_gap="oldest", start=1) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        await (await scripted.request("GET", "/cam/1")).answer(470, {"Lp-Trickle-Latest": "9"})
        await (await scripted.request("GET", "/cam/4")).answer(470, {"Lp-Trickle-Latest": "9"})
        await (await scripted.request("GET", "/cam/5")).answer(200, _seq(5, 9), b"5")
        segment = await getting
        assert (segment.seq, segment.latest) == (5, 9)
        assert (subscriber.stats.gaps, subscriber.stats.behind) == (4, 3)


async def test_470s_use_up_no_patience(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted, start=1, timeouts=Timeouts(outage=0.05)) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        for _ in range(12):
            exchange = await scripted.request("GET")
            await exchange.answer(470, {"Lp-Trickle-Latest": "2"})
        exchange = await scripted.request("GET", "/cam/2")
        await exchange.answer(200, _seq(2), b"x")
        assert (await getting).seq == 2
        assert subscriber.stats.resyncs == 12


async def test_an_empty_segment_is_passed_over_and_counted(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        await (await scripted.request("GET", "/cam/-1")).answer(200, _seq(3, 4))
        await (await scripted.request("GET", "/cam/4")).answer(200, _seq(4), b"x")
        assert (await getting).seq == 4
        assert subscriber.stats.empty == 1


@pytest.mark.parametrize("status", [200, 404])
async def test_terminated_is_the_end(scripted: ScriptedServer, status: int) -> None:
    async with _subscriber(scripted) as subscriber:
        reading = asyncio.create_task(anext(subscriber, None))
        exchange = await scripted.request("GET", "/cam/-1")
        await exchange.answer(status, {"Lp-Trickle-Closed": "terminated", **_seq(0, 0)})
        assert await reading is None
        assert await anext(subscriber, None) is None


async def test_a_missing_channel_after_a_segment_is_the_end(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted) as subscriber:
        _, segment = await _first(scripted, subscriber, b"0")
        await (await scripted.request("GET", "/cam/1")).answer(404, body=b"Stream not found\n")
        assert await segment.read() == b"0"
        assert [segment async for segment in subscriber] == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, ChannelNotFound), (401, ChannelRefused), (403, ChannelRefused), (400, ProtocolError)],
)
async def test_a_refusal_is_told_with_what_the_server_said(
    scripted: ScriptedServer, status: int, kind: type[Exception]
) -> None:
    async with _subscriber(scripted) as subscriber:
        reading = asyncio.create_task(anext(subscriber))
        exchange = await scripted.request("GET", "/cam/-1")
        await exchange.answer(status, body=b"because\n")
        with pytest.raises(kind, match=f"{status} because .*cam"):
            await reading
        assert await anext(subscriber, None) is None


async def test_an_answer_without_a_number_to_minus_one_is_no_trickle_server(
    scripted: ScriptedServer,
) -> None:
    async with _subscriber(scripted) as subscriber:
        reading = asyncio.create_task(anext(subscriber))
        await (await scripted.request()).answer(200, body=b"<html>")
        with pytest.raises(ProtocolError, match="trickle channel"):
            await reading


async def test_5xx_and_lost_connections_are_asked_again(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted, start=0) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        await (await scripted.request("GET", "/cam/0")).answer(500)
        (await scripted.request("GET", "/cam/0")).cut()
        await (await scripted.request("GET", "/cam/0")).answer(503)
        await (await scripted.request("GET", "/cam/0")).answer(200, _seq(0), b"x")
        assert await (await getting).read() == b"x"
        # aiohttp itself repeats a GET whose pooled connection turned out to be dead.
        assert subscriber.stats.reconnects in (2, 3)
        assert subscriber.stats.gaps == 0


async def test_a_server_that_stays_away_is_told_after_the_outage_limit(
    scripted: ScriptedServer,
) -> None:
    await scripted.__aexit__()
    async with _subscriber(scripted, timeouts=Timeouts(outage=1.5)) as subscriber:
        with pytest.raises(TrickleConnectionError, match=r"away for 1\.5 s") as caught:
            await anext(subscriber)
        assert caught.value.attempt is not None
        assert caught.value.attempt > 1
    await scripted.__aenter__()


# --- silence -------------------------------------------------------------------------------------


async def test_a_wait_without_news_is_repeated_on_a_fresh_connection(
    scripted: ScriptedServer, quick: Timeouts
) -> None:
    async with _subscriber(scripted, start=4, timeouts=quick) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        silent = await scripted.request("GET", "/cam/4")
        again = await scripted.request("GET", "/cam/4")
        await silent.gone()
        assert scripted.connections == 2
        await again.answer(200, _seq(4), b"x")
        assert (await getting).seq == 4


async def test_waiting_for_next_is_repeated_by_number_so_that_none_is_missed(
    scripted: ScriptedServer, quick: Timeouts
) -> None:
    async with _subscriber(scripted, timeouts=quick) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        silent = await scripted.request("GET", "/cam/-1")
        asked = await scripted.request("GET", "/cam/next")
        await asked.answer(200, {"Lp-Trickle-Latest": "5"}, b"5")
        await (await scripted.request("GET", "/cam/5")).answer(200, _seq(5, 6), b"x")
        assert (await getting).seq == 5
        await silent.gone()


async def test_a_long_segment_with_pauses_is_read_to_its_end(
    scripted: ScriptedServer, quick: Timeouts
) -> None:
    async with _subscriber(scripted, timeouts=quick) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"a")
        assert await segment.receive() == b"a"
        await scripted.request("GET", "/cam/1")
        receiving = asyncio.create_task(segment.receive())
        for _ in range(2):
            probe = await scripted.request("GET", "/cam/next")
            await probe.answer(200, {"Lp-Trickle-Latest": "1"}, b"1")
        await exchange.send(b"b")
        assert await receiving == b"b"
        await exchange.end()
        assert await segment.receive() == b""
        assert subscriber.stats.cut == 0


@pytest.mark.parametrize(("status", "latest"), [(200, "2"), (404, "")])
async def test_a_segment_that_its_publisher_left_is_given_up(
    scripted: ScriptedServer, quick: Timeouts, status: int, latest: str
) -> None:
    async with _subscriber(scripted, timeouts=quick) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"half")
        ahead = await scripted.request("GET", "/cam/1")
        assert await segment.receive() == b"half"
        receiving = asyncio.create_task(segment.receive())
        probe = await scripted.request("GET", "/cam/next")
        await probe.answer(status, {"Lp-Trickle-Latest": latest} if latest else {})
        with pytest.raises(SegmentFailed, match="4 bytes") as caught:
            await receiving
        assert caught.value.seq == 0
        assert subscriber.stats.cut == 1
        await ahead.answer(200, _seq(1), b"x")
        assert await (await anext(subscriber)).read() == b"x"


async def test_the_tail_of_a_burst_is_read_and_all_that_was_missed_is_counted(
    server: TrickleServer, eventually: Eventually
) -> None:
    channel = server.get("cam")
    assert channel is not None
    got: list[int] = []

    async def read() -> TrickleSubscriber:
        url = server.channel_url("cam")
        async with TrickleSubscriber(url, start=0, on_gap="oldest") as subscriber:
            async for segment in subscriber:
                assert await segment.read() == b"%d" % segment.seq
                got.append(segment.seq)
        return subscriber

    reading = asyncio.create_task(read())
    for number in range(2000):
        await channel.write(b"%d" % number)
    await eventually(lambda: got and got[-1] == 1999)
    await server.close_channel("cam")
    stats = (await reading).stats
    assert got == sorted(set(got))
    # What the ring still had when the burst was over, one slot being the next write's.
    assert got[-4:] == [1996, 1997, 1998, 1999]
    assert stats.segments + stats.gaps == 2000


async def test_a_channel_that_ends_while_its_ring_is_unread_tells_what_was_missed(
    scripted: ScriptedServer,
) -> None:
    async with _subscriber(scripted, start=0, on_gap="oldest") as subscriber:
        getting = asyncio.create_task(anext(subscriber, None))
        gone = await scripted.request("GET", "/cam/0")
        await gone.answer(470, {"Lp-Trickle-Latest": "9"}, b"no")
        await (await scripted.request("GET", "/cam/4")).answer(404)
        assert await getting is None
        assert subscriber.stats.gaps == 9


async def test_another_subscriber_goes_on_where_one_stood(server: TrickleServer) -> None:
    channel = server.get("cam")
    assert channel is not None
    url = server.channel_url("cam")
    async with TrickleSubscriber(url, start=0) as first:
        assert first.position == 0
        for number in range(3):
            await channel.write(b"%d" % number)
        assert await (await anext(first)).read() == b"0"
    assert first.position is not None
    async with TrickleSubscriber(url, start=first.position) as second:
        assert await (await anext(second)).read() == b"1"


# --- a body that breaks --------------------------------------------------------------------------


async def test_a_body_that_breaks_is_read_on_from_where_it_broke(
    scripted: ScriptedServer,
) -> None:
    async with _subscriber(scripted) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"0123456789" * 10)
        assert await segment.receive() == b"0123456789" * 10
        exchange.cut()
        await scripted.request("GET", "/cam/1")
        receiving = asyncio.create_task(segment.read())
        again = await scripted.request("GET", "/cam/0")
        await again.answer(200, _seq(0), None)
        await again.send(b"0123456789" * 5)
        await again.send(b"0123456789" * 5 + b"rest")
        await again.send(b" and end")
        await again.end()
        assert await receiving == b"rest and end"
        assert subscriber.stats.bytes == 112
        assert (subscriber.stats.reconnects, subscriber.stats.cut) == (1, 0)


@pytest.mark.parametrize(
    ("status", "seq", "body"),
    [(470, 0, b""), (404, 0, b""), (200, 1, b"whole"), (200, 0, b"wh"), (200, 0, b"other bytes")],
)
async def test_a_body_that_can_not_be_read_on_is_cut_and_the_next_segment_follows(
    scripted: ScriptedServer, status: int, seq: int, body: bytes
) -> None:
    async with _subscriber(scripted) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"whole")
        assert await segment.receive() == b"whole"
        exchange.cut()
        ahead = await scripted.request("GET", "/cam/1")
        receiving = asyncio.create_task(segment.read())
        await (await scripted.request("GET", "/cam/0")).answer(status, _seq(seq), body)
        with pytest.raises(SegmentFailed):
            await receiving
        assert subscriber.stats.cut == 1
        assert await segment.receive() == b""
        await ahead.answer(200, _seq(1), b"x")
        assert await (await anext(subscriber)).read() == b"x"


async def test_reading_on_is_tried_for_the_outage_limit(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted, timeouts=Timeouts(outage=0.3)) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"half")
        assert await segment.receive() == b"half"
        await scripted.__aexit__()
        with pytest.raises(SegmentFailed, match="away"):
            await segment.read()
    await scripted.__aenter__()


# --- closing -------------------------------------------------------------------------------------


async def test_a_cancelled_wait_loses_nothing(server: TrickleServer) -> None:
    channel = server.get("cam")
    assert channel is not None
    async with TrickleSubscriber(server.channel_url("cam"), start=0) as subscriber:
        for number in range(20):
            waiting = asyncio.create_task(anext(subscriber))
            await asyncio.sleep(0.001 * (number % 4))
            if number % 2:
                await channel.write(b"%d" % number)
            waiting.cancel()
            try:
                segment = await waiting
            except asyncio.CancelledError:
                if not number % 2:
                    continue
                segment = await anext(subscriber)
            assert await segment.read() == b"%d" % number
        assert subscriber.stats.gaps == 0


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_wait_cancelled_as_its_answer_comes_loses_nothing(
    scripted: ScriptedServer, goes_on: bool
) -> None:
    class Cancelling(TrickleSubscriber):
        def _head_came(self) -> None:
            super()._head_came()
            waiting.cancel()

    async with Transport() as session:
        subscriber = Cancelling(f"{scripted.url}/cam", start=0, session=session)
        waiting = asyncio.create_task(anext(subscriber))
        exchange = await scripted.request("GET", "/cam/0")
        await exchange.answer(200, _seq(0), None)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await scripted.request("GET", "/cam/1")
        if goes_on:
            segment = await anext(subscriber)
            await exchange.send(b"one")
            assert (segment.seq, await segment.receive()) == (0, b"one")
        await subscriber.aclose()
        await exchange.gone()
        assert session.connections == 0
        assert scripted.waiting == 0


async def test_leaving_mid_segment_leaves_no_connection(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    subscriber = _subscriber(scripted)
    async with subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"x")
        ahead = await scripted.request("GET", "/cam/1")
        assert await segment.receive() == b"x"
    await exchange.gone()
    await ahead.gone()


async def test_closing_twice_is_closing_once(server: TrickleServer) -> None:
    subscriber = TrickleSubscriber(server.channel_url("cam"))
    await subscriber.__aenter__()
    await subscriber.aclose()
    await subscriber.aclose()
    with pytest.raises(ChannelClosed):
        await anext(subscriber)


async def test_it_works_without_a_with_block(server: TrickleServer) -> None:
    channel = server.get("cam")
    assert channel is not None
    await channel.write(b"x")
    subscriber = TrickleSubscriber(server.channel_url("cam"), start="current")
    assert await (await anext(subscriber)).read() == b"x"
    await subscriber.aclose()


async def test_a_forgotten_subscriber_is_reported(server: TrickleServer) -> None:
    subscriber = TrickleSubscriber(server.channel_url("cam"))
    await subscriber.__aenter__()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del subscriber
        gc.collect()
    assert [w for w in caught if w.category is ResourceWarning and "cam" in str(w.message)]
    async with TrickleSubscriber(server.channel_url("cam")):
        pass


async def test_a_late_reader_gets_the_open_segment_from_its_beginning(
    server: TrickleServer,
) -> None:
    from livepeer.trickle import TricklePublisher

    url = server.channel_url("cam")
    async with TricklePublisher(url, linger=0) as publisher, publisher.segment() as writing:
        await writing.write(b"begun ")
        async with TrickleSubscriber(url, start="current") as subscriber:
            segment = await anext(subscriber)
            assert (segment.seq, segment.mime_type, segment.latest) == (0, "video/MP2T", 1)
            assert await segment.receive() == b"begun "
            await writing.write(b"later")
            assert await segment.receive() == b"later"


async def test_a_body_that_always_breaks_at_the_same_byte_is_given_up(
    scripted: ScriptedServer,
) -> None:
    async with _subscriber(scripted, timeouts=Timeouts(outage=2.0)) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"half")
        assert await segment.receive() == b"half"
        exchange.cut()

        async def answer() -> int:
            asked = 0
            while True:
                again = await scripted.request()
                if again.path == "/cam/0":
                    asked += 1
                    await again.answer(200, _seq(0), None)
                    await again.send(b"half")
                    await asyncio.sleep(0.01)
                    again.cut()

        answering = asyncio.create_task(answer())
        async with asyncio.timeout(30):
            with pytest.raises(SegmentFailed, match="4 bytes"):
                await segment.read()
        answering.cancel()
        # It was tried with pauses, not as fast as the machine can.
        assert 1 < subscriber.stats.reconnects < 30


async def test_a_body_that_is_damaged_on_its_way_is_read_again(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted) as subscriber:
        exchange, segment = await _first(scripted, subscriber, None)
        await exchange.send(b"good")
        assert await segment.receive() == b"good"
        exchange._writer.write(b"this is no chunk\r\n")
        await scripted.request("GET", "/cam/1")
        reading = asyncio.create_task(segment.read())
        await (await scripted.request("GET", "/cam/0")).answer(200, _seq(0), b"good rest")
        assert await reading == b" rest"


async def test_closing_ends_a_read_that_waits_elsewhere(scripted: ScriptedServer) -> None:
    subscriber = _subscriber(scripted)
    async with asyncio.timeout(30):
        async with subscriber:
            exchange, segment = await _first(scripted, subscriber, None)
            await exchange.send(b"some")
            reading = asyncio.create_task(segment.read())
            waiting = asyncio.create_task(subscriber._pending.wait(10))  # type: ignore[union-attr]
            await asyncio.sleep(0.05)
        assert await reading == b"some"
        await waiting


async def test_an_empty_segment_in_chunks_is_passed_over_too(scripted: ScriptedServer) -> None:
    async with _subscriber(scripted) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        exchange = await scripted.request("GET", "/cam/-1")
        exchange._writer.write(
            b"HTTP/1.1 200 OK\r\nLp-Trickle-Seq: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        exchange._answered.set()
        await (await scripted.request("GET", "/cam/4")).answer(200, _seq(4), b"x")
        assert (await getting).seq == 4
        assert subscriber.stats.empty == 1
