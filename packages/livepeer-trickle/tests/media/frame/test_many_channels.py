"""Sound of eight channels and more, which PyAV 18.1 miscounts: each victim is its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from livepeer.trickle.media import AudioFrame, AudioResampler, decode, encode

CASES = Path(__file__).parents[1] / "differential" / "cases"

DECODE = """
import sys
import numpy as np
from livepeer.trickle.media import StreamDecoder, decode
kind, path = sys.argv[1:]
if kind == "file":
    frames = list(decode(path))
else:
    decoder = StreamDecoder()
    frames = decoder.feed(open(path, "rb").read()) + decoder.flush()
sounds = [frame for frame in frames if frame.kind == "audio"]
assert len(sounds) > 10 and {sound.layout for sound in sounds} == {"7.1"}
samples = np.concatenate([sound.samples for sound in sounds], axis=1)
assert samples.shape == (8, sum(map(len, sounds))), samples.shape
assert np.isfinite(samples).all() and np.abs(samples).max() > 0.01
print("held", samples.shape)
"""


@pytest.mark.parametrize(
    ("kind", "name"), [("file", "sound71.m4a"), ("file", "live71.ts"), ("live", "live71.ts")]
)
def test_sound_of_eight_channels_comes_out_of_files_and_streams(kind: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DECODE, kind, str(CASES / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("held (8, ")


PLANAR = """
import av, numpy as np
from av.audio.resampler import AudioResampler
from livepeer.trickle.media import AudioFrame
for format in ("u8p", "s16p", "s32p", "s64p", "fltp", "dblp", "s64"):
    for layout in ("7.1", "octagonal", "9.1.6", "22.2", "9 channels"):
        channels = av.AudioLayout(layout).nb_channels
        wanted = np.linspace(-0.5, 0.5, channels * 64, dtype=np.float32).reshape(channels, 64)
        packed = av.AudioFrame.from_ndarray(wanted.T.reshape(1, -1).copy(), "flt", layout)
        packed.sample_rate = 48_000
        [sound] = AudioResampler(format=format).resample(packed)
        frame = AudioFrame(None, rate=48_000, layout=layout, source=sound)
        assert frame.samples.shape == wanted.shape
        assert np.abs(frame.samples - wanted).max() < 0.01, (format, layout)
        assert frame.to_av().to_ndarray().shape == (1, wanted.size)
print("held")
"""


def test_samples_of_any_format_and_layout_are_those_that_went_in() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLANAR], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


@pytest.mark.parametrize("channels", [3, 5, 6, 8, 10, 12, 14, 16, 24])
def test_sound_of_many_channels_is_encoded_as_stereo(channels: int) -> None:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)
    data = encode([AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), rate=48_000, time=0)])
    assert data is not None
    sounds = [frame for frame in decode(data) if isinstance(frame, AudioFrame)]
    assert {sound.layout for sound in sounds} == {"stereo"}
    heard = np.concatenate([sound.samples for sound in sounds], axis=1)
    assert 0.9 < heard.shape[1] / 48_000 < 1.1
    assert np.abs(heard[:, 4_800:43_200]).max() > 0.05


def test_a_layout_that_cannot_be_mixed_says_what_to_do() -> None:
    sound = AudioFrame.from_ndarray(np.zeros((9, 480)), rate=48_000, layout="9 channels", time=0)
    with pytest.raises(ValueError, match=r"'9 channels' cannot be brought to 'stereo'.*samples"):
        encode([sound])
    resampler = AudioResampler(rate=48_000, layout="stereo")
    with pytest.raises(ValueError, match="9 channels"):
        resampler.resample(sound)
    [mono] = resampler.resample(sound.replace(sound.samples[:1]))
    assert mono.layout == "stereo"


def test_one_frame_of_eight_channels_is_resampled() -> None:
    sound = AudioFrame.from_ndarray(np.full((8, 4_800), 0.25, np.float32), rate=48_000, time=0)
    half = sound.resample(rate=24_000)
    assert half.samples.shape == (8, 2_400)
    assert np.abs(half.samples[:, 100:2_300] - 0.25).max() < 0.01
