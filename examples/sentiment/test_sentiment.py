"""The production lane runs here on a small model of the same file layout: no hub is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from livepeer.runner.testing import CallFailed, PipelineClient, client

POSITIVE = (
    "I love this, it is wonderful.",
    "What a great and beautiful day!",
    "An excellent film, I enjoyed it.",
    "The staff were friendly and helpful.",
)
NEGATIVE = (
    "This is horrible, I hate it.",
    "A terrible and boring waste of money.",
    "The worst service, rude and unhappy people.",
    "It broke at once. I am angry and disappointed.",
)


def build_classifier(folder: Path) -> None:
    """A bag-of-words net of VADER's weights and its tokenizer, laid out as the hub has them."""
    lexicon = {
        word: weight
        for word, weight in SentimentIntensityAnalyzer().lexicon.items()
        if word.isalpha()
    }
    words = ["[PAD]", "[UNK]", *lexicon]
    tokenizer = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    (folder / "onnx").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))

    weights = np.array([[-w, w] for w in [0.0, 0.0, *lexicon.values()]], np.float32)
    shape = ["batch", "length"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["weights", "input_ids"], ["of_words"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["masks"]),
            helper.make_node("Mul", ["of_words", "masks"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "axis"], ["logits"], keepdims=0),
        ],
        "bag_of_words",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "axis"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "onnx/model_quantized.onnx")


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_classifier(folder / "sentiment")
    return folder


@pytest.fixture
def sentiment(
    pipeline: ModuleType, models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PipelineClient]:
    monkeypatch.setenv("LIVEPEER_MODEL_DIR", str(models_folder))
    with client(pipeline.Sentiment) as served:
        yield served


def accuracy(served: PipelineClient) -> float:
    said = [served.predict(text=text)["label"] for text in POSITIVE + NEGATIVE]
    wanted = ["positive"] * len(POSITIVE) + ["negative"] * len(NEGATIVE)
    return sum(a == b for a, b in zip(said, wanted, strict=True)) / len(wanted)


def test_the_onnx_lane_tells_clear_sentences_apart(sentiment: PipelineClient) -> None:
    assert accuracy(sentiment) == 1


def test_a_stronger_word_gives_a_higher_score(sentiment: PipelineClient) -> None:
    fine, love = (sentiment.predict(text=text) for text in ("it is fine", "I love it"))
    assert 0.5 < fine["score"] < love["score"] < 1


def test_many_callers_at_once_each_get_their_own_answer(sentiment: PipelineClient) -> None:
    start = threading.Barrier(4)

    def ask(text: str) -> dict[str, Any]:
        start.wait(10)
        answer: dict[str, Any] = sentiment.predict(text=text)
        return answer

    texts = [POSITIVE[0], NEGATIVE[0], POSITIVE[1], NEGATIVE[1]]
    with ThreadPoolExecutor(len(texts)) as callers:
        for _ in range(5):
            labels = [answer["label"] for answer in callers.map(ask, texts)]
            assert labels == ["positive", "negative"] * 2


def test_an_empty_text_is_refused_by_name(sentiment: PipelineClient) -> None:
    with pytest.raises(CallFailed) as refused:
        sentiment.predict(text="")
    assert refused.value.status == 422
    assert refused.value.fields[0]["name"] == "text"


def test_without_its_model_it_says_which_file_is_missing(
    pipeline: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEPEER_MODEL_DIR", str(tmp_path))
    with (
        pytest.raises(RuntimeError, match=r"sentiment/onnx/model_quantized\.onnx"),
        client(pipeline.Sentiment),
    ):
        pass


def test_the_offline_lane_has_the_same_interface_and_is_right(
    example: Any, sentiment: PipelineClient
) -> None:
    offline = example.load("offline")
    with client(offline.Sentiment) as served:
        assert accuracy(served) == 1
        schemas = [one.post("/schema").json() for one in (served, sentiment)]
        assert schemas[0]["input"] == schemas[1]["input"]
        assert schemas[0]["output"] == schemas[1]["output"]
