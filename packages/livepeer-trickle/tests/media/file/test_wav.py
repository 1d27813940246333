"""`encode` into a WAV file, read back by the standard library and by PyAV."""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from livepeer.trickle.media import AudioFrame, VideoFrame, encode


def tone(start: int, count: int, *, rate: int = 48000, channels: int = 2) -> AudioFrame:
    angles = np.arange(start, start + count) * (2 * np.pi * 440 / rate)
    samples = np.stack([np.sin(angles) * 0.5 * (n + 1) / channels for n in range(channels)])
    return AudioFrame.from_ndarray(samples, rate=rate, time=Fraction(start, rate))


def read(data: bytes) -> tuple[int, np.ndarray]:
    with wave.open(io.BytesIO(data)) as file:
        assert file.getsampwidth() == 2
        whole = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), whole.reshape(-1, file.getnchannels()).T / 32767


def test_its_samples_are_those_of_the_frames(tmp_path: Path) -> None:
    frames = [tone(0, 1000), tone(1000, 337)]
    encode(frames, tmp_path / "out.wav")
    data = (tmp_path / "out.wav").read_bytes()
    assert data == encode(frames, format="wav")
    rate, samples = read(data)
    wanted = np.concatenate([frame.samples for frame in frames], axis=1)
    assert (rate, samples.shape) == (48000, (2, 1337))
    assert np.abs(samples - wanted).max() <= 0.5 / 32767 + 1e-6
    with av.open(str(tmp_path / "out.wav")) as file:
        decoded = np.concatenate([each.to_ndarray() for each in file.decode(audio=0)], axis=1)
    assert np.array_equal(decoded.reshape(-1, 2).T, np.rint(samples * 32767).astype("<i2"))


def test_what_is_too_loud_is_clipped_and_does_not_wrap() -> None:
    frame = tone(0, 480, channels=1)
    _, samples = read(encode([frame.replace(frame.samples * 9)], format="wav") or b"")
    assert samples.max() == pytest.approx(1, abs=1e-4) and samples.min() < -0.999
    assert np.abs(np.diff(samples)).max() < 0.6


def test_what_is_no_number_is_silence() -> None:
    frame = tone(0, 480, channels=1)
    frame.samples[0, 100] = np.nan
    _, samples = read(encode([frame], format="wav") or b"")
    assert samples[0, 100] == 0 and samples[0, 99] == pytest.approx(frame.samples[0, 99], abs=1e-4)


def test_pictures_are_left_out_and_another_rate_is_resampled() -> None:
    picture = VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), time=0)
    frames = [picture, tone(0, 4800), tone(0, 2205, rate=22050, channels=1)]
    rate, samples = read(encode(frames, format="wav") or b"")
    assert (rate, samples.shape) == (48000, (2, 9600))


def test_without_sound_there_is_no_file(tmp_path: Path) -> None:
    picture = VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), time=0)
    with pytest.raises(ValueError, match="no sound was given"):
        encode([picture], tmp_path / "out.wav")
    assert list(tmp_path.iterdir()) == []
