"""Streams of kinds that the field reports as trouble, through a subscriber and out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from livepeer.trickle import TricklePublisher, TrickleServer, TrickleSubscriber
from livepeer.trickle.media import (
    AudioFrame,
    MediaPublisher,
    MediaSubscriber,
    StreamDecoder,
    VideoFrame,
)

LIMIT = 60.0
CASES = Path(__file__).with_name("cases")
#: Pictures, and frames of sound with their channels, in each.
KINDS = {
    "gst_nal_alignment": (50, 0, 0),
    "headers_apart": (50, 0, 0),
    "one_packet_twice": (50, 0, 0),
    "latm": (50, 95, 1),
    "five_au_per_pes": (50, 0, 0),
    "pts_every_3": (50, 0, 0),
    "mpeg2_pts_on_ip": (50, 0, 0),
    "live71": (25, 48, 8),
    "one_second": (100, 0, 0),
}


def segments(name: str) -> list[bytes]:
    data = (CASES / f"{name}.ts").read_bytes()
    return [data] * 4 if name == "one_second" else [data]


def pictures_of(items: list[Any]) -> list[VideoFrame]:
    return [item for item in items if isinstance(item, VideoFrame)]


@pytest.fixture
async def server() -> AsyncIterator[TrickleServer]:
    async with TrickleServer(autocreate=False) as running:
        yield running


@pytest.mark.parametrize("size", [1, 188, 1000, 1316, 65_536])
@pytest.mark.parametrize("name", KINDS)
def test_all_of_it_comes_out_whatever_the_pieces(name: str, size: int) -> None:
    decoder = StreamDecoder(threads=1)
    out: list[Any] = []
    for data in segments(name):
        for at in range(0, len(data), size):
            out += decoder.feed(data[at : at + size])
        out += decoder.end_segment()
    out += decoder.flush()
    check(name, out)
    stats = decoder.stats
    assert stats.damaged == stats.skipped == stats.lost_packets == 0
    assert stats.clock_restarts == len(segments(name)) - 1


def check(name: str, out: list[Any]) -> None:
    pictures, sounds, channels = KINDS[name]
    times = [frame.time for frame in pictures_of(out)]
    assert len(times) == pictures
    assert {b - a for a, b in pairwise(times)} <= {Fraction(1, 25)}
    heard = [item for item in out if isinstance(item, AudioFrame)]
    assert len(heard) == sounds
    for sound in heard:
        assert sound.samples.shape == (channels, 1024)
    for before, after in pairwise(heard):
        assert after.time - before.time == before.duration


@pytest.mark.parametrize("name", KINDS)
async def test_it_goes_through_a_subscriber_and_a_publisher_without_a_picture_less(
    server: TrickleServer, name: str
) -> None:
    channel = server.create("in", "video/MP2T")
    server.create("out", "video/MP2T")
    seen: list[Any] = []
    async with asyncio.timeout(LIMIT):
        reading = asyncio.create_task(read(server.channel_url("out")))
        output = TricklePublisher(server.channel_url("out"), linger=0.1)
        async with (
            MediaSubscriber(server.channel_url("in"), policy="all", start=0) as frames,
            MediaPublisher(output.url, publisher=output) as publisher,
        ):
            total = 0
            for data in segments(name):
                await channel.write(data)
                total += len(data)
            ending = asyncio.create_task(end(server, frames, total))
            async for frame in frames:
                seen.append(frame)
                await publisher.write(frame)
            await ending
        came = await reading
    check(name, seen)
    times = [frame.time for frame in pictures_of(came)]
    assert len(times) == KINDS[name][0]
    assert {b - a for a, b in pairwise(times)} <= {Fraction(1, 25)}
    heard = sum(item.duration for item in came if isinstance(item, AudioFrame))
    assert heard >= sum(item.duration for item in seen if isinstance(item, AudioFrame))


async def end(server: TrickleServer, frames: MediaSubscriber, total: int) -> None:
    while frames.stats.transport.bytes < total:  # noqa: ASYNC110 — counters have no event
        await asyncio.sleep(0.005)
    await server.close_channel("in")


async def read(url: str) -> list[Any]:
    decoder, out = StreamDecoder(), list[Any]()
    async with TrickleSubscriber(url, start=0) as subscriber:
        async for segment in subscriber:
            out += decoder.feed(await segment.read())
            out += decoder.end_segment()
    return out + decoder.flush()
