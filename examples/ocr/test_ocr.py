from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from livepeer.runner import Image as ImageFile
from livepeer.runner.testing import CallFailed, PipelineClient, client

PAGE = Path(__file__).parents[1] / "media/page.png"
LINES = ("Invoice 2026-0417", "Total: 1,250.00 EUR", "Thank you very much")


@pytest.fixture(scope="module")
def ocr(pipeline: ModuleType) -> Iterator[PipelineClient]:
    with client(pipeline.Ocr) as served:
        yield served


def read(served: PipelineClient, picture: Image.Image | Path, **more: Any) -> list[dict[str, Any]]:
    if isinstance(picture, Path):
        picture = Image.open(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    found: list[dict[str, Any]] = served.predict(
        image=ImageFile(buffer.getvalue()).data_uri(), **more
    )
    return found


def rendered() -> Image.Image:
    picture = Image.new("RGB", (640, 240), "white")
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(LINES):
        draw.text((40, 30 + 65 * row), line, "black", ImageFont.load_default(32))
    return picture


def test_it_reads_a_rendered_text_word_by_word_in_order(ocr: PipelineClient) -> None:
    found = [line["text"] for line in read(ocr, rendered())]
    assert [text.replace(" ", "") for text in found] == [line.replace(" ", "") for line in LINES]


def test_a_box_lies_where_its_line_is(ocr: PipelineClient) -> None:
    for row, line in enumerate(read(ocr, rendered())):
        xs, ys = zip(*line["box"], strict=True)
        assert 20 <= min(xs) <= 45
        assert 10 + 65 * row <= min(ys) < max(ys) <= 90 + 65 * row


def test_it_reads_a_scanned_page_with_a_shadow(ocr: PipelineClient) -> None:
    text = " ".join(line["text"] for line in read(ocr, PAGE)).lower()
    for words in ("region-based segmentation", "markers", "background", "histogram"):
        assert words in text


def test_a_picture_without_text_has_no_lines(ocr: PipelineClient) -> None:
    assert read(ocr, Image.new("RGB", (320, 200), "white")) == []


def test_lines_less_sure_than_asked_for_are_left_out(ocr: PipelineClient) -> None:
    every = read(ocr, PAGE, min_score=0)
    limit = sorted(line["score"] for line in every)[len(every) // 2]
    sure = read(ocr, PAGE, min_score=limit)
    assert sure == [line for line in every if line["score"] >= limit]
    assert len(sure) < len(every)


def test_what_is_no_picture_is_refused(ocr: PipelineClient) -> None:
    with pytest.raises(CallFailed) as refused:
        ocr.predict(image="data:image/png;base64,aGVsbG8=")
    assert refused.value.status == 422
