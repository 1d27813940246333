"""`livepeer live` with pipelines of sound alone, with input and without."""

from __future__ import annotations

import asyncio
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livepeer.runner import AudioFrame
from livepeer.trickle.media import decode, encode

from .live import LIMIT, with_sound


async def livepeer(*arguments: object) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from livepeer.trickle.cli import main; main()",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT)
    return process.returncode, out.decode(), err.decode()


def wav_of(path: Path) -> tuple[int, np.ndarray[Any, Any]]:
    with wave.open(str(path), "rb") as file:
        assert file.getsampwidth() == 2
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), samples.reshape(-1, file.getnchannels())


@pytest.mark.parametrize("ending", [".wav", pytest.param(".m4a", marks=pytest.mark.slow)])
async def test_sound_alone_is_sent_and_kept_as_the_file_says(
    network: Callable[..., Any], tmp_path: Path, ending: str
) -> None:
    orchestrator = await network()
    source, target = tmp_path / "in.m4a", tmp_path / f"out{ending}"
    sound = (frame for frame in with_sound(45) if isinstance(frame, AudioFrame))
    encode(sound, source, format="mp4")
    code, _, err = await livepeer(
        *("live", "quieter", "-i", source, "-o", target, "--fast"),
        *("--orch", orchestrator.url, "--tls", "insecure"),
    )
    assert code == 0 and "s of sound, the first after" in err and "nothing came" not in err, err
    if ending == ".wav":
        rate, samples = wav_of(target)
        assert rate == 48_000 and abs(len(samples) / rate - 1.5) < 0.1
        assert 0.12 < np.abs(samples).max() / 32768 < 0.28  # half of 0.4
    else:
        heard = sum(frame.samples.shape[1] for frame in decode(target))
        assert abs(heard / 48_000 - 1.5) < 0.1


@pytest.mark.slow
async def test_what_a_pipeline_makes_by_itself_is_kept_to_its_end_and_its_events_are_shown(
    network: Callable[..., Any], tmp_path: Path
) -> None:
    orchestrator = await network()
    target = tmp_path / "out.wav"
    code, out, err = await livepeer(
        *("live", "radio", "-o", target),
        *("--orch", orchestrator.url, "--tls", "insecure"),
    )
    assert code == 0 and "nothing came" not in err, err
    assert '{"type": "playing", "title": "A"}' in err and "status" not in err and out == ""
    rate, samples = wav_of(target)
    assert rate == 48_000 and abs(len(samples) / rate - 2) < 0.2


async def test_a_file_of_a_kind_that_is_not_written_is_refused_before_anything_is_started(
    network: Callable[..., Any], tmp_path: Path
) -> None:
    orchestrator = await network()
    target = tmp_path / "out.mp3"
    code, _, err = await livepeer("live", "radio", "-o", target, "--orch", orchestrator.url)
    assert code == 2 and "ends in none of" in err and ".wav" in err
    assert not orchestrator.trickle.channels
