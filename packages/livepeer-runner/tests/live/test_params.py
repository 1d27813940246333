"""What becomes of parameters: first ones, updates, and hints that say what they are."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import (
    AliasChoices,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from livepeer.runner import LivePipeline
from livepeer.runner.errors import InvalidInput, PipelineError
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.live.params import LARGEST_SHOWN, ParamsType

if TYPE_CHECKING:
    from decimal import Decimal


class Edge(BaseModel):
    width: int = 1
    color: str = "red"


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: int = 1


class Square(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["square"] = "square"
    side: int = 1


NUMBERS = itertools.count()


class Drawing(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    low: int = 0
    high: int = 10
    edge: Edge = Edge()
    maybe: Edge | None = None
    shape: Annotated[Circle | Square, Field(discriminator="kind")] = Circle()
    brush: str = Field("round", alias="brushShape")
    size: int = Field(1, validation_alias=AliasChoices("size", "diameter"))
    mask: Base64Bytes = b""
    seed: int = Field(default_factory=lambda: next(NUMBERS))
    tags: dict[str, int] = {}

    @model_validator(mode="after")
    def in_order(self) -> Drawing:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self

    @field_validator("size")
    @classmethod
    def explodes(cls, size: int) -> int:
        return size // (size - 13)


class Draws(LivePipeline):
    params: Drawing


@pytest.fixture
def parameters() -> ParamsType:
    return ParamsType.of(Draws)


def test_an_update_changes_only_what_it_names(parameters: ParamsType) -> None:
    first = parameters.first({"low": 3, "edge": {"width": 4}})
    second = parameters.merged(first, {"edge": {"color": "blue"}})
    assert second.value.low == 3
    assert second.value.edge == Edge(width=4, color="blue")
    assert first.value.edge == Edge(width=4)


def test_a_model_that_was_none_is_made_and_then_merged(parameters: ParamsType) -> None:
    first = parameters.first(None)
    second = parameters.merged(first, {"maybe": {"width": 5}})
    third = parameters.merged(second, {"maybe": {"color": "green"}})
    assert third.value.maybe == Edge(width=5, color="green")
    assert parameters.merged(third, {"maybe": None}).value.maybe is None


def test_of_several_models_the_update_is_one_of_its_own(parameters: ParamsType) -> None:
    first = parameters.first({"shape": {"kind": "circle", "radius": 4}})
    second = parameters.merged(first, {"shape": {"kind": "square", "side": 2}})
    assert second.value.shape == Square(side=2)


def test_a_plain_mapping_is_replaced(parameters: ParamsType) -> None:
    first = parameters.first({"tags": {"a": 1}})
    assert parameters.merged(first, {"tags": {"b": 2}}).value.tags == {"b": 2}


@pytest.mark.parametrize(("before", "after"), [("brushShape", "brush"), ("brush", "brushShape")])
def test_an_alias_and_a_name_are_the_same_field(
    parameters: ParamsType, before: str, after: str
) -> None:
    first = parameters.first({before: "flat"})
    assert first.value.brush == "flat"
    assert parameters.merged(first, {after: "fan"}).value.brush == "fan"
    assert parameters.merged(first, {"low": 1}).value.brush == "flat"


def test_each_of_several_aliases_replaces_the_others(parameters: ParamsType) -> None:
    first = parameters.first({"diameter": 26})
    assert first.value.size == 2
    assert parameters.merged(first, {"size": 14}).value.size == 14


def test_what_a_validator_made_of_a_value_is_not_validated_again(parameters: ParamsType) -> None:
    first = parameters.first({"mask": "aGVsbG8=", "size": 26})
    second = parameters.merged(first, {"low": 1})
    assert second.value.mask == b"hello"
    assert second.value.size == 2


def test_a_value_that_was_drawn_stays(parameters: ParamsType) -> None:
    first = parameters.first(None)
    assert parameters.merged(first, {"low": 2}).value.seed == first.value.seed


def test_a_validator_across_fields_sees_the_merged_values(parameters: ParamsType) -> None:
    first = parameters.first({"high": 5})
    with pytest.raises(InvalidInput, match="low is above high"):
        parameters.merged(first, {"low": 6})
    assert parameters.merged(first, {"low": 6, "high": 7}).value.high == 7


def test_a_validator_that_breaks_is_an_error_of_the_pipeline(parameters: ParamsType) -> None:
    with pytest.raises(PipelineError, match="a validator raised ZeroDivisionError"):
        parameters.first({"size": 13})


@pytest.mark.parametrize("bad", [[1], "x", 3, True])
def test_an_update_that_is_no_object_is_refused(parameters: ParamsType, bad: Any) -> None:
    with pytest.raises(InvalidInput, match="JSON object"):
        parameters.merged(parameters.first(None), bad)


def test_the_whole_start_body_form_is_taken_as_well(parameters: ParamsType) -> None:
    first = parameters.first(None)
    assert parameters.merged(first, {"params": {"low": 4}}).value.low == 4


def test_an_object_written_as_text_is_taken_too(parameters: ParamsType) -> None:
    assert parameters.first('{"low": 4}').value.low == 4


def test_a_field_called_params_is_a_field() -> None:
    class Odd(BaseModel):
        params: Edge = Edge()

    parameters = ParamsType(Odd)
    assert parameters.first({"params": {"width": 3}}).value.params.width == 3


class Untyped(LivePipeline):
    pass


def test_without_a_hint_parameters_are_a_dict_that_grows() -> None:
    parameters = ParamsType.of(Untyped)
    first = parameters.first({"a": 1})
    assert parameters.merged(first, {"b": 2}).value == {"a": 1, "b": 2}
    assert first.value == {"a": 1}


def test_what_json_has_no_form_for_is_shown_as_text() -> None:
    parameters = ParamsType.of(Untyped)
    dumped = parameters.dump(parameters.first({"b": {1}, "c": b"x"}))
    assert dumped == {"b": "{1}", "c": "b'x'"}


class Box(BaseModel):
    box: dict[str, list[float]] = {}


class Boxed(LivePipeline):
    params: Box


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("hint", ["typed", "untyped"])
def test_a_number_that_json_has_not_is_refused_by_its_key(number: float, hint: str) -> None:
    parameters = ParamsType.of(Boxed if hint == "typed" else Untyped)
    first = parameters.first({})
    for refused in (
        lambda given: parameters.first(given),
        lambda given: parameters.merged(first, given),
    ):
        with pytest.raises(InvalidInput) as caught:
            refused({"box": {"x": [1.0, number]}})
        assert [field.name for field in caught.value.fields] == ["box.x.1"]


def test_parameters_too_large_for_an_event_are_not_shown_but_hashed() -> None:
    parameters = ParamsType.of(Untyped)
    shown, digest = parameters.shown(parameters.first({"image": "x" * LARGEST_SHOWN}))
    assert shown is None
    assert len(digest) == 16


class Inherits(Draws):
    pass


class Narrows(Draws):
    params: Edge


class OtherHintsAreForTypeCheckers(LivePipeline):
    params: Edge
    price: Decimal


class InsideOfIt(LivePipeline):
    class Own(BaseModel):
        n: int = 1

    params: Own


class Ahead(LivePipeline):
    params: Later


class Later(BaseModel):
    n: int = 2


def test_hints_are_found_wherever_they_are() -> None:
    assert ParamsType.of(Inherits).model is Drawing
    assert ParamsType.of(Narrows).model is Edge
    assert ParamsType.of(OtherHintsAreForTypeCheckers).model is Edge
    assert ParamsType.of(InsideOfIt).model is InsideOfIt.Own
    assert ParamsType.of(Ahead).model is Later


class Missing(LivePipeline):
    params: Decimal


class NoModel(LivePipeline):
    params: int


def test_a_hint_that_is_no_model_is_refused_with_what_to_write() -> None:
    with pytest.raises(SignatureError, match="write a pydantic model, or dict"):
        ParamsType.of(NoModel)
    with pytest.raises(SignatureError, match="at the top of its module"):
        ParamsType.of(Missing)
