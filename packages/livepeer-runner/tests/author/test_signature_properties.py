"""Any JSON through any supported type round-trips, or is refused as the caller's error."""

import json
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Base64Bytes, BaseModel, Field, ValidationError

from livepeer.runner.author.files import File, Image
from livepeer.runner.author.signature import PredictSignature


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    name: str
    weight: float = 1.0
    tags: list[str] = []


class Node(BaseModel):
    leaf: Leaf | None = None
    children: "list[Node]" = []
    more: dict[str, Leaf | int] = {}


def signature_of(hint: Any) -> PredictSignature:
    def predict(value: Any) -> Any: ...

    predict.__annotations__ = {"value": hint, "return": hint}
    return PredictSignature.of(predict)


HINTS = [
    str,
    int,
    float,
    bool,
    Any,
    None,
    Color,
    Literal["a", 1, None],
    Leaf,
    Node,
    list[int],
    list[Any],
    dict[str, float],
    dict[str, Any],
    tuple[int, str],
    set[str],
    int | str | None,
    list[Leaf] | Leaf,
    Annotated[str, Field(min_length=2, max_length=5)],
    Annotated[int, Field(ge=0, lt=10)],
    Base64Bytes,
    File,
    Image,
]

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
leaves = st.fixed_dictionaries(
    {"name": st.text()},
    optional={"weight": st.floats() | st.integers(), "tags": st.lists(st.text())},
)
nodes = st.recursive(
    st.fixed_dictionaries({}, optional={"leaf": st.none() | leaves}),
    lambda inner: st.fixed_dictionaries(
        {"children": st.lists(inner, max_size=2)},
        optional={"more": st.dictionaries(st.text(), leaves | st.integers(), max_size=2)},
    ),
    max_leaves=5,
)
awkward = st.sampled_from(
    [
        "",
        "1",
        "true",
        "red",
        "data:,x",
        "data:image/png;base64,",
        "http://",
        "\x00",
        1e308,
        10**400,
        -0.0,
        {"name": "x"},
        {"leaf": {"name": "x"}},
        {"name": 1},
        [[]],
        [1, "a"],
    ]
)
values = st.recursive(
    plain | awkward,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def wrapped(signature: PredictSignature, value: bytes) -> bytes:
    return value if signature.takes_model else b'{"value": ' + value + b"}"


@pytest.mark.parametrize("signature", [signature_of(hint) for hint in HINTS], ids=map(str, HINTS))
@settings(max_examples=60, deadline=None)
@given(value=values | leaves | nodes)
def test_a_value_round_trips_or_is_refused(signature: PredictSignature, value: Any) -> None:
    try:
        body = wrapped(signature, json.dumps(value).encode())
    except ValueError:  # numbers of more digits than json writes
        return
    try:
        validated = signature.validate_json(body)
    except ValidationError as error:
        assert error.errors(include_url=False, include_context=False)
        return
    taken = signature.bind(validated)[1]["value"]
    if isinstance(taken, File) and not taken.is_fetched:
        return
    encoded = signature.output.encode_json(taken)
    again = signature.bind(signature.validate_json(wrapped(signature, encoded)))[1]["value"]
    assert again == taken


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
@pytest.mark.parametrize("hint", [float, Any, list[Any], dict[str, Any], list[float], int | float])
def test_infinity_is_refused_wherever_it_stands(hint: Any, number: str) -> None:
    wrapped = {list: "[%s]", dict: '{"a": %s}'}.get(getattr(hint, "__origin__", None), "%s")
    with pytest.raises(ValidationError):
        signature_of(hint).validate_json('{"value": ' + wrapped % number + "}")


def test_infinity_inside_of_a_model_is_refused_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        signature_of(Node).validate_json('{"more": {"a": {"name": "x", "weight": 1e999}}}')
    assert caught.value.errors()[0]["loc"] == ("more", "a", "weight")


@settings(max_examples=200, deadline=None)
@given(body=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_a_body_are_input_or_refused(body: bytes) -> None:
    signature = signature_of(Leaf)
    with pytest.raises(ValidationError):
        signature.validate_json(body)
        raise AssertionError("nothing random has a `name`")


@pytest.mark.parametrize("signature", [signature_of(hint) for hint in HINTS], ids=map(str, HINTS))
@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.text() | plain.map(json.dumps), max_size=3))
def test_any_parts_of_a_form_are_input_or_refused(
    signature: PredictSignature, parts: list[str]
) -> None:
    name = "name" if signature.takes_model else "value"
    try:
        signature.bind(signature.validate_form([(name, part) for part in parts]))
    except ValidationError as error:
        assert error.errors(include_url=False, include_context=False)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["Args:", "  x: one", "    more", "Parameters", "----------", "x : int", ":param x: a"]
        )
        | st.text(max_size=20),
        max_size=8,
    ).map("\n".join)
)
def test_any_text_is_a_docstring(doc: str) -> None:
    def predict(x: int = 1) -> str: ...

    predict.__doc__ = doc
    signature = PredictSignature.of(predict)
    assert "\n" not in signature.description
    assert signature.input_schema()["properties"]["x"]["type"] == "integer"
