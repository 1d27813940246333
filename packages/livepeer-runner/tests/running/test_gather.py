"""`predict_batch`: several callers, one call, individual answers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from livepeer.runner import Pipeline, errors
from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.exceptions import SignatureError

Serve = Any
LIMIT = 60


class Text(BaseModel):
    text: str


class Shout(Pipeline):
    capacity = 8
    max_batch_size = 4
    max_batch_wait_ms = 200

    def setup(self) -> None:
        self.sizes: list[int] = []

    def predict_batch(self, inputs: list[Text]) -> list[str | Exception]:
        self.sizes.append(len(inputs))
        if any(one.text == "poison" for one in inputs):
            raise ValueError("one of you is poison")
        return [
            errors.InvalidInput("it is empty", field="text") if not one.text else one.text.upper()
            for one in inputs
        ]


async def test_calls_that_come_together_run_as_one_full_batch(served: Serve) -> None:
    async with served(Shout) as s:
        responses = await asyncio.gather(*(s.post(text=f"t{i}") for i in range(8)))
        assert [response.json() for response in responses] == [f"T{i}" for i in range(8)]
        assert s.service.pipeline.sizes == [4, 4]


async def test_a_lone_call_waits_no_longer_than_it_was_told(served: Serve) -> None:
    async with served(Shout) as s:
        assert (await s.post(text="alone")).json() == "ALONE"
        assert s.service.pipeline.sizes == [1]


async def test_an_error_in_the_list_is_the_answer_to_one_caller_alone(served: Serve) -> None:
    async with served(Shout) as s:
        good, bad = await asyncio.gather(s.post(text="good"), s.post(text=""))
        assert (good.status_code, good.json()) == (200, "GOOD")
        assert (bad.status_code, bad.json()["error"]["message"]) == (422, "it is empty")
        assert s.service.pipeline.sizes == [2]


async def test_a_batch_that_raises_is_tried_one_by_one_so_that_only_the_culprit_fails(
    served: Serve,
) -> None:
    async with served(Shout) as s:
        responses = await asyncio.gather(*(s.post(text=t) for t in ("a", "poison", "b")))
        assert [response.status_code for response in responses] == [200, 500, 200]
        assert s.service.pipeline.sizes == [3, 1, 1, 1]
        assert s.slots_taken == 0


async def test_the_input_is_validated_for_each_caller_before_it_joins_a_batch(
    served: Serve,
) -> None:
    async with served(Shout) as s:
        response = await s.post(txt="a")
        assert response.status_code == 422
        assert {field["name"] for field in response.json()["error"]["fields"]} >= {"text"}
        assert s.service.pipeline.sizes == []


async def test_the_schema_is_that_of_one_call(served: Serve) -> None:
    async with served(Shout) as s:
        schema = (await s.http.post("/schema")).json()
        assert list(schema["input"]["properties"]) == ["text"]
        assert schema["output"] == {"type": "string"}


async def test_a_result_too_few_is_the_pipelines_fault(served: Serve) -> None:
    class Short(Pipeline):
        capacity = 2

        def predict_batch(self, inputs: list[Text]) -> list[str]:
            return []

    async with served(Short) as s:
        assert (await s.post(text="a")).status_code == 500


async def test_async_batches_and_bare_items_work(served: Serve) -> None:
    class Double(Pipeline):
        capacity = 4

        async def predict_batch(self, inputs: list[int]) -> list[int]:
            return [2 * one for one in inputs]

    async with served(Double) as s:
        responses = await asyncio.gather(*(s.post(input=i) for i in range(4)))
        assert [response.json() for response in responses] == [0, 2, 4, 6]


async def test_a_batch_that_hangs_is_given_up_and_the_next_one_runs(served: Serve) -> None:
    release = threading.Event()

    class Hangs(Pipeline):
        capacity = 4
        timeout = 0.3

        def predict_batch(self, inputs: list[Text]) -> list[str]:
            if inputs[0].text == "hang":
                assert release.wait(LIMIT)
            return [one.text for one in inputs]

    async with served(Hangs) as s:
        assert (await s.post(text="hang")).status_code == 504
        await s.until(lambda: s.service.threads.abandoned == 1)
        assert (await s.post(text="next")).json() == "next"
        release.set()
        await s.until(lambda: s.slots_taken == 0)


async def test_a_caller_who_leaves_the_queue_is_left_out_of_the_batch(served: Serve) -> None:
    async with served(Shout) as s:
        leaver = asyncio.create_task(s.post(text="leaver"))
        await s.until(lambda: s.slots_taken == 1)
        await asyncio.sleep(0.08)
        leaver.cancel()
        await s.until(lambda: s.slots_taken == 0)
        assert (await s.post(text="stays")).json() == "STAYS"
        assert s.service.pipeline.sizes == [1]


def test_a_signature_that_is_not_a_list_in_and_a_list_out_is_refused() -> None:
    class Bad(Pipeline):
        def predict_batch(self, inputs: Text) -> list[str]:
            return []

    from livepeer.runner.serving.app import create_app
    from livepeer.runner.settings import Settings

    with pytest.raises(SignatureError, match=r"list\[In\]"):
        create_app(Bad, Settings())
    assert PredictSignature
