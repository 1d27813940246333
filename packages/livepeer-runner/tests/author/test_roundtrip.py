"""Any JSON value through any supported type: it comes back the same, or is refused with 422."""

from __future__ import annotations

import datetime
import enum
import json
from typing import Annotated, Any, Literal

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Base64Bytes, Base64Str, BaseModel, Field

from livepeer.runner import File, Pipeline
from livepeer.runner.testing import client


class Colour(enum.Enum):
    RED = "red"
    BLUE = 7


class Node(BaseModel):
    name: str
    weight: float = 1.5
    children: list[Node] = []


TYPES: list[Any] = [
    str,
    int,
    float,
    bool,
    None,
    Any,
    list[int],
    dict[str, Any],
    tuple[int, str],
    str | None,
    int | list[str],
    Literal["a", 1, True],
    Colour,
    Node,
    list[Node] | None,
    Base64Bytes,
    list[Base64Bytes | None],
    Base64Str,
    datetime.datetime,
    datetime.timedelta,
    Annotated[str, Field(max_length=3, pattern="^[a-z]*$")],
    dict[str, list[File]],
]

numbers = st.integers() | st.floats() | st.integers(-5, 5)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text() | st.sampled_from(["a", "red", "aGk=", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
) | st.fixed_dictionaries({"name": st.text()}, optional={"weight": numbers})


@pytest.mark.parametrize("hint", TYPES, ids=str)
def test_a_value_comes_back_the_same_or_is_refused(hint: Any) -> None:
    def predict(self: Pipeline, value: Any) -> Any:
        return value

    predict.__annotations__ = {"value": hint, "return": hint}
    cls = type("Same", (Pipeline,), {"predict": predict})

    with client(cls) as http:

        def send(value: Any) -> httpx.Response:
            content = json.dumps({"value": value}).encode()
            return http.post("/predict", content=content)

        @settings(max_examples=40, deadline=None, database=None)
        @given(json_values)
        @example("aGk=")
        def check(value: Any) -> None:
            first = send(value)
            assert first.status_code in (200, 422), first.text
            if first.status_code == 200:
                again = send(first.json())
                assert (again.status_code, again.json()) == (200, first.json())

        check()
        assert http.service.lifecycle.slots.taken == 0
