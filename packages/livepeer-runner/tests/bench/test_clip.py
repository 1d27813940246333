"""A stream is fed with a file of its user's: its pictures and its sound, again and again."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from livepeer.runner import AudioFrame, LivePipeline
from livepeer.runner.bench.live import marks
from livepeer.runner.bench.live.camera import Camera
from livepeer.runner.bench.live.clip import PAUSE_SECONDS, CameraClip, UnreadableClip
from livepeer.runner.bench.live.shot import Shot
from livepeer.runner.bench.plan import BenchError
from livepeer.runner.testing import bench
from livepeer.trickle.media import VideoFrame, encode

SHOT = Shot(320, 180, 15)
SECONDS = 2


class Loudness(LivePipeline):
    """Half a second of sound is a record, where there is sound in it."""

    passthrough = False

    def on_stream_start(self, params: dict[str, object]) -> None:
        self.end = Fraction(0)

    def process_audio(self, frame: AudioFrame) -> None:
        level = float(np.abs(frame.samples).mean())
        if level > 0.05 and frame.time >= self.end:
            self.end = frame.time + Fraction(1, 2)
            self.emit_data({"time": float(frame.time), "level": level})


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 10 pictures a second, each brighter, at another size; a tone at 16 kHz."""
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    tone = (0.5 * np.sin(np.arange(16_000 * SECONDS) * 0.17)).astype(np.float32)
    frames: list[VideoFrame | AudioFrame] = []
    for index in range(10 * SECONDS):
        picture = np.full((240, 426, 3), 40 + 8 * index, np.uint8)
        frames.append(VideoFrame.from_ndarray(picture, time=Fraction(index, 10)))
        part = tone[1600 * index : 1600 * (index + 1)]
        frames.append(AudioFrame.from_ndarray(part[None], rate=16_000, time=Fraction(index, 10)))
    path.write_bytes(encode(frames))
    return path


def test_its_pictures_have_the_shots_size_and_rate_and_a_number(clip: Path) -> None:
    camera = Camera(SHOT, CameraClip.of(clip, SHOT))
    levels = []
    for index in range(0, 60, 3):
        planes = camera.picture(index).planes
        assert marks.read(planes[0]) == index
        assert planes[0].shape == (180, 320)
        levels.append(int(planes[0][150:].mean()))
    # Two seconds grow brighter, and then they come again.
    assert levels[:9] == sorted(levels[:9]) and levels[8] > levels[0] + 80
    assert np.allclose(levels[10:19], levels[:9], atol=6)


def test_its_sound_comes_again_after_a_pause_and_has_no_clicks(clip: Path) -> None:
    camera = Camera(SHOT, CameraClip.of(clip, SHOT))
    assert not camera.shot.clicks and str(camera.shot) == "320x180@15 of in.mp4"
    loud = [float(np.abs(camera.sound(piece).samples).mean()) for piece in range(50 * 6)]
    whole = round(50 * (SECONDS + PAUSE_SECONDS))
    assert min(loud[10:90]) > 0.2 and max(loud[105:140]) < 0.01
    assert min(loud[whole + 10 : whole + 90]) > 0.2


def test_a_pipeline_that_answers_to_sound_is_measured_by_it(clip: Path) -> None:
    report = bench(Loudness, input=clip, duration=2, size=(320, 180))
    assert report.live is not None and report.live.picture == "sound of in.mp4"
    (step,) = report.live.steps
    assert step.only_records and step.records is not None and step.records.received > 0


def test_what_cannot_be_fed_is_told(tmp_path: Path) -> None:
    (no_clip := tmp_path / "no.mp4").write_bytes(b"no clip" * 999)
    for path in (no_clip, tmp_path / "missing.mp4"):
        with pytest.raises(UnreadableClip, match=path.name):
            CameraClip.of(path, SHOT)
    with pytest.raises(BenchError, match=r"cannot be fed.*no\.mp4"):
        bench(Loudness, input=no_clip)
    with pytest.raises(BenchError, match="-p NAME=VALUE"):
        bench(Loudness, input={"a": 1})
