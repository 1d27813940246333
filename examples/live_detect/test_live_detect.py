"""A real photograph, in which there is one face, moves through the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from livepeer.runner import Image, VideoFrame
from livepeer.runner.testing import run_live

PHOTOGRAPH = Path(__file__).parents[1] / "media/astronaut.jpg"
FACE = (175, 65, 275, 200)
"""Left, top, right and bottom of the face in it, measured by hand."""
WIDTH, HEIGHT, STEP = 640, 512, 4


def clip(count: int = 20) -> Iterator[VideoFrame]:
    photograph = Image(PHOTOGRAPH).to_ndarray()
    for number in range(count):
        picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        left = STEP * number
        picture[:, left : left + 512] = photograph
        yield VideoFrame.from_ndarray(picture, time=number / 20)


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


async def test_it_finds_the_face_in_every_frame_and_follows_it(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveDetect, clip())
    assert result.errors == []
    assert len(result.data) == 20
    for number, record in enumerate(result.data):
        (face,) = record["faces"]
        shift = STEP * number
        where = (FACE[0] + shift, FACE[1], FACE[2] + shift, FACE[3])
        assert overlap(tuple(face["box"]), where) > 0.6
        assert face["score"] > 0.7


async def test_the_box_is_drawn_where_the_record_says(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveDetect, clip(5))
    assert len(result.video) == 5
    for frame, record in zip(result.video, result.data, strict=True):
        picture = frame.to_ndarray("rgb24").astype(int)
        left, top, right, bottom = (int(side) for side in record["faces"][0]["box"])
        edges = np.concatenate(
            [
                picture[(top, bottom), left:right].reshape(-1, 3),
                picture[top:bottom, (left, right)].reshape(-1, 3),
            ]
        )
        red, green, blue = edges.mean(axis=0)
        assert green > red + 60
        assert green > blue + 60


async def test_a_record_has_the_time_of_its_frame(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveDetect, clip(10))
    times = [record["time"] for record in result.data]
    np.testing.assert_allclose(np.diff(times), 1 / 20, atol=1e-3)


async def test_without_a_face_there_is_no_box_and_the_record_says_so(pipeline: ModuleType) -> None:
    plain = [
        VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), time=number / 20)
        for number in range(5)
    ]
    result = await run_live(pipeline.LiveDetect, plain)
    assert [record["faces"] for record in result.data] == [[]] * 5
    assert np.ptp(result.video[-1].to_ndarray("rgb24")) <= 6


async def test_a_face_less_sure_than_asked_for_is_left(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveDetect, clip(3), params={"min_score": 1})
    assert [record["faces"] for record in result.data] == [[]] * 3


async def test_nothing_of_a_clip_is_lost_however_slow_the_net_is(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveDetect, PHOTOGRAPH.with_name("speaker.mp4"))
    assert len(result.video) == len(result.data) == 195
    assert all(len(record["faces"]) == 1 for record in result.data)
    assert result.audio
