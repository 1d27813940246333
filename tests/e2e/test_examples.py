"""The examples that need nothing more, as their users meet them: three processes and one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from livepeer.client import Gateway, InvalidInputError
from livepeer.trickle.media import AudioFrame, VideoFrame

from .media import chroma, pitch, take
from .network import EXAMPLES, Container, Network


@pytest.fixture(scope="module")
def hello(shared: Network) -> Container:
    return shared.serve(EXAMPLES / "hello_world" / "pipeline.py")


async def test_hello_world_greets(gw: Gateway, hello: Container) -> None:
    assert await gw.run_async(hello.capability, input={"name": "Ada"}) == "Hello, Ada!"
    assert await gw.run_async(hello.capability) == "Hello, world!"
    with pytest.raises(InvalidInputError) as caught:
        await gw.run_async(hello.capability, input={"name": 7}, validate=False)
    assert [field.field for field in caught.value.fields] == ["name"]


def test_the_sync_client_gets_the_same(shared: Network, hello: Container) -> None:
    with Gateway(orch_url=shared.url, tls="pin") as gw:
        assert gw.run(hello.capability, input={"name": "Ada"}) == "Hello, Ada!"
        with gw.stream(hello.capability, input={"name": "Ada"}) as events:
            assert [event.json() for event in events] == ["Hello, Ada!"]


async def test_live_grayscale_takes_the_colour_and_keeps_the_rest(
    shared: Network, gw: Gateway, clip: Path
) -> None:
    grey = shared.serve(EXAMPLES / "live_grayscale" / "pipeline.py")
    async with gw.live(grey.capability) as session:
        session.publish_file(clip)
        found = await take(session.subscribe(policy="all"))
    video = [frame for frame in found if isinstance(frame, VideoFrame)]
    audio = [frame for frame in found if isinstance(frame, AudioFrame)]
    assert len(video) > 30, "real time may drop some, not most"
    assert all(np.allclose(chroma(frame), 128, atol=2) for frame in video)
    light = [float(np.mean(frame.planes[0])) for frame in video]
    assert light[-1] - light[0] > 10, "the picture gets brighter, as it did going in"
    assert abs(pitch(audio) - 440) < 5, "the sound passes"


async def test_live_tint_paints_in_the_colour_asked_for(
    shared: Network, gw: Gateway, clip: Path
) -> None:
    tint = shared.serve(EXAMPLES / "live_tint" / "pipeline.py")
    async with gw.live(tint.capability, params={"u": 90, "v": 170}) as session:
        session.publish_file(clip)
        found = await take(session.subscribe(policy="all"))
    video = [frame for frame in found if isinstance(frame, VideoFrame)]
    assert len(video) > 30
    assert all(np.allclose(chroma(frame), (90, 170), atol=3) for frame in video)


async def test_audio_pitch_raises_the_sound_and_leaves_the_picture(
    shared: Network, gw: Gateway, clip: Path
) -> None:
    higher = shared.serve(EXAMPLES / "audio_pitch" / "pipeline.py")
    async with gw.live(higher.capability, params={"semitones": 12}) as session:
        session.publish_file(clip)
        found = await take(session.subscribe(policy="all"))
    video = [frame for frame in found if isinstance(frame, VideoFrame)]
    audio = [frame for frame in found if isinstance(frame, AudioFrame)]
    assert abs(pitch(audio) - 880) < 10
    gaps = np.diff([float(frame.time) for frame in video])
    assert len(video) > 40 and np.allclose(gaps, 1 / 30, atol=0.001), "from where it joined, whole"
    assert all(chroma(frame)[1] > 150 for frame in video), "still red"
