"""Numbers in pictures and clicks in sounds are found again, and nothing else is taken for them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from livepeer.runner.bench.live import marks
from livepeer.runner.bench.live.camera import Camera, clicked
from livepeer.runner.bench.live.shot import Shot

NUMBERS = (0, 0x5555, 40_000, 65_535)


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera(Shot(640, 360, 30))


def scaled(luma: Any, height: int, width: int) -> Any:
    """By area, as a model's resizing does."""
    y = np.linspace(0, luma.shape[0], height, endpoint=False).astype(int)
    x = np.linspace(0, luma.shape[1], width, endpoint=False).astype(int)
    rows = np.add.reduceat(luma.astype(float), y, axis=0)
    whole = np.add.reduceat(rows, x, axis=1)
    area = np.outer(np.diff([*y, luma.shape[0]]), np.diff([*x, luma.shape[1]]))
    return whole / area


CHANGES = {
    "as it is": lambda luma: luma,
    "darker": lambda luma: luma * 0.3,
    "pale": lambda luma: 120 + luma * 0.15,
    "inverted": lambda luma: 255 - luma,
    "noisy": lambda luma: luma + np.random.default_rng(1).normal(0, 25, luma.shape),
    "smaller": lambda luma: scaled(luma, 180, 320),
    "another shape": lambda luma: scaled(luma, 256, 256),
    "larger": lambda luma: np.repeat(np.repeat(luma, 2, axis=0), 2, axis=1),
    "blurred": lambda luma: scaled(np.repeat(scaled(luma, 90, 160), 4, axis=0), 360, 160),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_number_survives_what_pipelines_do_to_pictures(camera: Camera, change: Any) -> None:
    for number in NUMBERS:
        luma = camera.picture(number).planes[0]
        assert marks.read(change(luma.astype(float))) == number


def test_a_number_survives_tints_and_a_coarse_encoder(camera: Camera) -> None:
    import av

    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 640, 360, "yuv420p"
    encoder.time_base, encoder.bit_rate = Fraction(1, 30), 150_000
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    decoder: Any = av.CodecContext.create("h264", "r")
    seen = []
    for number in range(100, 115):
        frame = camera.picture(number)
        picture = frame.to_ndarray()  # through RGB, as most models have it
        picture[..., 1] //= 2
        packets = encoder.encode(frame.replace(picture).to_av("yuv420p"))
        seen += [one for packet in packets for one in decoder.decode(packet)]
    seen += decoder.decode(None)
    assert [marks.read(one.to_ndarray()[:360]) for one in seen] == list(range(100, 115))


def test_a_picture_without_a_number_has_none() -> None:
    """Chance alone would find one in 256 pictures of noise whose rows have a contrast."""
    draw = np.random.default_rng(3)
    noise = [draw.integers(0, 256, (360, 640)) for _ in range(5)]
    blocks = [np.kron(draw.integers(0, 256, (18, 20)), np.ones((20, 32))) for _ in range(100)]
    flat = [np.full((360, 640), level) for level in (0, 16, 128, 255)]
    assert not [each for each in (*noise, *flat) if marks.read(each) is not None]
    assert sum(marks.read(each) is not None for each in blocks) < 5
    assert marks.read(np.zeros((20, 20))) is None


def test_clicks_are_found_where_they_are_and_noise_is_none(camera: Camera) -> None:
    def heard(gain: float, noise: float) -> list[tuple[float, float]]:
        draw, found = np.random.default_rng(5), []
        for piece in range(200):
            frame = camera.sound(piece)
            samples = frame.samples * gain + draw.normal(0, noise, frame.samples.shape)
            for place, each in enumerate(marks.energy(samples, frame.rate)):
                found.append((float(frame.time) + place * marks.BIN, each))
        return found

    for gain, noise in ((1.0, 0.0), (0.1, 0.001)):
        found = marks.clicks(heard(gain, noise))
        assert found == pytest.approx([clicked(second) for second in range(4)], abs=0.001)
    assert marks.clicks(heard(0.0, 0.3)) == [] == marks.clicks([])


def test_a_camera_has_the_rates_of_television() -> None:
    assert Shot(fps=29.97).rate == Fraction(30000, 1001)
    assert Shot(fps=30).rate == 30 and Shot(fps=23.976).rate == Fraction(24000, 1001)
    with pytest.raises(ValueError, match="numbers can be read"):
        Shot(64, 64)
