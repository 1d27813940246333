"""On thirteen seconds of speech (`examples/media/speech.flac`), as a live stream carries it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from livepeer.runner import AudioFrame
from livepeer.runner.testing import run_live

SPEECH = Path(__file__).parents[1] / "media/speech.flac"
SENTENCES = (
    "good morning everybody",
    "today we are going to talk about the weather",
    "it will be sunny in the north and it will rain in the south",
    "thank you for listening",
)
SPOKEN = ((0.5, 2.2), (2.8, 5.5), (6.2, 9.7), (10.6, 12.3))
"""Seconds at which each sentence begins and ends, to half a second or so."""


def word_error_rate(wanted: list[str], heard: list[str]) -> float:
    """Words changed, missed and added, over the words there are."""
    row = list(range(len(heard) + 1))
    for i, one in enumerate(wanted, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            change = previous + (one != other)
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, change)
    return row[-1] / len(wanted)


async def test_it_writes_down_what_is_said_sentence_by_sentence(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveTranscribe, SPEECH)
    assert result.errors == []
    assert len(result.data) == len(SENTENCES)
    heard = " ".join(record["text"] for record in result.data).split()
    rate = word_error_rate(" ".join(SENTENCES).split(), heard)
    print(f"word error rate {rate:.2f}")
    assert rate <= 0.15


async def test_a_sentence_has_the_times_at_which_it_was_said(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveTranscribe, SPEECH)
    for record, (start, end) in zip(result.data, SPOKEN, strict=True):
        assert record["start"] == pytest.approx(start, abs=0.7)
        assert record["end"] == pytest.approx(end, abs=0.7)


async def test_silence_has_no_words(pipeline: ModuleType) -> None:
    silence = [
        AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), rate=48_000, time=number / 50)
        for number in range(150)
    ]
    result = await run_live(pipeline.LiveTranscribe, silence)
    assert result.errors == []
    assert result.data == []
