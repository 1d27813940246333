"""`GET /metrics`, and the logs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from livepeer.runner import Pipeline, errors, logs
from livepeer.runner.job import Job, current_job

Serve = Any
LIMIT = 60


async def samples(s: Any) -> dict[str, float]:
    """Every sample as `name{label=value}`."""
    text = (await s.http.get("/metrics")).text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


class Say(Pipeline):
    capacity = 3

    def predict(self, fail: bool = False) -> str:
        if fail:
            raise errors.InvalidInput("as you wish")
        return "ok"


async def test_jobs_are_counted_by_outcome_and_timed(served: Serve) -> None:
    async with served(Say) as s:
        for fail in (False, False, True):
            await s.post(fail=fail)
        await s.http.post("/predict", content=b"{")
        found = await samples(s)
    assert found["livepeer_requests_total{outcome=ok}"] == 2
    assert found["livepeer_requests_total{outcome=invalid_input}"] == 2
    assert found["livepeer_errors_total{type=invalid_input}"] == 2
    assert found["livepeer_request_seconds_count"] == 4
    assert found["livepeer_setup_seconds"] > 0
    assert found["livepeer_capacity"] == 3
    assert found["livepeer_in_flight"] == 0


async def test_in_flight_and_queue_are_seen_while_jobs_wait(served: Serve) -> None:
    release = threading.Event()

    class Wait(Pipeline):
        capacity = 3

        def predict(self) -> str:
            assert release.wait(LIMIT)
            return ""

    async with served(Wait) as s:
        calls = [asyncio.create_task(s.post()) for _ in range(3)]
        await s.until(lambda: s.service.threads.queued == 2)
        found = await samples(s)
        assert (found["livepeer_in_flight"], found["livepeer_queue"]) == (3, 2)
        release.set()
        await asyncio.gather(*calls)


async def test_a_stream_with_an_error_counts_its_events_and_the_error(served: Serve) -> None:
    class Stream(Pipeline):
        def predict(self) -> Iterator[int]:
            yield 1
            yield 2
            raise RuntimeError

    async with served(Stream) as s:
        await s.post()
        found = await samples(s)
    assert found["livepeer_events_total"] == 2
    assert found["livepeer_errors_total{type=pipeline_error}"] == 1


async def test_two_apps_in_one_process_count_apart(served: Serve) -> None:
    async with served(Say) as one, served(Say) as other:
        await one.post()
        assert (await samples(one))["livepeer_requests_total{outcome=ok}"] == 1
        assert (await samples(other))["livepeer_requests_total{outcome=ok}"] == 0


@pytest.fixture
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level


@pytest.mark.usefixtures("root_logger")
def test_a_json_log_line_has_the_job_id_the_extras_and_the_exception() -> None:
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    token = current_job.set(Job("job-3"))
    try:
        raise ValueError("bad\nvalue")
    except ValueError:
        logging.getLogger("any.library").exception("failed %d", 7, extra={"frame": 4})
    current_job.reset(token)
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record["message"] == "failed 7" and record["level"] == "error"
    assert record["logger"] == "any.library" and record["job_id"] == "job-3"
    assert record["frame"] == 4 and "bad\nvalue" in record["exception"]
    assert record["time"].endswith("Z")


@pytest.mark.usefixtures("root_logger")
def test_a_plain_log_line_names_the_job_only_inside_one() -> None:
    stream = io.StringIO()
    logs.configure("plain", "info", stream)
    logging.info("outside")
    token = current_job.set(Job("job-4"))
    logging.info("inside")
    logging.debug("not shown")
    current_job.reset(token)
    outside, inside = stream.getvalue().splitlines()
    assert outside.endswith("root outside") and inside.endswith("root [job-4] inside")
