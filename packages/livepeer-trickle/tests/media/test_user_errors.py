"""What a builder gets wrong in the first days is refused at once, with what would be right."""

import asyncio
import io
from pathlib import Path

import av
import numpy as np
import pytest

from livepeer.trickle import TrickleServer
from livepeer.trickle.media import (
    AudioFrame,
    MediaPublisher,
    MediaSubscriber,
    VideoFrame,
    encode,
)

LIMIT = 120


def picture(width: int = 160, height: int = 96) -> VideoFrame:
    return VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8))


# --- subscribers and publishers ----------------------------------------------------------------


async def test_a_second_task_that_iterates_is_refused_and_the_first_goes_on() -> None:
    async with TrickleServer() as server:
        server.create("in")
        url = server.channel_url("in")
        async with MediaSubscriber(url, start=0) as frames:
            first = asyncio.create_task(anext(frames))
            await asyncio.sleep(0)  # it runs up to where it waits
            with pytest.raises(RuntimeError, match="another task is waiting"):
                await anext(frames)
            async with MediaPublisher(url) as publisher:
                await publisher.write(picture())
                await publisher.write(picture())
                async with asyncio.timeout(LIMIT):
                    assert isinstance(await first, VideoFrame)


async def test_a_task_may_take_over_from_one_that_was_cancelled() -> None:
    async with TrickleServer() as server:
        server.create("in")
        url = server.channel_url("in")
        async with MediaSubscriber(url, start=0) as frames:
            first = asyncio.create_task(anext(frames))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait((first,))
            async with MediaPublisher(url) as publisher:
                await publisher.write(picture())
                await publisher.write(picture())
                async with asyncio.timeout(LIMIT):
                    assert isinstance(await anext(frames), VideoFrame)


# --- files -------------------------------------------------------------------------------------


def sound() -> AudioFrame:
    return AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), rate=48_000)


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("clip.mp4", "mp4"),
        ("CLIP.MOV", "mov"),
        ("clip.mkv", "matroska"),
        ("clip.ts", "mpegts"),
        ("clip", "mpegts"),
    ],
)
def test_a_file_is_of_the_container_that_its_name_says(
    name: str, container: str, tmp_path: Path
) -> None:
    encode([picture() for _ in range(20)], tmp_path / name)
    with av.open(str(tmp_path / name)) as file:
        assert container in file.format.name.split(",")


def test_a_format_that_is_named_outweighs_the_name_of_the_file(tmp_path: Path) -> None:
    encode([picture() for _ in range(20)], tmp_path / "clip.mp4", format="mpegts")
    with av.open(str(tmp_path / "clip.mp4")) as file:
        assert file.format.name == "mpegts"


@pytest.mark.parametrize(
    ("name", "format"), [("clip.webm", None), ("clip.wav", "wav"), (None, "webm"), (None, "wav")]
)
def test_a_container_that_cannot_hold_the_codecs_is_refused_by_name(
    name: str | None, format: str | None, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"(webm|wav) cannot hold these tracks"):
        encode([sound()], tmp_path / name if name else None, format=format)


@pytest.mark.parametrize("target", [None, io.BytesIO()])
def test_a_format_of_many_files_leaves_none_where_no_path_was_given(
    target: io.BytesIO | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="'hls' writes files of its own: give a path"):
        encode([picture()], target, format="hls")
    assert list(tmp_path.iterdir()) == []
