"""Measured on a photograph that the net was not trained on, beside what any library does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from livepeer.runner import Image as ImageFile
from livepeer.runner.testing import PipelineClient, client

PHOTOGRAPH = Path(__file__).parents[1] / "media/astronaut.jpg"
BORDER = 8
"""Pixels at the edges that are left out, where each method guesses in its own way."""


@pytest.fixture(scope="module")
def upscale(pipeline: ModuleType) -> Iterator[PipelineClient]:
    with client(pipeline.ImageUpscale) as served:
        yield served


def enlarge(served: PipelineClient, picture: Image.Image) -> Image.Image:
    encoded = ImageFile.from_pil(picture)
    return Image.open(io.BytesIO(served.predict(image=encoded.data_uri())))


def psnr(one: Image.Image, other: Image.Image) -> float:
    first, second = (
        np.asarray(each, float)[BORDER:-BORDER, BORDER:-BORDER] for each in (one, other)
    )
    return float(10 * np.log10(255**2 / ((first - second) ** 2).mean()))


@pytest.mark.parametrize("kernel", ["BICUBIC", "LANCZOS", "BOX", "HAMMING"])
def test_it_is_nearer_to_the_original_than_bicubic_and_lanczos(
    upscale: PipelineClient, kernel: str
) -> None:
    large = Image.open(PHOTOGRAPH).convert("RGB")
    small = large.resize((large.width // 2, large.height // 2), Image.Resampling[kernel])
    ours = psnr(enlarge(upscale, small), large)
    bicubic = psnr(small.resize(large.size, Image.Resampling.BICUBIC), large)
    lanczos = psnr(small.resize(large.size, Image.Resampling.LANCZOS), large)
    print(f"{kernel}: net {ours:.2f} dB, Lanczos {lanczos:.2f} dB, bicubic {bicubic:.2f} dB")
    assert ours > lanczos + 1
    assert ours > bicubic + 1.5


@pytest.mark.parametrize("size", [(1, 1), (17, 5), (64, 33)])
def test_any_size_is_doubled_exactly(upscale: PipelineClient, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (200, 100, 50))
    enlarged = enlarge(upscale, picture)
    assert enlarged.size == (2 * size[0], 2 * size[1])


def test_a_plain_colour_stays_that_colour(upscale: PipelineClient) -> None:
    enlarged = np.asarray(enlarge(upscale, Image.new("RGB", (40, 40), (200, 100, 50))), int)
    inside = enlarged[BORDER:-BORDER, BORDER:-BORDER]
    assert np.abs(inside - (200, 100, 50)).max() <= 8


def test_the_committed_net_is_what_the_script_would_write(pipeline: ModuleType) -> None:
    from onnxruntime import InferenceSession

    net = InferenceSession(Path(pipeline.__file__ or "").with_name("upscale.onnx"))
    assert [one.name for one in net.get_inputs()] == ["picture"]
    assert net.get_outputs()[0].shape[1] == 3
