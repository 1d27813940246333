"""The examples with models, by the whole road, where their packages are:

scripts/test-examples tests/e2e/test_model_examples.py
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from livepeer.client import FileOutput, Gateway
from livepeer.runner import Audio, Image
from livepeer.trickle.media import VideoFrame

from .media import take
from .network import EXAMPLES, Container, Network

MEDIA = EXAMPLES / "media"


def _rules() -> ModuleType:
    """What decides which packages an example lacks is written down beside the examples."""
    spec = importlib.util.spec_from_file_location("examples_rules", EXAMPLES / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RULES = _rules()
pytestmark = pytest.mark.slow
both = pytest.mark.parametrize("road", ["byoc", "live-runner"])
"""Called by BYOC and as a live runner: two of single requests, and all that are live."""


def serve(network: Network, name: str, program: str = "pipeline.py") -> Container:
    """The example, served; skips, or fails where everything has to be there, without its packages.

    Several share the machine with one orchestrator: what a test is done with is stopped.
    """
    if lacking := RULES.missing(EXAMPLES / name):
        reason = f"not run: examples/{name} needs {', '.join(lacking)}: scripts/test-examples"
        if RULES.STRICT and name != "llm_chat":  # which builds from source
            pytest.fail(reason)
        pytest.skip(reason)
    return network.serve(EXAMPLES / name / program, app=f"example/{name}")


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    both = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    both *= max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)


@both
async def test_sentiment_tells_praise_from_blame(shared: Network, gw: Gateway, road: str) -> None:
    # The lane without a model hub; that the other has the same interface is the example's own test.
    sentiment = serve(shared, "sentiment", "offline.py")
    for text, label in (("I love this!", "positive"), ("A horrible waste.", "negative")):
        assert (await gw.run_async(sentiment.name(road), input={"text": text}))["label"] == label
    sentiment.process.stop()


async def test_embeddings_of_like_texts_are_near(shared: Network, gw: Gateway) -> None:
    embeddings = serve(shared, "embeddings")
    texts = ("a cat sits on the mat", "a kitten is sitting on a rug", "the stock market fell")
    cat, kitten, stocks = [
        np.array(vector)
        for vector in await asyncio.gather(
            *(gw.run_async(embeddings.capability, input={"text": text}) for text in texts)
        )
    ]
    assert cat @ kitten > cat @ stocks + 0.2
    embeddings.process.stop()


@both
async def test_image_upscale_gives_a_picture_twice_the_size(
    shared: Network, gw: Gateway, road: str
) -> None:
    upscale = serve(shared, "image_upscale")
    original = Image(MEDIA / "astronaut.jpg").to_ndarray()
    half = original.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    found = await gw.run_async(upscale.name(road), input={"image": half})
    assert isinstance(found, FileOutput)
    enlarged = Image(found.data).to_ndarray()
    assert enlarged.shape == original.shape
    error = ((enlarged.astype(float) - original) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 26
    upscale.process.stop()


async def test_ocr_reads_a_scanned_page(shared: Network, gw: Gateway) -> None:
    ocr = serve(shared, "ocr")
    lines = await gw.run_async(ocr.capability, input={"image": MEDIA / "page.png"})
    text = " ".join(line["text"] for line in lines).lower()
    assert "markers" in text and "histogram" in text
    ocr.process.stop()


@pytest.mark.skipif(shutil.which("flite") is None, reason="not run: flite is missing")
async def test_text_to_speech_gives_sound_of_the_length_of_speech(
    shared: Network, gw: Gateway, tmp_path: Path
) -> None:
    speech = serve(shared, "text_to_speech")
    found = await gw.run_async(
        speech.capability, input={"text": "Good morning, everybody. It will be sunny today."}
    )
    assert isinstance(found, FileOutput) and found.media_type == "audio/wav"
    samples, rate = Audio(found.data, "audio/wav").to_ndarray()
    assert 2 < samples.shape[1] / rate < 6 and np.abs(samples).max() > 0.1
    speech.process.stop()


async def test_llm_chat_streams_its_answer_word_by_word(shared: Network, gw: Gateway) -> None:
    chat = serve(shared, "llm_chat")
    message = {"role": "user", "content": "Write one sentence about the sea."}
    async with gw.stream_async(
        chat.capability, input={"messages": [message], "temperature": 0}
    ) as events:
        tokens = [event.json()["token"] async for event in events]
    assert len(tokens) > 5 and "sea" in "".join(tokens).lower()
    chat.process.stop()


@both
async def test_live_detect_draws_a_box_and_says_where_the_face_is(
    shared: Network, gw: Gateway, road: str
) -> None:
    detect = serve(shared, "live_detect")
    photograph = Image(MEDIA / "astronaut.jpg").to_ndarray()

    async def portrait() -> AsyncIterator[object]:
        while True:
            yield photograph

    async with gw.live(detect.name(road)) as session:
        session.publish(portrait())
        record = (await take(session.data(), 5))[-1]
        frame = (await take(session.subscribe(), 5))[-1]
    (face,) = record["faces"]
    assert overlap(face["box"], (175, 65, 275, 200)) > 0.5  # where it is, measured by hand
    left, top, right, _ = (round(side) for side in face["box"])
    red, green, blue = frame.to_ndarray("rgb24")[top, left:right].astype(int).mean(axis=0)
    assert green > red + 60 and green > blue + 60
    detect.process.stop()


@both
async def test_live_transcribe_writes_down_what_is_said(
    shared: Network, gw: Gateway, road: str
) -> None:
    transcribe = serve(shared, "live_transcribe")
    async with gw.live(transcribe.name(road), subscribe=False) as session:
        session.publish_file(MEDIA / "speech.flac")
        records = await take(session.data(), 3)
    heard = " ".join(record["text"] for record in records).split()
    said = {"morning", "everybody", "weather", "sunny", "north", "rain", "south"}
    assert len(said & set(heard)) >= 5, heard
    transcribe.process.stop()


@both
async def test_live_caption_overlay_draws_the_words_into_the_picture(
    shared: Network, gw: Gateway, road: str
) -> None:
    overlay = serve(shared, "live_caption_overlay")
    async with gw.live(overlay.name(road)) as session:
        session.publish_file(MEDIA / "speaker.mp4")
        bars = []
        async with asyncio.timeout(200):
            async for frame in session.subscribe():
                if isinstance(frame, VideoFrame):
                    luma = frame.planes[0][int(frame.height * 0.88) :]
                    bars.append(bool(np.median(luma) < 40 and luma.max() > 180))
                    if sum(bars) == 10:
                        break
    assert not bars[0] and bars[-1]
    overlay.process.stop()
