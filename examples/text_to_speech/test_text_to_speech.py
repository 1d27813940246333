"""What was spoken is written down again by a recogniser that knows nothing of the speaker."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from pocketsphinx import Decoder

from livepeer.runner import Audio
from livepeer.runner.testing import CallFailed, PipelineClient, client

pytestmark = pytest.mark.skipif(
    shutil.which("flite") is None, reason="not run: flite is missing: apt-get install flite"
)

TEXT = (
    "Good morning, everybody. Today we are going to talk about the weather. "
    "It will be sunny in the north, and it will rain in the south."
)


@pytest.fixture(scope="module")
def speech(pipeline: ModuleType) -> Iterator[PipelineClient]:
    with client(pipeline.TextToSpeech) as served:
        yield served


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def word_error_rate(wanted: list[str], heard: list[str]) -> float:
    """Words changed, missed and added, over the words there are."""
    row = list(range(len(heard) + 1))
    for i, one in enumerate(wanted, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            change = previous + (one != other)
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, change)
    return row[-1] / len(wanted)


def listen(spoken: bytes) -> list[str]:
    samples, rate = Audio(spoken, "audio/wav").to_ndarray()
    decoder = Decoder(samprate=rate, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw((samples[0] * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return words(found.hypstr) if found else []


@pytest.mark.parametrize("voice", ["slt", "rms", "kal16"])
def test_a_recogniser_hears_what_was_said(speech: PipelineClient, voice: str) -> None:
    spoken = speech.predict(text=TEXT, voice=voice)
    rate = word_error_rate(words(TEXT), listen(spoken))
    print(f"{voice}: word error rate {rate:.2f}")
    assert rate <= 0.25


def test_it_is_a_wav_of_16_khz_and_of_the_length_of_speech(speech: PipelineClient) -> None:
    response = speech.post("/predict", json={"text": TEXT})
    assert response.headers["content-type"] == "audio/wav"
    samples, rate = Audio(response.content, "audio/wav").to_ndarray()
    assert rate == 16_000
    assert 5 < samples.shape[1] / rate < 12
    assert np.abs(samples).max() > 0.1


def test_a_text_that_looks_like_an_option_is_spoken(speech: PipelineClient) -> None:
    samples, rate = Audio(speech.predict(text="--help"), "audio/wav").to_ndarray()
    assert samples.shape[1] / rate < 3


def test_a_voice_that_is_not_there_is_refused_with_those_that_are(speech: PipelineClient) -> None:
    with pytest.raises(CallFailed) as refused:
        speech.predict(text="hello", voice="nobody")
    assert refused.value.status == 422
    assert "slt" in str(refused.value.fields)
