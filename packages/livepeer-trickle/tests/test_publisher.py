import asyncio
import contextlib
import gc
import logging
import warnings
import weakref
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
    TricklePublisher,
    TrickleServer,
    TrickleSubscriber,
    TrickleTimeout,
)
from livepeer.trickle.publisher import write_whole
from livepeer.trickle.testing import Exchange, ScriptedServer

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


def _publisher(server: ScriptedServer, **options: object) -> TricklePublisher:
    options = {"linger": 0.0, **options}
    return TricklePublisher(server.url + "/cam", **options)  # type: ignore[arg-type]


async def _connected(
    server: ScriptedServer, publisher: TricklePublisher, first: int = 0
) -> Exchange:
    """Open `publisher` against the script; gives the POST of its first segment."""
    opening = asyncio.create_task(publisher.__aenter__())
    asked = await server.request("GET", "/cam/next")
    await asked.answer(200, {"Lp-Trickle-Latest": str(first)}, str(first).encode())
    post = await server.request("POST", f"/cam/{first}")
    await opening
    return post


async def _close(server: ScriptedServer, publisher: TricklePublisher) -> None:
    """Close `publisher`, answering its DELETE."""
    closing = asyncio.create_task(publisher.aclose())
    while not closing.done():
        getting = asyncio.create_task(server.request())
        await asyncio.wait((closing, getting), return_when=asyncio.FIRST_COMPLETED)
        if getting.done() and getting.result().method == "DELETE":
            await getting.result().answer()
        getting.cancel()
    await closing


# --- a channel that nobody wrote ---------------------------------------------------------------


async def test_a_fresh_channel_begins_at_0_without_a_question(scripted: ScriptedServer) -> None:
    publisher = _publisher(scripted, fresh=True)
    await publisher.__aenter__()
    await publisher.write(b"first")
    post = await scripted.request("POST", "/cam/0")
    assert post.headers["lp-trickle-reset"] == "1"
    await post.answer()
    await _close(scripted, publisher)
    assert publisher.stats.uncertain == 0


async def test_one_that_is_said_to_be_fresh_and_is_not_there_is_closed() -> None:
    async with TrickleServer(autocreate=False) as server:
        url = server.channel_url("nowhere")
        async with TricklePublisher(url, fresh=True, linger=0.0) as publisher:
            with pytest.raises((ChannelClosed, ChannelNotFound)):
                for _ in range(3):
                    with contextlib.suppress(SegmentFailed):
                        await (await publisher.write(b"x")).acknowledged()


# --- what leaves, and when -----------------------------------------------------------------------


async def test_the_headers_of_the_first_segment_leave_before_any_byte_is_written(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted, mime_type="video/x-test")
    post = await _connected(scripted, publisher)
    assert post.headers["transfer-encoding"] == "chunked"
    assert post.headers["content-type"] == "video/x-test"
    assert "expect" not in post.headers
    await _close(scripted, publisher)


