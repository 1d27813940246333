"""Generated inputs: those that should fit do, those that should not do not, for any schema."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from livepeer.runner import Audio, File, Image, Pipeline
from livepeer.runner.doctor.examination import Examination
from livepeer.runner.doctor.fits import fits
from livepeer.runner.doctor.inputs import InputSchema

from . import faults
from .instances import open_target


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(9, ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(min_length=2, max_length=12)


class Rich(Pipeline):
    """An input of everything that an author may write."""

    def predict(
        self,
        size: Annotated[int, Field(ge=1, le=64, multiple_of=1)],
        share: Annotated[float, Field(gt=0, lt=1)],
        tags: Annotated[list[str], Field(min_length=1, max_length=3)],
        pet: Annotated[Cat | Dog, Field(discriminator="kind")],
        point: tuple[int, int],
        colour: Colour = Colour.RED,
        note: Annotated[str, Field(max_length=20)] | None = None,
        either: int | list[int] = 3,
        more: dict[str, int] = {},  # noqa: B006 — pydantic copies it
        code: Annotated[str, Field(pattern="^[a-z]{3}$")] = "abc",
        image: Image | None = None,
        audio: Audio | None = None,
        file: File | None = None,
        deep: list[Cat] = [],  # noqa: B006
        loud: bool = False,
    ) -> int:
        return size


async def test_our_own_validation_agrees_with_all_that_is_generated_of_a_rich_input() -> None:
    async with open_target(Rich, faults.none) as target:
        diagnosis = await Examination(only=["schema"]).of(target)
    assert diagnosis.problems == []
    assert diagnosis.count("passed") == 3


async def test_each_kind_of_field_is_changed() -> None:
    async with open_target(Rich, faults.none) as target:
        import aiohttp

        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{target.url}/schema") as answer,
        ):
            document = await answer.json()
    schema = InputSchema(document["input"])
    base = schema.first()
    assert base is not None
    validator = jsonschema.Draft202012Validator(document["input"])
    fit, misfit = schema.valid(base, 1000), schema.mutants(base, 1000)
    assert all(validator.is_valid(one) for one in (base, *fit))
    assert not any(validator.is_valid(one) for one in misfit)

    def changed(found: list[dict[str, Any]]) -> set[str]:
        return {key for one in found for key in {**one, **base} if one.get(key) != base.get(key)}

    names = set(document["input"]["properties"])
    assert changed(misfit) >= {"size", "share", "tags", "pet", "point"}
    assert changed(fit) >= names - {"share", "point"}


SCALARS = st.one_of(
    st.builds(
        lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span},
        st.integers(-50, 50),
        st.integers(0, 50),
    ),
    st.builds(
        lambda low, span: {"type": "string", "minLength": low, "maxLength": low + span},
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"enum": ["a", "b", 3]},
            {"const": 5},
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            {"type": "integer", "multipleOf": 7},
            {"type": ["string", "null"]},
            {"type": "string", "format": "date"},
            {"type": "string", "format": "file", "contentMediaType": "image/*"},
            {"$ref": "#/$defs/Inner"},
        ]
    ),
)


def _object(fields: dict[str, Any], required: int, open_: bool) -> dict[str, Any]:
    names = sorted(fields)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": fields,
        "required": names[: required % (len(names) + 1)],
    }
    return schema if open_ else {**schema, "additionalProperties": False}


NAMES = st.sampled_from(["a", "b", "c", "d"])
NODES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(
            lambda item, low: {
                "type": "array",
                "items": item,
                "minItems": low,
                "maxItems": low + 2,
            },
            inner,
            st.integers(0, 2),
        ),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            _object, st.dictionaries(NAMES, inner, max_size=3), st.integers(0, 3), st.booleans()
        ),
    ),
    max_leaves=6,
)
SCHEMAS = st.builds(
    lambda top: {**top, "$defs": {"Inner": {"type": "object", "properties": {}}}},
    st.builds(
        _object,
        st.dictionaries(NAMES, NODES, min_size=1, max_size=4),
        st.integers(0, 4),
        st.booleans(),
    ),
)


@given(schema=SCHEMAS)
def test_what_is_generated_is_what_it_is_said_to_be(schema: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    inputs = InputSchema(schema)
    base = inputs.first()
    if base is None:
        return
    assert validator.is_valid(base)
    assert all(validator.is_valid(one) for one in inputs.valid(base, 30))
    assert not any(validator.is_valid(one) for one in inputs.mutants(base, 30))
    assert len(inputs.valid(base, 5)) <= 5 and len(inputs.mutants(base, 5)) <= 5


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-60, 60) | st.text(max_size=4) | st.just(0.5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(schema=SCHEMAS, value=ANYTHING)
def test_fits_is_what_a_whole_validator_says_or_unknown(schema: dict[str, Any], value: Any) -> None:
    told = fits(schema, value, schema["$defs"])
    assert told in (None, jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/no"}}},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {
                "A": {
                    "type": "object",
                    "required": ["a"],
                    "properties": {"a": {"$ref": "#/$defs/A"}},
                }
            },
        },
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": "string", "format": "x"}},
        },
        {"type": "object", "required": "a", "properties": []},
        {"type": "object", "required": [["a"]], "properties": {"a": 3}},
        {"type": "object", "properties": {"a": {"anyOf": [7]}, "b": {"enum": 3}}},
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": "array", "minItems": 10**9}},
        },
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": "integer", "minimum": "x"}},
        },
        {"$defs": [], "type": "object"},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}] * 30}},
        },
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {
                "A": {
                    "type": "object",
                    "required": [f"f{i}" for i in range(50)],
                    "properties": {f"f{i}": {"$ref": "#/$defs/A"} for i in range(50)},
                }
            },
        },
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}},
    ],
)
def test_a_hostile_schema_ends_in_nothing_and_soon(schema: dict[str, Any]) -> None:
    inputs = InputSchema(schema)
    base = inputs.first()
    for one in (base, {}, {"a": 1}, {"a": [1]}):
        if one is not None:
            assert len(inputs.valid(one, 10)) <= 10
            assert len(inputs.mutants(one, 10)) <= 10


def test_inputs_are_spread_over_all_fields() -> None:
    schema = InputSchema(
        {
            "type": "object",
            "properties": {f"f{i}": {"type": "integer", "default": 1} for i in range(20)},
            "additionalProperties": False,
        }
    )
    base = {f"f{i}": 1 for i in range(20)}
    touched = {
        key
        for one in schema.mutants(base, 10)
        for key in one.keys() | base.keys()
        if one.get(key) != base.get(key)
    }
    assert len(touched) >= 8
