"""What a reader of a stream's output finds in its first segment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from livepeer.runner import AudioFrame, AudioOutput, LivePipeline, VideoFrame
from livepeer.trickle import TricklePublisher, TrickleSubscriber
from livepeer.trickle.media import MediaPublisher, StreamDecoder
from livepeer.trickle.testing import ScriptedServer


class Both(LivePipeline):
    realtime = False

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame

    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return frame


class PicturesOnly(LivePipeline):
    """Its sound passes through undecoded."""

    realtime = False

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


@pytest.mark.parametrize("cls", [Both, PicturesOnly])
async def test_the_first_segment_is_whole_and_has_the_sound_of_the_input(
    stage: Any, make_clip: Any, cls: type[LivePipeline]
) -> None:
    async with stage(cls) as it:
        await it.start()
        segments = asyncio.create_task(segments_of(it.url("s-out")))
        channel = TricklePublisher(it.url("s"), linger=0.1)
        async with MediaPublisher(it.url("s"), publisher=channel, expect=["audio"]) as publisher:
            for frame in make_clip(75):
                await publisher.write(frame)
        seen = []
        for segment in await segments:
            decoder = StreamDecoder()
            frames = [*decoder.feed(segment), *decoder.flush()]
            seen.append(sum(isinstance(frame, VideoFrame) for frame in frames))
            heard = sum(len(frame) for frame in frames if isinstance(frame, AudioFrame))
            assert heard > 0.8 * 48_000
        assert seen == [25, 25, 25]


async def test_the_input_is_asked_for_while_the_output_is_being_opened(stage: Any) -> None:
    async with stage(PicturesOnly) as it, ScriptedServer() as far:
        channels = it.channels("s", without=("subscribe_url", "publish_url", "data_url"))
        media = {"subscribe_url": f"{far.url}/in", "publish_url": f"{far.url}/out"}
        started = await it.post("start", "s", {**channels, **media, "params": None})
        assert started.status_code == 200
        asked = {
            f"{each.method} {each.path}": each
            for each in (await far.request(), await far.request())
        }
        assert set(asked) == {"GET /in/0", "GET /out/next"}, "neither waits for the other"
        await asked["GET /out/next"].answer(404)
        await it.event("s", lambda event: event["type"] == "stream_ended")


class Named(Both):
    audio_output = AudioOutput("aac")


@pytest.mark.parametrize(
    ("cls", "came", "leaves"),
    [(Both, "opus", "opus"), (Both, "aac", "aac"), (Named, "opus", "aac")],
)
async def test_sound_of_a_hook_leaves_in_the_codec_in_which_it_came(
    stage: Any, make_clip: Any, cls: type[LivePipeline], came: Any, leaves: str
) -> None:
    async with stage(cls) as it:
        await it.start()
        segments = asyncio.create_task(segments_of(it.url("s-out")))
        channel = TricklePublisher(it.url("s"), linger=0.1)
        sound = AudioOutput(came)
        async with MediaPublisher(
            it.url("s"), publisher=channel, audio=sound, expect=["audio"]
        ) as publisher:
            for frame in make_clip(50):
                await publisher.write(frame)
        for segment in await segments:
            decoder = StreamDecoder()
            frames = [*decoder.feed(segment), *decoder.flush()]
            assert [track.codec for track in decoder.tracks] == ["h264", leaves]
            assert any(isinstance(frame, AudioFrame) for frame in frames)


async def segments_of(url: str) -> list[bytes]:
    async with TrickleSubscriber(url, start=0) as subscriber:
        return [await segment.read() async for segment in subscriber]