async def test_the_next_segment_is_connected_while_this_one_is_written(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    async with publisher.segment() as segment:
        await segment.write(b"a")
        assert await post.piece() == b"a"
        ahead = await scripted.request("POST", "/cam/1")
        assert not post.ended
        await scripted.quiet()
    assert await post.body() == b""
    await post.answer(200)
    assert "lp-trickle-reset" not in ahead.headers
    await _close(scripted, publisher)


async def test_each_write_arrives_by_itself_at_once(scripted: ScriptedServer) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    async with publisher.segment() as segment:
        for data in (b"one", bytearray(b"two"), memoryview(b"three")):
            await segment.write(data)
            assert await post.piece() == bytes(data)
    assert segment.bytes_written == 11
    await post.body()
    await post.answer()
    await _close(scripted, publisher)


async def test_a_whole_segment_leaves_in_one_piece(scripted: ScriptedServer) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    for number, body in enumerate((b"whole", b"", bytes(600_000))):
        segment = await publisher.write(body)
        assert await post.body() == body
        await post.answer()
        await segment.acknowledged()
        assert (segment.seq, segment.bytes_written) == (number, len(body))
        post = await scripted.request("POST", f"/cam/{number + 1}")
    assert publisher.stats.segments == 3
    await _close(scripted, publisher)


async def test_a_whole_segment_that_is_answered_while_its_write_waits_is_acknowledged(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    assert publisher._queue.ahead is not None
    connection = publisher._queue.ahead.upload._connection
    assert connection is not None
    connection.pause_writing()  # as a full socket would
    writing = asyncio.create_task(publisher.write(b"whole"))
    assert await post.body() == b"whole"
    await post.answer()
    await eventually(lambda: publisher.stats.segments)
    connection.resume_writing()
    await (await writing).acknowledged()
    assert (publisher.stats.segments, publisher.stats.uncertain) == (1, 0)
    await _close(scripted, publisher)


async def test_the_first_segment_resets_what_an_earlier_publisher_left_open(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher, first=7)
    assert post.headers["lp-trickle-reset"]
    await _close(scripted, publisher)


async def test_segments_reuse_their_connections(scripted: ScriptedServer) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    for number in range(1, 20):
        async with publisher.segment() as segment:
            await segment.write(b"x")
        await post.body()
        await post.answer()
        await segment.acknowledged()
        post = await scripted.request("POST", f"/cam/{number}")
    assert scripted.connections <= 3
    await _close(scripted, publisher)


async def test_the_first_byte_waits_for_the_acknowledgement_of_a_short_segment_before(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted)
    first = await _connected(scripted, publisher)
    async with publisher.segment() as segment:
        await segment.write(b"first")
    second = await scripted.request("POST", "/cam/1")
    async with publisher.segment() as segment:
        writing = asyncio.create_task(segment.write(b"second"))
        await asyncio.wait((writing,), timeout=0.1)
        assert not writing.done()
        await first.answer()
        await writing
    assert await second.body() == b"second"
    await second.answer()
    await _close(scripted, publisher)


async def test_a_slow_acknowledgement_does_not_hold_a_live_stream_up(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted)
    first = await _connected(scripted, publisher)
    async with publisher.segment() as segment:
        await segment.write(b"first")
    second = await scripted.request("POST", "/cam/1")
    async with publisher.segment() as segment:
        async with asyncio.timeout(20):
            await segment.write(b"second")
        assert publisher.stats.segments == 0
    await first.answer()
    await second.answer()
    await segment.acknowledged()
    assert publisher.stats.segments == 2
    await _close(scripted, publisher)


async def _idle_connection_dies(publisher: TricklePublisher, post: Exchange) -> None:
    """Until the publisher has noticed, and has no other connection yet."""
    assert publisher._segment is not None
    assert publisher._segment._post is not None
    upload = publisher._segment._post.upload
    await post.close()
    async with asyncio.timeout(30):
        while upload._connection is not None:  # noqa: ASYNC110 — it lasts for a turn of the loop
            await asyncio.sleep(0)


async def test_a_first_write_waits_for_another_connection_where_the_idle_one_died(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    async with publisher.segment() as segment:
        await _idle_connection_dies(publisher, post)
        await segment.write(b"all of it")
    again = await scripted.request("POST", "/cam/0")
    assert await again.body() == b"all of it"
    await again.answer()
    await segment.acknowledged()
    assert (publisher.stats.segments, publisher.stats.uncertain) == (1, 0)
    await _close(scripted, publisher)


async def test_a_whole_segment_waits_for_another_connection_where_the_idle_one_died(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    segment = publisher.segment()
    await segment.__aenter__()
    await _idle_connection_dies(publisher, post)
    await write_whole(segment, b"whole")
    await segment.aclose()
    again = await scripted.request("POST", "/cam/0")
    assert await again.body() == b"whole"
    await again.answer()
    await segment.acknowledged()
    assert (publisher.stats.segments, publisher.stats.uncertain) == (1, 0)
    await _close(scripted, publisher)


@pytest.mark.parametrize("error", [None, LookupError])
async def test_an_empty_segment_is_ended_on_another_connection_where_the_idle_one_died(
    scripted: ScriptedServer, error: type[Exception] | None
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    with contextlib.suppress(LookupError):
        async with publisher.segment() as segment:
            await _idle_connection_dies(publisher, post)
            if error is not None:
                raise error
    again = await scripted.request("POST", "/cam/0")
    assert await again.body() == b""
    await again.answer()
    await segment.acknowledged()
    assert (publisher.stats.segments, publisher.stats.uncertain) == (1, 0)
    await _close(scripted, publisher)


async def test_a_cancelled_end_of_an_empty_segment_leaves_room_for_the_next(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted, timeouts=Timeouts(answer=1.0))
    first = await _connected(scripted, publisher)
    await publisher.write(b"first")
    await scripted.request("POST", "/cam/1")
    segment = publisher.segment()
    await segment.__aenter__()
    ending = asyncio.create_task(segment.aclose())  # it waits for the answer to the first
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait((ending,))
    await first.answer()
    async with publisher.segment() as following:
        assert following.seq == 2
    await _close(scripted, publisher)


async def test_closing_raises_nothing_where_no_http_answers(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    post.cut()
    closing = asyncio.create_task(publisher.aclose())
    while not closing.done():
        asking = asyncio.create_task(scripted.request())
        await asyncio.wait((asking, closing), return_when=asyncio.FIRST_COMPLETED)
        if asking.done() and asking.result().method == "DELETE":
            asking.result()._writer.write(b"no HTTP at all\r\n\r\n")
        asking.cancel()
    await closing
    assert "could not be deleted" in caplog.text


async def test_a_server_that_takes_nothing_holds_the_writer_back(scripted: ScriptedServer) -> None:
    publisher = _publisher(scripted, timeouts=Timeouts(write=0.3))
    await _connected(scripted, publisher)
    with pytest.raises(SegmentFailed):
        async with publisher.segment() as segment, asyncio.timeout(30):
            for _ in range(1000):
                await segment.write(bytes(64 * 1024))
    assert segment.bytes_written < 32 * 1024 * 1024
    assert publisher.stats.uncertain == 1
    await _close(scripted, publisher)


# --- numbers -------------------------------------------------------------------------------------


async def test_a_restarted_publisher_goes_on_with_the_numbers(server: TrickleServer) -> None:
    url = server.channel_url("cam")
    for number in range(3):
        async with (
            TricklePublisher(url, delete_on_close=False) as publisher,
            publisher.segment() as segment,
        ):
            await segment.write(b"x")
            assert segment.seq == number


async def test_a_segment_without_a_byte_takes_its_number(server: TrickleServer) -> None:
    url = server.channel_url("cam")
    async with TricklePublisher(url, delete_on_close=False) as publisher:
        async with publisher.segment():
            pass
        async with publisher.segment() as segment:
            await segment.write(b"x")
    assert segment.seq == 1
    assert publisher.stats.segments == 2


async def test_an_idle_segment_that_was_closed_by_somebody_else_is_opened_under_the_next_number(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    async with publisher.segment() as segment:
        await post.answer(200, {"Connection": "close"})
        await eventually(lambda: segment._post and segment._post.upload.over)
        writing = asyncio.create_task(segment.write(b"x"))
        asked = await scripted.request("GET", "/cam/next")
        await asked.answer(200, {"Lp-Trickle-Latest": "0"}, b"0")
        again = await scripted.request("POST", "/cam/1")
        await writing
        assert await again.piece() == b"x"
        assert segment.seq == 1
    await again.answer()
    assert publisher.stats.resyncs == 1
    await _close(scripted, publisher)


async def test_a_segment_that_is_withdrawn_while_it_connects_is_opened_anew(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a server dies: the segment before is lost while the next one is on its way."""
    publisher = _publisher(scripted)
    await (await _connected(scripted, publisher)).answer(200, {"Connection": "close"})
    queue = publisher._queue
    ahead = queue.ahead
    assert ahead is not None
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def opened() -> None:
        arrived.set()
        await gone.wait()

    monkeypatch.setattr(ahead.upload, "opened", opened)
    connecting = asyncio.create_task(queue.connect())
    await arrived.wait()
    queue._withdraw()
    gone.set()
    again = await scripted.request("POST", "/cam/0")
    await connecting
    assert queue.ahead is not None and queue.ahead is not ahead
    await again.answer()
    await _close(scripted, publisher)


async def test_an_idle_segment_whose_connection_broke_is_opened_again_without_loss(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    post.cut()
    again = await scripted.request("POST", "/cam/0")
    async with publisher.segment() as segment:
        await segment.write(b"x")
        assert await again.piece() == b"x"
    await again.body()
    await again.answer()
    await segment.acknowledged()
    assert publisher.stats.uncertain == 0
    await _close(scripted, publisher)


async def test_a_5xx_before_any_byte_is_tried_again(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    await post.answer(503, {"Connection": "close"})
    await eventually(lambda: publisher._queue.ahead and publisher._queue.ahead.upload.over)
    opening = asyncio.create_task(publisher.segment().__aenter__())
    again = await scripted.request("POST", "/cam/0")
    segment = await opening
    await segment.write(b"x")
    assert await again.piece() == b"x"
    await segment.aclose()
    await again.answer()
    await _close(scripted, publisher)


# --- what is cut ---------------------------------------------------------------------------------


async def test_a_cut_segment_is_counted_never_repeated_and_reset_by_the_next(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    with pytest.raises(SegmentFailed) as caught:
        async with publisher.segment() as segment:
            await segment.write(b"half")
            assert await post.piece() == b"half"
            ahead = await scripted.request("POST", "/cam/1")
            post.cut()
            await eventually(lambda: segment.done)
            await segment.write(b"more")
    assert caught.value.seq == 0
    assert "/cam/0" in str(caught.value)
    async with publisher.segment() as segment:
        fresh = await scripted.request("POST", "/cam/1")
        assert fresh.headers["lp-trickle-reset"]
        await segment.write(b"whole")
    assert await fresh.body() == b"whole"
    await fresh.answer()
    await segment.acknowledged()
    await ahead.gone()
    assert (publisher.stats.segments, publisher.stats.uncertain) == (1, 1)
    await _close(scripted, publisher)


@pytest.mark.parametrize("status", [400, 404, 470, 500])
async def test_an_answer_under_way_ends_the_segment(
    scripted: ScriptedServer, status: int, eventually: Eventually
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    with pytest.raises(SegmentFailed, match=str(status)):
        async with publisher.segment() as segment:
            await segment.write(b"half")
            await post.answer(status, {"Connection": "close"}, b"no")
            await eventually(lambda: segment.done)
            await segment.write(b"more")
    assert publisher.stats.uncertain == 1
    await _close(scripted, publisher)


async def test_a_missing_acknowledgement_is_uncertain_and_logged(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = _publisher(scripted, timeouts=Timeouts(answer=1.0))
    await _connected(scripted, publisher)
    async with publisher.segment() as segment:
        await segment.write(b"x")
    with caplog.at_level(logging.WARNING), pytest.raises(SegmentFailed):
        await segment.acknowledged()
    assert publisher.stats.uncertain == 1
    assert "uncertain" in caplog.text
    await _close(scripted, publisher)


async def test_an_exception_inside_leaves_a_short_segment_that_ended_cleanly(
    server: TrickleServer,
) -> None:
    url = server.channel_url("cam")
    async with (
        TrickleSubscriber(url, start=0) as subscriber,
        TricklePublisher(url, linger=0.2) as publisher,
    ):
        with pytest.raises(KeyError):
            async with publisher.segment() as segment:
                await segment.write(b"short")
                raise KeyError
        await segment.acknowledged()
        async with publisher.segment() as segment:
            await segment.write(b"whole")
        got = [await (await anext(subscriber)).read() for _ in range(2)]
    assert got == [b"short", b"whole"]
    assert publisher.stats.uncertain == 0


async def test_a_cancelled_write_leaves_a_short_segment_that_ended_cleanly(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)

    async def write() -> None:
        async with publisher.segment() as segment:
            await segment.write(b"a" * 1000)
            await segment.write(bytes(64 * 1024 * 1024))

    writing = asyncio.create_task(write())
    assert await post.piece() == b"a" * 1000
    await asyncio.sleep(0.05)
    writing.cancel()
    await asyncio.wait((writing,))
    assert writing.cancelled()
    rest = await post.body()
    assert not rest.strip(b"\0")
    assert post.ended
    await post.answer()
    await _close(scripted, publisher)


# --- channels ------------------------------------------------------------------------------------


async def test_a_missing_channel_is_told_with_what_to_do(server: TrickleServer) -> None:
    url = server.channel_url("nope")
    with pytest.raises(ChannelNotFound, match=r"create=True.*nope"):
        await TricklePublisher(url).__aenter__()


async def test_a_channel_is_made_where_that_is_asked_for(server: TrickleServer) -> None:
    url = server.channel_url("fresh")
    async with TricklePublisher(url, create=True, mime_type="text/plain", linger=0) as publisher:
        async with TrickleSubscriber(url, start=0) as subscriber, publisher.segment() as segment:
            await segment.write(b"x")
            assert (await anext(subscriber)).mime_type == "text/plain"


async def test_a_server_that_makes_no_channels_is_told(scripted: ScriptedServer) -> None:
    opening = asyncio.create_task(_publisher(scripted, create=True).__aenter__())
    created = await scripted.request("POST", "/cam")
    assert created.headers["expect-content"] == "video/MP2T"
    await created.answer(404, body=b"Stream not found\n")
    with pytest.raises(ChannelRefused, match="make channels"):
        await opening


@pytest.mark.parametrize(
    ("status", "kind"), [(401, ChannelRefused), (403, ChannelRefused), (400, ProtocolError)]
)
async def test_a_refusal_is_told_with_what_the_server_said(
    scripted: ScriptedServer, status: int, kind: type[Exception]
) -> None:
    opening = asyncio.create_task(_publisher(scripted).__aenter__())
    asked = await scripted.request("GET", "/cam/next")
    await asked.answer(status, body=b"because")
    with pytest.raises(kind, match=f"{status} because"):
        await opening


async def test_a_page_that_is_no_trickle_server_is_told(scripted: ScriptedServer) -> None:
    opening = asyncio.create_task(_publisher(scripted).__aenter__())
    asked = await scripted.request("GET", "/cam/next")
    await asked.answer(200, body=b"<html>welcome</html>")
    with pytest.raises(ProtocolError, match="trickle channel"):
        await opening


async def test_a_channel_that_was_deleted_closes_the_publisher(eventually: Eventually) -> None:
    async with TrickleServer(autocreate=False) as server:
        server.create("cam", "video/MP2T")
        async with TricklePublisher(server.channel_url("cam"), linger=0) as publisher:
            async with publisher.segment() as segment:
                await segment.write(b"x")
            await segment.acknowledged()
            await server.close_channel("cam")
            await eventually(lambda: publisher._queue.ahead and publisher._queue.ahead.upload.over)
            for _ in range(2):
                with pytest.raises(ChannelClosed, match="cam"):
                    await publisher.segment().__aenter__()


async def test_closing_deletes_the_channel_after_the_last_byte(server: TrickleServer) -> None:
    url = server.channel_url("cam")
    async with TrickleSubscriber(url, start=0) as subscriber:

        async def read() -> list[bytes]:
            return [await segment.read() async for segment in subscriber]

        reading = asyncio.create_task(read())
        async with TricklePublisher(url, linger=2.0) as publisher:
            for number in range(4):
                async with publisher.segment() as segment:
                    await segment.write(b"%d" % number)
        assert await asyncio.wait_for(reading, 20) == [b"%d" % number for number in range(4)]
    assert server.get("cam") is None


async def test_the_channel_is_deleted_linger_seconds_after_the_last_acknowledgement(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted, linger=0.3)
    post = await _connected(scripted, publisher)
    await publisher.write(b"last")
    await scripted.request("POST", "/cam/1")  # connected ahead
    closing = asyncio.create_task(publisher.aclose())
    assert await post.body() == b"last"
    await scripted.quiet()
    acknowledged = asyncio.get_running_loop().time()
    await post.answer()
    deletion = await scripted.request("DELETE", "/cam")
    assert asyncio.get_running_loop().time() - acknowledged >= 0.3
    await deletion.answer()
    await closing


async def test_without_deletion_the_channel_stays_and_its_readers_wait(
    server: TrickleServer,
) -> None:
    url = server.channel_url("cam")
    async with TricklePublisher(url, delete_on_close=False) as publisher:
        async with publisher.segment() as segment:
            await segment.write(b"x")
    assert server.get("cam") is not None
    async with TrickleSubscriber(url, start=0) as subscriber:
        assert await (await anext(subscriber)).read() == b"x"
        waiting = asyncio.create_task(anext(subscriber))
        await asyncio.wait((waiting,), timeout=0.1)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait((waiting,))


async def test_closing_does_not_raise_when_the_server_is_away(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = _publisher(scripted, timeouts=Timeouts(outage=0.2))
    await _connected(scripted, publisher)
    await scripted.__aexit__()
    with caplog.at_level(logging.WARNING):
        await publisher.aclose()
    assert "could not be deleted" in caplog.text
    await scripted.__aenter__()


async def test_closing_twice_is_closing_once(server: TrickleServer) -> None:
    publisher = TricklePublisher(server.channel_url("cam"), linger=0)
    await publisher.__aenter__()
    await publisher.aclose()
    await publisher.aclose()
    with pytest.raises(ChannelClosed):
        await publisher.segment().__aenter__()


async def test_a_publisher_that_was_never_opened_closes_without_a_request(
    scripted: ScriptedServer,
) -> None:
    await _publisher(scripted).aclose()
    await scripted.quiet(0.05)


async def test_closing_ends_the_open_segment(server: TrickleServer) -> None:
    url = server.channel_url("cam")
    async with TrickleSubscriber(url, start=0) as subscriber:
        publisher = TricklePublisher(url, linger=2.0)
        segment = await publisher.segment().__aenter__()
        await segment.write(b"x")
        await publisher.aclose()
        assert [await segment.read() async for segment in subscriber] == [b"x"]
    assert publisher.stats.segments == 1


# --- limits, mistakes, leftovers -----------------------------------------------------------------


async def test_a_server_that_is_away_is_told_after_the_outage_limit(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted, timeouts=Timeouts(outage=1.5))
    await scripted.__aexit__()
    with pytest.raises(TrickleConnectionError) as caught:
        await publisher.__aenter__()
    assert caught.value.attempt is not None
    assert caught.value.attempt > 1
    await scripted.__aenter__()


async def test_a_server_that_does_not_answer_is_told_after_its_limit(
    scripted: ScriptedServer,
) -> None:
    with pytest.raises(TrickleConnectionError, match=r"no answer within 0\.1 s"):
        await _publisher(scripted, timeouts=Timeouts(answer=0.1, outage=0.2)).__aenter__()


async def test_timeouts_are_connection_errors_and_timeout_errors() -> None:
    assert issubclass(TrickleTimeout, TrickleConnectionError)
    assert issubclass(TrickleTimeout, TimeoutError)
    assert issubclass(TrickleConnectionError, ConnectionError)


async def test_one_segment_at_a_time(server: TrickleServer) -> None:
    async with TricklePublisher(server.channel_url("cam"), linger=0) as publisher:
        async with publisher.segment() as segment:
            with pytest.raises(RuntimeError, match="still open"):
                await publisher.segment().__aenter__()
            await segment.write(b"x")
        with pytest.raises(RuntimeError, match="has ended"):
            await segment.write(b"y")


async def test_a_segment_outside_its_block_is_a_mistake(server: TrickleServer) -> None:
    async with TricklePublisher(server.channel_url("cam"), linger=0) as publisher:
        segment = publisher.segment()
        with pytest.raises(RuntimeError, match="async with"):
            await segment.write(b"x")
        with pytest.raises(RuntimeError, match="async with"):
            _ = segment.seq


async def test_a_forgotten_publisher_is_reported(server: TrickleServer) -> None:
    publisher = TricklePublisher(server.channel_url("cam"))
    await publisher.__aenter__()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del publisher
        gc.collect()
    assert [w for w in caught if w.category is ResourceWarning and "cam" in str(w.message)]
    # The pool that it shared is closed by its next user.
    async with TrickleSubscriber(server.channel_url("cam")):
        pass
    await asyncio.sleep(0)


async def test_a_pool_that_was_passed_in_stays_the_callers(server: TrickleServer) -> None:
    async with Transport(headers={"X-Test": "1"}) as pool:
        for _ in range(2):
            async with TricklePublisher(
                server.channel_url("cam"), session=pool, delete_on_close=False
            ) as publisher:
                async with publisher.segment() as segment:
                    await segment.write(b"x")
            assert pool.connections > 0
    assert pool.connections == 0


async def test_a_segment_that_was_acknowledged_is_freed_without_the_garbage_collector(
    server: TrickleServer,
) -> None:
    async with TricklePublisher(server.channel_url("cam"), linger=0) as publisher:
        gc.disable()
        try:
            segment = await publisher.write(b"x")
            await segment.acknowledged()
            freed = weakref.ref(segment)
            del segment
            assert freed() is None
        finally:
            gc.enable()


@pytest.mark.parametrize("linger", [-1, float("nan")])
def test_a_linger_below_zero_is_refused(linger: float) -> None:
    with pytest.raises(ValueError, match="linger"):
        TricklePublisher("http://host/cam", linger=linger)


# --- answers that nobody waited for --------------------------------------------------------------


@pytest.mark.parametrize("how", ["exception", "end", "write"])
async def test_a_segment_whose_channel_was_closed_while_it_was_idle_does_not_hold_up_the_close(
    eventually: Eventually, how: str
) -> None:
    async with asyncio.timeout(30), TrickleServer(autocreate=False) as server:
        server.create("cam", "video/MP2T")
        publisher = TricklePublisher(server.channel_url("cam"), linger=0)
        await publisher.__aenter__()
        with pytest.raises(KeyError if how == "exception" else ChannelClosed):
            async with publisher.segment() as segment:
                await server.close_channel("cam")
                await eventually(lambda: segment._post is None or segment._post.upload.over)
                if how == "exception":
                    raise KeyError
                if how == "write":
                    await segment.write(b"x")
        await publisher.aclose()
    assert (publisher.stats.segments, publisher.stats.uncertain) == (0, 0)
    with pytest.raises(SegmentFailed if how != "exception" else (SegmentFailed, ChannelClosed)):
        await segment.acknowledged()


async def test_a_channel_that_is_gone_is_told_to_one_who_writes_at_once(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    publisher = _publisher(scripted)
    post = await _connected(scripted, publisher)
    with pytest.raises(SegmentFailed):
        async with asyncio.timeout(30), publisher.segment() as segment:
            await segment.write(b"x")
            await scripted.request("POST", "/cam/1")
            await post.answer(404, {"Connection": "close"}, b"Stream not found\n")
            await eventually(lambda: segment.done)
    # Its bytes would be on their way before the answer; so it asks instead of opening another.
    opening = asyncio.create_task(publisher.segment().__aenter__())
    asked = await scripted.request("GET", "/cam/next")
    await asked.answer(404, body=b"Stream not found\n")
    with pytest.raises(ChannelClosed, match="missing"):
        await opening
    await publisher.aclose()


async def test_a_write_that_failed_before_the_first_byte_can_be_tried_again(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    publisher = _publisher(scripted, timeouts=Timeouts(outage=0.2))
    post = await _connected(scripted, publisher)
    async with asyncio.timeout(30), publisher.segment() as segment:
        await scripted.__aexit__()
        post.cut()
        await eventually(lambda: segment._post and segment._post.upload.over)
        with pytest.raises(TrickleConnectionError):
            await segment.write(b"x")
        await scripted.__aenter__()
        publisher._channel.backoff.reset()
        writing = asyncio.create_task(segment.write(b"x"))
        again = await scripted.request("POST", "/cam/0")
        await writing
        assert await again.piece() == b"x"
    await again.answer()
    await segment.acknowledged()
    assert publisher.stats.uncertain == 0
    await _close(scripted, publisher)


async def test_a_reset_waits_for_the_segments_that_it_would_cut_short(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    publisher = _publisher(scripted)
    first = await _connected(scripted, publisher)
    async with asyncio.timeout(30):
        async with publisher.segment() as cut:
            await cut.write(b"first")
        second = await scripted.request("POST", "/cam/1")
        async with publisher.segment() as segment:
            # Half a second later, because the first is not acknowledged.
            await segment.write(b"second")
            ahead = await scripted.request("POST", "/cam/2")
            first.cut()
            await eventually(lambda: cut.done)
            await ahead.gone()
        beginning = asyncio.create_task(publisher.segment().__aenter__())
        # Its reset would end the second, whose last bytes the server may not have read yet.
        await scripted.quiet()
        await second.answer()
        third = await scripted.request("POST", "/cam/2")
        assert third.headers["lp-trickle-reset"]
        await (await beginning).aclose()
        await third.answer()
    await _close(scripted, publisher)
    assert (publisher.stats.segments, publisher.stats.uncertain) == (2, 1)


async def test_a_server_that_makes_a_channel_and_has_it_not_is_asked_for_the_outage_limit(
    scripted: ScriptedServer,
) -> None:
    publisher = _publisher(scripted, create=True, timeouts=Timeouts(outage=0.3))

    async def answer() -> int:
        asked = 0
        while True:
            exchange = await scripted.request()
            asked += 1
            await exchange.answer(200 if exchange.method == "POST" else 404)

    answering = asyncio.create_task(answer())
    async with asyncio.timeout(30):
        with pytest.raises((ChannelNotFound, TrickleConnectionError)):
            await publisher.__aenter__()
    answering.cancel()


async def test_an_outage_after_a_long_segment_is_a_new_one(
    scripted: ScriptedServer, eventually: Eventually
) -> None:
    publisher = _publisher(scripted, timeouts=Timeouts(outage=2.0))
    post = await _connected(scripted, publisher)
    await post.answer(503, {"Connection": "close"})
    async with asyncio.timeout(40):
        await eventually(lambda: publisher._queue.ahead and publisher._queue.ahead.upload.over)
        opening = asyncio.create_task(publisher.segment().__aenter__())
        again = await scripted.request("POST", "/cam/0")
        segment = await opening
        await segment.write(b"x")
        await scripted.request("POST", "/cam/1")
        await asyncio.sleep(2.5)
        again.cut()
        await eventually(lambda: segment.done)
        with pytest.raises(SegmentFailed):
            await segment.aclose()
        segment = await publisher.segment().__aenter__()
        (await scripted.request("POST", "/cam/1")).cut()
        await eventually(lambda: segment._post and segment._post.upload.over)
        ending = asyncio.create_task(segment.aclose())
        last = await scripted.request("POST", "/cam/1")
        await ending
        await last.answer()
        await _close(scripted, publisher)
