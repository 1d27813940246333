"""A new version is refused where callers of the old one would stop working, in words."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, create_model

from livepeer.runner.packaging.evolution import compare, refusal


def schema(
    inputs: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
    version: str = "1.0.0",
    **more: Any,
) -> dict[str, Any]:
    return {
        "id": "x",
        "version": version,
        "type": "batch",
        "streaming": False,
        "input": create_model("In", **(inputs or {})).model_json_schema(),
        "output": create_model("Out", **(outputs or {})).model_json_schema(),
        **more,
    }


class Box(BaseModel):
    side: int


class Wide(BaseModel):
    side: int
    label: str


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": (str, ...)}, {}, "input.a is gone"),
        ({}, {"a": (str, ...)}, "input.a is new and has to be given"),
        ({"a": (str, "x")}, {"a": (str, ...)}, "input.a has to be given, and could be left out"),
        ({"a": (int, 1)}, {"a": (str, "")}, "input.a is string, was integer"),
        ({"a": (int | None, None)}, {"a": (int, 1)}, "input.a is integer, was integer or null"),
        (
            {"a": (int, Field(1, le=9))},
            {"a": (int, Field(1, le=5))},
            "input.a: maximum is 5, was 9",
        ),
        ({"a": (int, 1)}, {"a": (int, Field(1, ge=0))}, "input.a: minimum is 0, was nothing"),
        (
            {"a": (str, "")},
            {"a": (str, Field("", pattern="x"))},
            'input.a: pattern is "x", was nothing',
        ),
        ({"a": (Box, ...)}, {"a": (Wide, ...)}, "input.a.label is new and has to be given"),
        ({"a": (list[Box], ...)}, {"a": (list[Wide], ...)}, "input.a[].label is new and has"),
        ({"a": (Box | None, None)}, {"a": (Wide | None, None)}, "input.a.label is new and has"),
        ({"a": (dict[str, int], ...)}, {"a": (dict[str, str], ...)}, "input.a.* is string, was"),
        ({"a": (list, ...)}, {"a": (list[int], ...)}, "input.a[] is"),
        ({"a": (Literal["x", "y"], "x")}, {"a": (Literal["x"], "x")}, 'input.a has no "y" any'),
    ],
)
def test_what_callers_send_has_to_be_taken_as_before(
    old: dict[str, Any], new: dict[str, Any], told: str
) -> None:
    found = refusal(schema(old), schema(new))
    assert [str(change) for change in found if told in change.what], found
    assert not refusal(schema(old), schema(new, version="2.0.0"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": (str, ...)}, {"b": (str, ...)}, "output.a is gone"),
        ({"a": (str, ...)}, {"a": (str, "x")}, "output.a may be missing, and was always there"),
        ({"a": (int, ...)}, {"a": (int | None, ...)}, "output.a is integer or null, was integer"),
    ],
)
def test_what_callers_read_has_to_be_there_as_before(
    old: dict[str, Any], new: dict[str, Any], told: str
) -> None:
    found = refusal(schema(None, old), schema(None, new))
    assert told in [change.what for change in found]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (({"a": (int, 1)}, {}), ({"a": (int, 1), "b": (int, 1)}, {})),
        (({"a": (int, 1)}, {}), ({"a": (int | None, 1)}, {})),
        (({"a": (int, Field(1, le=5))}, {}), ({"a": (int, Field(1, le=9))}, {})),
        (({}, {}), ({}, {"a": (str, ...)})),
        (({}, {"a": (int | None, ...)}), ({}, {"a": (int, ...)})),
        (({"a": (int, 1)}, {}), ({"a": (float, 1)}, {})),
        (({"a": (Literal["x"], "x")}, {}), ({"a": (Literal["x", "y"], "x")}, {})),
        (({"a": (Wide, ...)}, {}), ({"a": (Wide | None, ...)}, {})),
    ],
)
def test_what_only_adds_needs_no_new_major_version(old: Any, new: Any) -> None:
    assert compare(schema(*old), schema(*new))
    assert not refusal(schema(*old), schema(*new))


def test_another_kind_of_pipeline_breaks_everybody() -> None:
    told = [change.what for change in refusal(schema(), schema(streaming=True, type="live"))]
    assert told == ['type is "live", was "batch"', "streaming is true, was false"]


def test_before_the_first_major_version_the_minor_one_counts() -> None:
    old = schema({"a": (str, ...)}, version="0.1.0")
    assert refusal(old, schema(version="0.1.9"))
    assert not refusal(old, schema(version="0.2.0"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "required", "enum", "items", "$ref", "anyOf", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, JSON)
def test_schemas_of_strangers_are_compared_without_an_accident(old: Any, new: Any) -> None:
    whole_old, whole_new = {"input": old, "version": old}, {"input": new, "version": "1"}
    for change in compare(whole_old, whole_new):
        assert change.what.isprintable()
    assert compare(whole_new, whole_new) == []


def test_a_schema_in_circles_is_compared() -> None:
    again = {"$ref": "#/$defs/N"}
    circle = {"$defs": {"N": {"properties": {name: {**again} for name in "abcdef"}}}, **again}
    other = {"$defs": {"N": {"properties": {name: {**again} for name in "abcdefg"}}}, **again}
    assert "input.g is new" in [one.what for one in compare({"input": circle}, {"input": other})]


TYPES = st.sampled_from(["integer", "number", "string", "null"])
PLAIN = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
        "minimum": st.integers(0, 2),
        "maximum": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "enum": st.lists(st.sampled_from([0, 1, "a", None]), min_size=1, max_size=3, unique=True),
        "const": st.sampled_from([1, "a"]),
    },
)
SCHEMAS = st.recursive(
    PLAIN,
    lambda inner: (
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)})
        | st.fixed_dictionaries({"type": st.just("array")}, optional={"items": inner})
        | st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
                "additionalProperties": st.just(False),  # as of every input
            },
            optional={"required": st.lists(st.sampled_from("ab"), max_size=2, unique=True)},
        )
    ),
    max_leaves=4,
)
_ONES: list[Any] = [None, 0, 1, 2, 3, 1.5, "", "a", "abc"]
VALUES: list[Any] = [
    *_ONES,
    *([], {}, [[]], [{}]),
    *([one] for one in _ONES),
    *({name: one} for name in "ab" for one in _ONES),
    *({"a": one, "b": other} for one in _ONES for other in _ONES),
]


@given(st.data())
def test_a_value_that_was_valid_stays_valid_where_nothing_breaks(data: st.DataObject) -> None:
    one, drawn = data.draw(SCHEMAS), data.draw(SCHEMAS)
    less = [{key: value for key, value in one.items() if key != name} for name in one]
    mixed = [{**one, name: value} for name, value in drawn.items()]
    nullable = {"anyOf": [one, {"type": "null"}]}
    other = data.draw(st.sampled_from([drawn, nullable, *less, *mixed]))
    for old, new in ((one, other), (other, one)):
        if any(change.breaking for change in compare({"input": old}, {"input": new})):
            continue
        before, after = Draft202012Validator(old), Draft202012Validator(new)
        lost = [value for value in VALUES if before.is_valid(value) and not after.is_valid(value)]
        assert not lost
