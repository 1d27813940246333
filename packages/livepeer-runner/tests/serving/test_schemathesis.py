"""What the OpenAPI document promises is what the app does: for a pipeline of each kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import BaseModel, Field
from schemathesis.checks import (
    not_a_server_error,
)
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from livepeer.runner import Image, Pipeline
from livepeer.runner.testing import client


class Box(BaseModel):
    x: Annotated[float, Field(ge=0, le=1)]
    label: Literal["cat", "dog"]


class Request(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=20)]
    boxes: Annotated[list[Box], Field(max_length=3)] = []
    mode: Literal["fast", "good"] | None = None


class Plain(Pipeline):
    capacity = 8

    def predict(
        self,
        text: str,
        n: Annotated[int, Field(ge=0, le=9)] = 1,
        flags: dict[str, bool] | None = None,
    ) -> dict[str, Any]:
        return {"text": text, "n": n, "flags": flags}


class Model(Pipeline):
    capacity = 8

    async def predict(self, request: Request) -> Request:
        await asyncio.sleep(0)
        return request


class Stream(Pipeline):
    capacity = 8

    def predict(self, words: Annotated[list[str], Field(max_length=4)]) -> Iterator[str]:
        yield from words


class AsyncStream(Pipeline):
    capacity = 8

    async def predict(self, n: Annotated[int, Field(ge=0, le=5)]) -> AsyncIterator[Box]:
        for _ in range(n):
            yield Box(x=0.5, label="cat")


class Picture(Pipeline):
    capacity = 8

    def predict(self, image: Image, scale: float = 1.0) -> Image:
        return image


class Gathered(Pipeline):
    capacity = 8
    max_batch_wait_ms = 0

    def predict_batch(self, inputs: list[Request]) -> list[int | Exception]:
        return [len(one.text) for one in inputs]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "cls",
    [
        Plain,
        Model,
        Stream,
        Picture,
        pytest.param(AsyncStream, marks=pytest.mark.slow),
        pytest.param(Gathered, marks=pytest.mark.slow),
    ],
)
def test_no_input_makes_a_server_error_or_an_answer_that_is_not_documented(
    cls: type[Pipeline],
) -> None:
    calls = 0
    with client(cls) as http:
        document = http.get("/openapi.json").json()
        schema = schemathesis.openapi.from_dict(document)
        operation = schema["/predict"]["POST"]

        @settings(
            max_examples=60,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @schemathesis_given(operation)
        def check(case: schemathesis.Case) -> None:
            nonlocal calls
            calls += 1
            response = case.call(base_url=str(http.base_url), timeout=20)
            case.validate_response(
                response,
                checks=(
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ),
            )

        check()
        assert http.service.lifecycle.slots.taken == 0
    assert calls >= 10
    assert threading.active_count() < 50


def schemathesis_given(operation: Any) -> Any:
    """Both valid and invalid requests of one operation."""
    from hypothesis import given
    from hypothesis import strategies as st
    from schemathesis.generation import GenerationMode

    return given(
        st.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        )
    )
