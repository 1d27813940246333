"""The examples that need nothing more, as their users meet them: three processes and one call, by
both registries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livepeer.client import Gateway, InvalidInputError
from livepeer.trickle.media import AudioFrame, VideoFrame

from .media import chroma, pitch, take
from .network import EXAMPLES, Container, Network


def _served(example: str) -> Any:
    """One process of an example, in both registries."""

    @pytest.fixture(scope="module", name=example)
    def fixture(shared: Network) -> Container:
        return shared.serve(EXAMPLES / example / "pipeline.py", app=f"example/{example}")

    return fixture


hello_world, live_tint = _served("hello_world"), _served("live_tint")
live_grayscale, audio_pitch = _served("live_grayscale"), _served("audio_pitch")

both = pytest.mark.parametrize("road", ["byoc", "live-runner"])


@both
async def test_hello_world_greets(gw: Gateway, hello_world: Container, road: str) -> None:
    name = hello_world.name(road)
    assert await gw.run_async(name, input={"name": "Ada"}) == "Hello, Ada!"
    assert await gw.run_async(name) == "Hello, world!"
    with pytest.raises(InvalidInputError) as caught:
        await gw.run_async(name, input={"name": 7}, validate=False)
    assert [field.field for field in caught.value.fields] == ["name"]


@both
def test_the_sync_client_gets_the_same(shared: Network, hello_world: Container, road: str) -> None:
    name = hello_world.name(road)
    with Gateway(orch_url=shared.url, tls="pin") as gw:
        assert gw.run(name, input={"name": "Ada"}) == "Hello, Ada!"
        with gw.stream(name, input={"name": "Ada"}) as events:
            assert [event.json() for event in events] == ["Hello, Ada!"]


@pytest.mark.slow
@both
async def test_live_grayscale_takes_the_colour_and_keeps_the_rest(
    gw: Gateway, clip: Path, live_grayscale: Container, road: str
) -> None:
    async with gw.live(live_grayscale.name(road)) as session:
        session.publish_file(clip)
        found = await take(session.subscribe(policy="all"))
    video = [frame for frame in found if isinstance(frame, VideoFrame)]
    audio = [frame for frame in found if isinstance(frame, AudioFrame)]
    assert len(video) > 30, "real time may drop some, not most"
    assert all(np.allclose(chroma(frame), 128, atol=2) for frame in video)
    light = [float(np.mean(frame.planes[0])) for frame in video]
    assert light[-1] - light[0] > 10, "the picture gets brighter, as it did going in"
    assert abs(pitch(audio) - 440) < 5, "the sound passes"


@pytest.mark.parametrize("road", [pytest.param("byoc", marks=pytest.mark.slow), "live-runner"])
async def test_live_tint_paints_in_the_colour_asked_for(
    gw: Gateway, clip: Path, live_tint: Container, road: str
) -> None:
    async with gw.live(live_tint.name(road), params={"u": 90, "v": 170}) as session:
        session.publish_file(clip)
        found = await take(session.subscribe(policy="all"))
    video = [frame for frame in found if isinstance(frame, VideoFrame)]
    assert len(video) > 30
    assert all(np.allclose(chroma(frame), (90, 170), atol=3) for frame in video)


@pytest.mark.slow
@both
async def test_audio_pitch_raises_the_sound_and_leaves_the_picture(
    gw: Gateway, clip: Path, audio_pitch: Container, road: str
) -> None:
    async with gw.live(audio_pitch.name(road), params={"semitones": 12}) as session:
        session.publish_file(clip)
        found = await take(session.subscribe(policy="all"))
    video = [frame for frame in found if isinstance(frame, VideoFrame)]
    audio = [frame for frame in found if isinstance(frame, AudioFrame)]
    assert abs(pitch(audio) - 880) < 10
    gaps = np.diff([float(frame.time) for frame in video])
    assert len(video) > 40 and np.allclose(gaps, 1 / 30, atol=0.001), "from where it joined, whole"
    assert all(chroma(frame)[1] > 150 for frame in video), "still red"
