"""What leaves as JSON: numbers of numpy do, nan never, and an error names the key."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    computed_field,
    field_serializer,
)
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from livepeer.runner import Pipeline
from livepeer.runner.author.jsonable import UnfitValue, plain
from livepeer.runner.author.signature import PredictSignature

Serve = Any
NAN, INF = math.nan, math.inf


class Box(BaseModel):
    width: Annotated[float, Field(serialization_alias="w")] = 1.0
    more: Any = None


@dataclasses.dataclass
class Point:
    x: float


class Typed(TypedDict):
    x: float


class Computed(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def half(self) -> float:
        return NAN


class OwnSerializers(BaseModel):
    a: float
    b: Annotated[float, PlainSerializer(lambda value: None)]

    @field_serializer("a")
    def write(self, value: float) -> float | None:
        return None if math.isnan(value) else value


class AsText(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    x: float


def encoder(hint: Any) -> Callable[[Any], Any]:
    def predict() -> Any: ...

    predict.__annotations__ = {"return": hint}
    signature = PredictSignature.of(predict)
    return lambda value: json.loads(signature.encode(value).body)


WITH_NAN = [
    (Box, Box(width=NAN), "w"),
    (Box, Box(more={"deep": [0.5, INF]}), "more.deep.1"),
    (list[Box], [Box(), Box(width=-INF)], "1.w"),
    (Point, Point(NAN), "x"),
    (Typed, {"x": NAN}, "x"),
    (Computed, Computed(), "half"),
    (dict[str, float], {"fine": 1.0, "bad": NAN}, "bad"),
    (dict, {"bad": NAN}, "bad"),
    (list, [1, NAN], "1"),
    (Any, {"a": {"b": (1, INF)}}, "a.b.1"),
    (dict[str, Any], {"scores": np.array([1.0, NAN])}, "scores.1"),
    (dict[str, Any], {"score": np.float32(NAN)}, "score"),
    (dict[str, Any], {"score": Decimal("NaN")}, "score"),
]


@pytest.mark.parametrize(("hint", "value", "key"), WITH_NAN)
def test_a_number_that_json_has_not_is_refused_by_its_key(hint: Any, value: Any, key: str) -> None:
    with pytest.raises(ValueError) as caught:
        encoder(hint)(value)
    if isinstance(caught.value, UnfitValue):
        assert f"`{key}` is " in str(caught.value)
        assert "None or a number" in str(caught.value)
    else:
        assert key in str(caught.value)


def test_the_same_holds_for_one_event_of_a_stream() -> None:
    def predict() -> Iterator[dict[str, Any]]: ...

    with pytest.raises(UnfitValue, match="`x` is nan"):
        PredictSignature.of(predict).encode_event({"x": NAN})


@pytest.mark.parametrize("value", [NAN, INF, -INF])
async def test_the_caller_is_told_the_key_and_the_status_is_500(
    served: Serve, value: float
) -> None:
    class Scores(Pipeline):
        def predict(self) -> dict[str, Any]:
            return {"scores": [1.0, value]}

    class Score(Pipeline):
        async def predict(self) -> float:
            return value

    async with served(Scores) as s:
        response = await s.post()
        assert response.status_code == 500
        assert "`scores.1`" in response.json()["error"]["message"]
    async with served(Score) as s:
        response = await s.post()
        assert response.status_code == 500
        assert "finite number" in response.json()["error"]["message"]


def test_what_an_author_makes_of_nan_is_the_authors() -> None:
    assert encoder(OwnSerializers)(OwnSerializers(a=NAN, b=NAN)) == {"a": None, "b": None}
    assert encoder(AsText)(AsText(x=NAN)) == {"x": "NaN"}


def test_words_in_a_text_are_no_numbers() -> None:
    said = {"text": "null NaN Infinity", "nothing": None}
    assert encoder(dict[str, Any])(said) == said


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.longdouble(0.5), 0.5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(0.5), 0.5),
        (np.array(["a"]), ["a"]),
        (Fraction(1, 3), "1/3"),
        ({1, 2}, [1, 2]),
    ],
)
def test_values_of_numpy_leave_as_numbers_wherever_they_stand(value: Any, as_json: Any) -> None:
    inside = {"key": [value]}
    assert encoder(dict[str, Any])(inside) == {"key": [as_json]}
    assert encoder(Any)(inside) == {"key": [as_json]}
    assert encoder(Box)(Box(more=inside))["more"] == {"key": [as_json]}
    assert plain(inside) == {"key": [as_json]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (NAN, "is nan"),
        (-INF, "is infinite"),
        (np.array([1, NAN]), "is nan"),
        (object(), "is of type object"),
        (b"\xff", "is bytes that are no text: write a File"),
    ],
)
def test_a_record_that_is_no_json_is_refused_by_its_key(value: Any, words: str) -> None:
    with pytest.raises(UnfitValue) as caught:
        plain({"boxes": [{"x": value}]})
    assert str(caught.value).startswith("`boxes.0.x") and words in str(caught.value)


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UnfitValue):
        plain({"loop": loop})
    with pytest.raises(UnfitValue):
        encoder(dict[str, Any])({"loop": loop})


def test_a_tensor_in_place_of_a_number_is_told_what_to_write() -> None:
    class Tensor:
        def tolist(self) -> list[int]:
            return [1]

    from pydantic import ValidationError

    from livepeer.runner.batch.predictor import misfit

    with pytest.raises(ValidationError) as caught:
        encoder(dict[str, list[float]])({"box": Tensor()})
    assert "`box`" in misfit(caught.value) and "write `.tolist()`" in misfit(caught.value)


def test_a_result_that_does_not_fit_names_the_key_and_no_value() -> None:
    from pydantic import ValidationError

    from livepeer.runner.batch.predictor import misfit

    with pytest.raises(ValidationError) as caught:
        encoder(dict[str, list[int]])({"box": [1, "secret"]})
    assert "`box.1`" in misfit(caught.value)
    assert "secret" not in misfit(caught.value)
