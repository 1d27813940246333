"""One error shape; which errors show their text; what an author may raise."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from livepeer.runner import Pipeline, errors
from livepeer.runner.exceptions import FileError, RunnerError

Serve = Any


def body(error: errors.JobError) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(errors.error_body(error))["error"]
    return content


def test_every_error_has_type_message_and_fields() -> None:
    assert body(errors.PipelineError("out of memory")) == {
        "type": "pipeline_error",
        "message": "out of memory",
        "fields": [],
    }


def test_a_wait_is_whole_seconds_in_header_and_body() -> None:
    error = errors.OverCapacity("full", retry_after=1.2)
    assert error.headers() == [(b"retry-after", b"2")]
    assert body(error)["retry_after"] == 2


def test_a_field_can_be_named_when_raising() -> None:
    assert body(errors.InvalidInput("too dark", field="image"))["fields"] == [
        {"name": "image", "message": "too dark", "type": "value_error"}
    ]


def test_a_text_that_is_no_unicode_can_still_be_sent() -> None:
    assert body(errors.PipelineError("\ud800"))["message"] == "?"


def test_an_error_that_is_none_of_ours_keeps_its_text_to_itself() -> None:
    shown = errors.public(ValueError("secret"))
    assert (shown.status, "secret" in shown.message) == (500, False)


def test_a_pipeline_cannot_answer_401_since_that_drops_the_capability() -> None:
    shown = errors.public(errors.Unauthorized("secret token"))
    assert (shown.status, "secret" in shown.message) == (500, False)


@pytest.mark.parametrize("status", [401, 200, 301, 700])
def test_an_authors_own_status_is_kept_only_where_it_is_an_error_that_does_no_harm(
    status: int,
) -> None:
    assert errors.public(type("Own", (errors.JobError,), {"status": 409})("x")).status == 409
    assert errors.public(type("Own", (errors.JobError,), {"status": status})("x")).status == 500


def test_all_public_errors_are_listed_and_are_runner_errors() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.JobError)
    }
    assert found <= set(errors.__all__)
    assert issubclass(errors.JobError, RunnerError)


@pytest.mark.parametrize(
    ("raised", "status", "type", "fields"),
    [
        (errors.InvalidInput("bad"), 422, "invalid_input", []),
        (errors.PipelineError("broken"), 500, "pipeline_error", []),
        (errors.OverCapacity("busy", retry_after=3), 503, "over_capacity", []),
        (errors.Unauthorized("x"), 500, "pipeline_error", []),
        (FileError("no image", location=("a", 0)), 422, "invalid_input", ["a.0"]),
        (ValueError("x"), 500, "pipeline_error", []),
    ],
)
async def test_what_predict_raises_is_answered_with_its_status(
    served: Any, raised: Exception, status: int, type: str, fields: list[str]
) -> None:
    class Raises(Pipeline):
        async def predict(self) -> str:
            raise raised

    async with served(Raises) as s:
        response = await s.post()
        error = response.json()["error"]
        assert (response.status_code, error["type"]) == (status, type)
        assert [field["name"] for field in error["fields"]] == fields
        assert f'livepeer_errors_total{{type="{type}"}} 1.0' in (await s.http.get("/metrics")).text


async def test_words_of_a_validator_are_given_as_they_are(served: Serve) -> None:
    class Even(Pipeline):
        def predict(self, n: Annotated[int, AfterValidator(even)]) -> int:
            return n

    async with served(Even) as s:
        told = (await s.http.post("/predict", json={"n": 3})).json()["error"]
    assert told["fields"] == [{"name": "n", "message": "3 is odd", "type": "value_error"}]


async def test_a_file_that_is_the_whole_body_is_told_how_files_are_sent(served: Serve) -> None:
    class Look(Pipeline):
        def predict(self, image: str) -> int:
            return len(image)

    async with served(Look) as s:
        sent = {"content": b"\x89PNG\r\n", "headers": {"content-type": "image/png"}}
        answer = await s.http.post("/predict", **sent)
        assert answer.status_code == 422
        assert "-F NAME=@FILE" in answer.json()["error"]["message"]
        # A proxy may call JSON anything: it is read as such, and its own mistake is told.
        sent["content"] = b'{"image": 1}'
        told = (await s.http.post("/predict", **sent)).json()["error"]["message"]
    assert told == "the input is not valid: image"


def even(value: int) -> int:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value
