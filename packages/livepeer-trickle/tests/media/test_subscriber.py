"""Frames of a channel: delay, dropping, back-pressure, faults, and the end of the thread."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from livepeer.trickle.exceptions import ChannelNotFound, PictureTooLarge
from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.frame import AudioFrame, MediaPacket, VideoFrame
from livepeer.trickle.media.stream.decode_thread import DecodeThread
from livepeer.trickle.media.stream.handover import GRACE, PATIENCE, Handover, Undecoded
from livepeer.trickle.media.subscriber import MediaSubscriber
from livepeer.trickle.server import TrickleServer

LIMIT = 20.0


@pytest.fixture
async def server() -> AsyncIterator[TrickleServer]:
    async with TrickleServer(port=0) as running:
        yield running


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Any:
    yield
    left = [t.name for t in threading.enumerate() if t.name == "livepeer-decode"]
    assert left == []


def segments(data: bytes) -> list[bytes]:
    """A clip of our fixtures, cut at its keyframes, each part with the tables."""
    starts = [
        at
        for at in range(0, len(data), 188)
        if data[at + 1] & 0x40 and data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x40
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100
    ]
    ends = [*starts[1:], len(data)]
    return [data[: 3 * 188] + data[a:b] for a, b in zip(starts, ends, strict=True)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 — counters are what is observed, they have no event
            await asyncio.sleep(0.002)


async def end(server: TrickleServer, frames: MediaSubscriber, total: int) -> None:
    """Delete the channel once the subscriber has read ``total`` bytes of it."""
    await until(lambda: frames.stats.transport.bytes >= total)
    await server.close_channel("in")


async def collect(subscriber: MediaSubscriber) -> list[Any]:
    async with asyncio.timeout(LIMIT):
        return [item async for item in subscriber]


def times(items: list[Any]) -> list[int]:
    return [item.pts for item in items if isinstance(item, VideoFrame)]


async def test_all_frames_of_a_channel_arrive_in_order_and_then_it_ends(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(frames=40, audio="aac", bframes=2)
    channel = server.create("in", "video/MP2T")
    async with MediaSubscriber(server.channel_url("in"), policy="all", start=0) as frames:
        reading = asyncio.create_task(collect(frames))
        for part in segments(made.data):
            await channel.write(part)
        await end(server, frames, sum(map(len, segments(made.data))))
        items = await reading
        assert frames.stats.dropped == 0
        assert frames.stats.decoder.video_frames == 40
        assert frames.stats.transport.segments == 4
    assert times(items) == made.times
    shown = [item.time for item in items]
    assert shown == sorted(shown)
    assert any(isinstance(item, AudioFrame) for item in items)


async def test_the_first_frame_comes_while_its_segment_is_still_open(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(mux={"omit_video_pes_length": "0"})
    server.create("in", "video/MP2T")
    from livepeer.trickle import TricklePublisher

    async with (
        asyncio.timeout(LIMIT),
        MediaSubscriber(server.channel_url("in")) as frames,
        TricklePublisher(server.channel_url("in"), linger=0) as publisher,
    ):
        async with publisher.segment() as segment:
            ends = second_picture(made.data)
            await segment.write(made.data[:ends])
            first = await anext(frames)
            assert isinstance(first, VideoFrame)
            assert first.pts == made.times[0]
            await segment.write(made.data[ends:])
            second = await anext(frames)
            assert second.time > first.time


async def test_with_latest_no_picture_waits_for_sound(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(audio="aac", mux={"omit_video_pes_length": "0"})
    kept, sounds = [], 0
    for at in range(0, len(made.data), 188):
        packet = made.data[at : at + 188]
        if (packet[1] & 0x1F) << 8 | packet[2] == 0x101:
            sounds += bool(packet[1] & 0x40)
            # The sound stops after its second packet of frames; nobody has said so.
            if sounds > 2:
                continue
        kept.append(packet)
    from livepeer.trickle import TricklePublisher

    server.create("in", "video/MP2T")
    async with (
        asyncio.timeout(LIMIT),
        MediaSubscriber(server.channel_url("in")) as frames,
        TricklePublisher(server.channel_url("in"), linger=0) as publisher,
        publisher.segment() as segment,
    ):
        await segment.write(b"".join(kept))
        seen: list[Any] = []
        while len(times(seen)) + frames.stats.dropped < 30:
            seen.append(await anext(frames))
    assert times(seen)[-1] == made.times[-1]
    assert any(isinstance(item, AudioFrame) for item in seen)


def second_picture(data: bytes) -> int:
    """Where the second picture begins."""
    starts = [
        at
        for at in range(0, len(data), 188)
        if data[at + 1] & 0x40 and (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100
    ]
    return starts[1]


async def test_latest_drops_the_oldest_video_counts_it_and_keeps_all_audio(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(frames=40, audio="aac")
    channel = server.create("in", "video/MP2T")
    async with MediaSubscriber(server.channel_url("in"), start=0) as frames:
        for part in segments(made.data):
            await channel.write(part)
        await end(server, frames, sum(map(len, segments(made.data))))
        await until(lambda: frames.stats.decoder.video_frames == 40)
        await asyncio.sleep(GRACE + 2 * PATIENCE)
        items = await collect(frames)
        assert times(items) == made.times[-1:]
        assert frames.stats.dropped == 39
        sounds = [i for i in items if isinstance(i, AudioFrame)]
        assert len(sounds) == frames.stats.decoder.audio_frames > 50


async def test_a_slow_taker_of_all_loses_nothing_and_little_waits(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(frames=60)
    channel = server.create("in", "video/MP2T")
    async with MediaSubscriber(server.channel_url("in"), policy="all", start=0) as frames:
        parts = segments(made.data)
        await channel.write(b"".join(parts[:3]))
        await channel.write(b"".join(parts[3:]))
        await end(server, frames, sum(map(len, parts)))
        got = []
        async with asyncio.timeout(LIMIT):
            async for frame in frames:
                got.append(frame)
                assert frames.stats.waiting <= 8
                await asyncio.sleep(0.002)
    assert times(got) == made.times


async def test_leaving_early_ends_the_thread_at_once(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    channel = server.create("in", "video/MP2T")
    await channel.write(clip(frames=60).data)
    for policy in ("latest", "all"):
        async with MediaSubscriber(
            server.channel_url("in"),
            policy=policy,  # type: ignore[arg-type]
            start=0,
        ) as frames:
            async with asyncio.timeout(LIMIT):
                await anext(frames)
            begun = time.monotonic()
        assert time.monotonic() - begun < LIMIT / 2
        await frames.aclose()


async def test_a_subscriber_that_waits_is_closed_from_outside(server: TrickleServer) -> None:
    server.create("in", "video/MP2T")
    async with MediaSubscriber(server.channel_url("in")) as frames:
        taking = asyncio.create_task(collect(frames))
        await asyncio.sleep(0.05)
    assert await taking == []


async def test_cancelling_a_wait_for_a_frame_loses_none(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(frames=20)
    channel = server.create("in", "video/MP2T")
    async with MediaSubscriber(server.channel_url("in"), policy="all", start=0) as frames:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(frames)
        for part in segments(made.data):
            await channel.write(part)
        await end(server, frames, sum(map(len, segments(made.data))))
        assert times(await collect(frames)) == made.times


async def test_cancelling_the_task_around_it_leaves_nothing(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    channel = server.create("in", "video/MP2T")
    await channel.write(clip(frames=60).data)
    before = asyncio.all_tasks()

    async def consume() -> None:
        async with MediaSubscriber(server.channel_url("in"), start=0) as frames:
            async for _ in frames:
                pass

    for delay in (0, 0, 0.001, 0.01, 0.05):
        task = asyncio.create_task(consume())
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await until(lambda: not [t for t in asyncio.all_tasks() - before if "Subscriber" in repr(t)])


async def test_a_channel_that_is_not_there_raises_where_frames_are_taken(
    server: TrickleServer,
) -> None:
    async with MediaSubscriber(server.channel_url("none") + "x/y") as frames:
        with pytest.raises(ChannelNotFound):
            await collect(frames)


async def test_broken_segments_are_passed_over_and_counted(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(frames=40)
    parts = segments(made.data)
    channel = server.create("in", "video/MP2T")
    async with MediaSubscriber(server.channel_url("in"), policy="all", start=0) as frames:
        middle = len(parts[1]) // 2 // 188 * 188
        await channel.write(parts[0])
        await channel.write(parts[1][:middle] + parts[1][middle + 376 :])
        await channel.write(b"this is no video at all" * 100)
        await channel.write(parts[3])
        await end(server, frames, len(parts[0]) + len(parts[1]) - 376 + 2300 + len(parts[3]))
        items = await collect(frames)
        stats = frames.stats
    shown = times(items)
    assert shown[:10] == made.times[:10]
    assert shown[-10:] == made.times[30:]
    assert stats.decoder.lost_packets >= 1


async def test_a_gap_in_the_numbers_is_a_discontinuity(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(frames=80)
    parts = segments(made.data)
    channel = server.create("in", "video/MP2T")
    async with (
        asyncio.timeout(LIMIT),
        MediaSubscriber(server.channel_url("in"), policy="all", start=0) as frames,
    ):
        await channel.write(parts[0])
        got = [await anext(frames)]
        # More than the ring holds: what the reader has not asked for is overwritten.
        for part in parts[1:]:
            await channel.write(part)
        while len(got) < 80 and got[-1].pts < made.times[-10]:
            got.append(await anext(frames))
        await server.close_channel("in")
        got += [item async for item in frames]
        assert frames.stats.transport.gaps >= 1
        assert frames.stats.decoder.discontinuities >= 1
    assert times(got)[:10] == made.times[:10]
    assert times(got)[-10:] == made.times[-10:]
    assert len(times(got)) % 10 == 0


async def test_tracks_may_pass_undecoded(server: TrickleServer, clip: Callable[..., Any]) -> None:
    made = clip(audio="aac")
    channel = server.create("in", "video/MP2T")
    async with MediaSubscriber(
        server.channel_url("in"), policy="all", start=0, audio="packets"
    ) as frames:
        for part in segments(made.data):
            await channel.write(part)
        await end(server, frames, sum(map(len, segments(made.data))))
        items = await collect(frames)
    assert {type(item) for item in items} == {VideoFrame, MediaPacket}
    assert [item.time for item in items] == sorted(item.time for item in items)


async def test_it_is_used_as_a_context_and_once(server: TrickleServer) -> None:
    frames = MediaSubscriber(server.channel_url("in"))
    with pytest.raises(RuntimeError, match="async with"):
        await anext(frames)
    server.create("in", "video/MP2T")
    async with frames:
        with pytest.raises(RuntimeError, match="once"):
            await frames.__aenter__()
    with pytest.raises(ValueError, match="policy"):
        MediaSubscriber(server.channel_url("in"), policy="newest")  # type: ignore[arg-type]


async def test_the_loop_stays_free_while_a_stream_is_decoded(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(width=1280, height=720, frames=60, gop=30)
    channel = server.create("in", "video/MP2T")
    worst = 0.0
    async with MediaSubscriber(server.channel_url("in"), policy="all", start=0) as frames:
        # More than may wait: it is read to its end only while frames are taken.
        reading = asyncio.create_task(collect(frames))
        for part in segments(made.data):
            await channel.write(part)
        ending = asyncio.create_task(end(server, frames, sum(map(len, segments(made.data)))))
        while not reading.done():
            begun = time.monotonic()
            await asyncio.sleep(0)
            worst = max(worst, time.monotonic() - begun)
        await ending
        assert len(reading.result()) == 60
    assert worst < 1


async def test_a_stream_is_decoded_on_one_thread_of_its_own(
    server: TrickleServer, clip: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clip(frames=40, audio="aac", bframes=2)
    seen: dict[int, set[str]] = {}

    def watched(name: str) -> Any:
        call = getattr(StreamDecoder, name)

        def watch(self: StreamDecoder, *arguments: Any) -> Any:
            seen.setdefault(id(self), set()).add(threading.current_thread().name)
            seen[id(self)].add(f"#{threading.get_ident()}")
            return call(self, *arguments)

        return watch

    for name in ("feed", "end_segment", "discontinuity", "flush"):
        monkeypatch.setattr(StreamDecoder, name, watched(name))
    channel = server.create("in", "video/MP2T")
    url = server.channel_url("in")
    async with (
        MediaSubscriber(url, policy="all", start=0) as one,
        MediaSubscriber(url, start=0) as other,
    ):
        reading = [asyncio.create_task(collect(frames)) for frames in (one, other)]
        for part in segments(made.data):
            await channel.write(part)
        await until(lambda: one.stats.decoder.video_frames >= 30)
        running = [t.name for t in threading.enumerate() if t.name == "livepeer-decode"]
        assert len(running) == 2
        await end(server, one, sum(map(len, segments(made.data))))
        await asyncio.gather(*reading)
    # Of each stream: one name and one number, and no number is the loop's or the other's.
    assert [len(names) for names in seen.values()] == [2, 2]
    assert all("livepeer-decode" in names for names in seen.values())
    threads = {name for names in seen.values() for name in names if name.startswith("#")}
    assert len(threads - {f"#{threading.get_ident()}"}) == 2


async def test_what_is_not_taken_with_all_stays_behind_the_socket(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(frames=60, mux={"omit_video_pes_length": "0"})
    # Each picture with 400 KB of nothing behind it.
    starts = [
        at
        for at in range(0, len(made.data), 188)
        if made.data[at + 1] & 0x40 and (made.data[at + 1] & 0x1F) << 8 | made.data[at + 2] == 0x100
    ]
    nothing = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 2_200
    parts = [made.data[a:b] for a, b in zip([0, *starts[1:]], [*starts[1:], None], strict=True)]
    data = nothing.join(parts)
    channel = server.create("in", "video/MP2T")
    async with MediaSubscriber(server.channel_url("in"), policy="all", start=0) as frames:
        await channel.write(data)
        await until(lambda: frames.stats.waiting == 8)
        quiet = 0
        read = -1
        while quiet < 20:
            await asyncio.sleep(0.01)
            quiet = quiet + 1 if frames.stats.transport.bytes == read else 0
            read = frames.stats.transport.bytes
        assert read < len(data) // 2
        assert frames.stats.waiting == 8
        ending = asyncio.create_task(end(server, frames, len(data)))
        assert times(await collect(frames)) == made.times
        await ending
    assert frames.stats.dropped == 0


# --- the parts, where the network cannot bring them to their limits ------------------------------


def sound() -> AudioFrame:
    return AudioFrame.from_ndarray(np.zeros((1, 10), np.float32), rate=48_000, time=0)


async def test_a_burst_that_nobody_takes_is_held_to_its_newest_pictures_and_all_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # None of them is too old, however slow this machine is: there are too many.
    monkeypatch.setattr("livepeer.trickle.media.stream.handover.PATIENCE", 1e6)
    handover = Handover("latest", 3)
    picture = np.zeros((2, 2, 3), np.uint8)
    for number in range(10):
        handover.put(VideoFrame.from_ndarray(picture, time=number))
        handover.put(sound())
    assert len(handover) == 3 + 10
    assert handover.dropped == 7
    taken = [await handover.take() for _ in range(13)]
    assert [item.time for item in taken if isinstance(item, VideoFrame)] == [7, 8, 9]


async def test_audio_that_nobody_takes_holds_the_thread_instead_of_growing() -> None:
    handover = Handover("latest", 2)
    put: list[bool] = []

    def fill() -> None:
        for _ in range(2_000):
            put.append(handover.put(sound()))
            if not put[-1]:
                return

    thread = threading.Thread(target=fill)
    thread.start()
    await until(lambda: len(put) == 500)
    await asyncio.sleep(0.05)
    assert len(handover) == len(put) == 500
    assert await handover.take() is not None
    await until(lambda: len(put) == 501)
    handover.close()
    await asyncio.to_thread(thread.join, LIMIT)
    assert put[-1] is False
    assert await handover.take() is None


async def test_a_failure_of_the_decoder_is_raised_where_frames_are_taken_and_ends_the_thread() -> (
    None
):
    class Failing(StreamDecoder):
        def feed(self, data: bytes | bytearray | memoryview) -> Any:
            raise MemoryError("no more")

    handover = Handover("latest", 2)
    thread = DecodeThread(Failing(), handover)
    await thread.feed(b"x")
    with pytest.raises(MemoryError, match="no more"):
        async with asyncio.timeout(LIMIT):
            await handover.take()
    await thread.feed(b"x" * 10_000_000)
    await thread.aclose()


async def test_a_thread_that_has_too_much_to_do_holds_back_the_reader(
    clip: Callable[..., Any],
) -> None:
    handover = Handover("all", 1)
    thread = DecodeThread(StreamDecoder(), handover)
    data = clip(frames=60).data

    async def pour() -> int:
        fed = 0
        while fed < 100_000_000:
            await thread.feed(data)
            fed += len(data)
        return fed

    pouring = asyncio.create_task(pour())
    done, _ = await asyncio.wait((pouring,), timeout=0.3)
    assert not done
    await thread.aclose()
    pouring.cancel()
    await asyncio.wait((pouring,))


async def test_opening_and_closing_many_times_leaves_neither_threads_nor_files(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    process = psutil.Process()
    channel = server.create("in", "video/MP2T")
    await channel.write(clip().data)

    async def once(taken: int) -> None:
        async with (
            asyncio.timeout(LIMIT),
            MediaSubscriber(server.channel_url("in"), start=0) as frames,
        ):
            for _ in range(taken):
                await anext(frames)

    await once(1)
    before = process.num_fds(), process.num_threads()
    for n in range(50):
        await once(n % 3)
    await until(lambda: process.num_fds() <= before[0] + 4)
    assert process.num_threads() <= before[1] + 1


async def test_a_taker_that_is_too_slow_gets_fresh_pictures_all_the_time() -> None:
    handover = Handover("latest", 30)
    ended = threading.Event()

    def camera() -> None:
        picture = np.zeros((2, 2, 3), np.uint8)
        while not ended.wait(0.005):
            handover.put(VideoFrame.from_ndarray(picture, time=Fraction(time.monotonic())))
        handover.end()

    thread = threading.Thread(target=camera)
    thread.start()
    ages = []
    for _ in range(30):
        await asyncio.sleep(0.02)
        item = await handover.take()
        assert isinstance(item, VideoFrame)
        ages.append(time.monotonic() - float(item.time))
    ended.set()
    await asyncio.to_thread(thread.join, LIMIT)
    assert handover.dropped > 30
    assert sorted(ages)[len(ages) // 2] < 2 * PATIENCE


async def test_a_taker_that_is_held_up_for_a_moment_loses_nothing_and_for_longer_what_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(
        "livepeer.trickle.media.stream.handover.time", SimpleNamespace(monotonic=lambda: now)
    )
    handover = Handover("latest", 30)
    picture = np.zeros((2, 2, 3), np.uint8)

    def put(seconds: float) -> None:
        nonlocal now
        now += seconds
        handover.put(VideoFrame.from_ndarray(picture, time=Fraction(now)))

    now += 2 * GRACE
    waiting = asyncio.ensure_future(handover.take())
    await asyncio.sleep(0)
    put(0)
    await waiting
    for _ in range(3):  # the task has something to do: a keyframe, say
        put(PATIENCE)
    assert [float((await handover.take()).time) for _ in range(3)] == [  # type: ignore[union-attr]
        pytest.approx(now - late) for late in (2 * PATIENCE, PATIENCE, 0)
    ]
    assert handover.dropped == 0
    for _ in range(20):  # and now it does not keep up
        put(1.1 * PATIENCE)
    assert len(handover) <= 2
    assert handover.dropped >= 18


async def test_a_burst_costs_a_fast_taker_nothing(
    server: TrickleServer, clip: Callable[..., Any]
) -> None:
    made = clip(frames=20)
    channel = server.create("in", "video/MP2T")
    async with MediaSubscriber(server.channel_url("in"), start=0) as frames:
        reading = asyncio.create_task(collect(frames))
        await channel.write(made.data)
        await until(lambda: frames.stats.decoder.video_frames >= 19)
        await end(server, frames, len(made.data))
        assert times(await reading)[-1] == made.times[-1]
        # A machine that stops for 50 ms may cost some; taking one by one would cost most.
        assert frames.stats.dropped < 15


async def lent(thread: DecodeThread, handover: Handover, data: bytes) -> Undecoded:
    """What a taker that waits gets of `data`, which comes then."""
    taking = asyncio.create_task(handover.take(lambda: True))
    await asyncio.sleep(0)
    await thread.feed(data)
    taken = await taking
    assert isinstance(taken, Undecoded)
    return taken


async def test_a_taker_that_waits_decodes_the_next_bytes_and_what_follows_them_comes_after(
    clip: Callable[..., Any],
) -> None:
    made = clip(frames=20)
    first, second = segments(made.data)
    handover = Handover("latest", 30)
    thread = DecodeThread(StreamDecoder(), handover)
    async with asyncio.timeout(LIMIT):
        taken = await lent(thread, handover, first)
        await thread.feed(second)  # the decoder is lent: these bytes wait for it
        await thread.finish()
        begun = await asyncio.to_thread(taken.decode)
        rest = []
        while (item := await handover.take()) is not None:
            rest.append(item)
        await thread.aclose()
    assert times([begun, *rest]) == made.times


async def test_bytes_that_a_cancelled_taker_did_not_decode_are_the_next_ones(
    clip: Callable[..., Any],
) -> None:
    made = clip(frames=10)
    handover = Handover("latest", 30)
    thread = DecodeThread(StreamDecoder(), handover)
    taking = asyncio.create_task(handover.take(lambda: True))
    await asyncio.sleep(0)
    await thread.feed(made.data)
    taking.cancel()
    await asyncio.wait((taking,))
    taken = await handover.take()
    assert isinstance(taken, Undecoded)
    first = taken.decode()
    assert first is not None and first.pts == made.times[0]
    await thread.aclose()


async def test_what_a_decoder_has_against_the_stream_reaches_the_taker_that_it_was_lent_to(
    clip: Callable[..., Any],
) -> None:
    made = clip(frames=30)
    handover = Handover("latest", 30)
    thread = DecodeThread(StreamDecoder(max_pixels=100), handover)
    async with asyncio.timeout(LIMIT):
        assert (await lent(thread, handover, made.data)).decode() is None
        with pytest.raises(PictureTooLarge):
            await handover.take()
        await thread.feed(made.data)
        await thread.aclose()
