from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from livepeer.runner.testing import PipelineClient, client


@pytest.fixture(scope="module")
def embeddings(pipeline: ModuleType) -> Iterator[PipelineClient]:
    with client(pipeline.Embeddings) as served:
        yield served


def vector(served: PipelineClient, text: str) -> np.ndarray:
    return np.array(served.predict(text=text))


def test_a_vector_has_256_numbers_and_length_one(embeddings: PipelineClient) -> None:
    found = vector(embeddings, "a cat sits on the mat")
    assert found.shape == (256,)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("a cat sits on the mat", "a kitten is sitting on a rug", "the stock market fell today"),
        ("how do I cook rice?", "a recipe for boiling rice", "the train is late again"),
        ("she plays the violin", "a musician with her instrument", "concrete and steel beams"),
    ],
)
def test_texts_of_like_meaning_are_nearer(
    embeddings: PipelineClient, text: str, near: str, far: str
) -> None:
    this, like, unlike = (vector(embeddings, one) for one in (text, near, far))
    assert this @ like > this @ unlike + 0.2


def test_calls_that_come_together_end_in_few_calls_of_the_model(
    pipeline: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    predict_batch = pipeline.Embeddings.predict_batch

    @functools.wraps(predict_batch)
    def counted(self: Any, inputs: list[Any]) -> Any:
        sizes.append(len(inputs))
        return predict_batch(self, inputs)

    monkeypatch.setattr(pipeline.Embeddings, "predict_batch", counted)
    texts = [f"sentence number {number}" for number in range(64)]
    with client(pipeline.Embeddings) as served:
        alone = [vector(served, text) for text in texts[:3]]
        sizes.clear()
        with ThreadPoolExecutor(16) as callers:
            together = list(callers.map(lambda text: vector(served, text), texts))
    assert sum(sizes) == 64
    assert len(sizes) <= 32
    for one, other in zip(alone, together, strict=False):
        np.testing.assert_allclose(one, other, atol=1e-5)
