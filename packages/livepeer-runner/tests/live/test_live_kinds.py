"""Streams of the kinds that the field reports as trouble, through a live pipeline."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from livepeer.runner import AudioFrame, LivePipeline, VideoFrame
from livepeer.trickle import TricklePublisher

CASES = Path(__file__).parents[3] / "livepeer-trickle/tests/media/differential/cases"
#: Pictures, and seconds of sound, of each.
KINDS = {
    "gst_nal_alignment": (50, 0.0),
    "headers_apart": (50, 0.0),
    "one_packet_twice": (50, 0.0),
    "latm": (50, 2.0),
    "five_au_per_pes": (50, 0.0),
    "pts_every_3": (50, 0.0),
    "mpeg2_pts_on_ip": (50, 0.0),
    "live71": (25, 1.0),
    "one_second": (100, 0.0),
}


class Both(LivePipeline):
    realtime = False

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame

    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return frame


class SoundOnly(LivePipeline):
    """Its pictures pass through undecoded."""

    realtime = False

    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return frame


@pytest.mark.parametrize("cls", [Both, SoundOnly])
@pytest.mark.parametrize("name", KINDS)
async def test_all_of_it_comes_out_of_a_live_pipeline(
    stage: Any, cls: type[LivePipeline], name: str
) -> None:
    data = (CASES / f"{name}.ts").read_bytes()
    async with stage(cls) as it:
        await it.start()
        output = asyncio.create_task(it.output("s"))
        async with TricklePublisher(it.url("s"), linger=0.1) as publisher:
            for _ in range(4 if name == "one_second" else 1):
                async with publisher.segment() as segment:
                    await segment.write(data)
        came = await output
    pictures, seconds = KINDS[name]
    times = sorted(frame.time for frame in came if isinstance(frame, VideoFrame))
    assert len(times) == pictures
    assert {b - a for a, b in pairwise(times)} == {Fraction(1, 25)}
    heard = sum(float(frame.duration) for frame in came if isinstance(frame, AudioFrame))
    assert heard >= seconds
