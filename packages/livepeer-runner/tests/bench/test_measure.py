"""What a bench says of a service that answers in known ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livepeer.runner.bench.measure import measure
from livepeer.runner.bench.plan import BenchError, Plan
from livepeer.runner.bench.search import Aim
from livepeer.runner.targets.reference import target_of

QUICK = Plan(rates=[40], concurrency=[2], duration=0.3, warmup=0.0, timeout=10)


Answer = Callable[[web.Request], Any]


@pytest.fixture
async def foreign() -> AsyncIterator[Callable[..., Any]]:
    """A service that is not ours; its `/predict` answers as told."""
    servers = []

    async def start(answer: Answer, document: Mapping[str, Any] | None = None) -> str:
        app = web.Application()
        app.router.add_post("/predict", answer)
        if document is not None:

            async def schema(_: web.Request) -> web.Response:
                return web.json_response(document)

            app.router.add_get("/schema", schema)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()


async def test_a_service_of_others_is_measured_by_what_it_is_sent(
    foreign: Callable[..., Any],
) -> None:
    sent = []

    async def answer(request: web.Request) -> web.Response:
        sent.append((await request.json())["n"])
        return web.json_response({})

    report = await measure(target_of(await foreign(answer)), QUICK, inputs=[{"n": 1}, {"n": 2}])
    assert [(load.loop, set(load.outcomes)) for load in report.loads] == [
        ("closed", {"ok"}),
        ("open", {"ok"}),
    ]
    assert report.kind == "request" and report.cold is None
    assert sent.count(1) - sent.count(2) in (0, 1)


async def test_events_are_timed_and_a_stream_that_is_cut_is_no_success(
    foreign: Callable[..., Any],
) -> None:
    calls = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: "a"\n\n: a comment\n\ndata: "b"\n\n')
        await response.write(b"data: [DONE]\n\n" if calls % 2 else b"event: error\ndata: {}\n\n")
        return response

    plan = Plan(rates=[40], duration=0.3, warmup=0.0)
    report = await measure(target_of(await foreign(answer)), plan, inputs=[{}])
    (load,) = report.loads
    assert report.kind == "stream" and load.events is not None
    assert set(load.outcomes) == {"ok", "event-error"}
    assert load.events.first.count == load.outcomes["ok"] == load.events.between.count


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),
    [
        (503, {"Retry-After": "1"}, "refused"),
        (429, {}, "refused"),
        (503, {}, "503"),
        (500, {}, "500 pipeline_error"),
        (302, {"Location": "/elsewhere"}, "302"),
    ],
)
async def test_what_is_refused_is_told_apart_from_what_fails(
    foreign: Callable[..., Any], status: int, headers: Mapping[str, str], outcome: str
) -> None:
    calls = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            return web.json_response({})
        error = {"error": {"type": "pipeline_error"}} if status == 500 else {}
        return web.json_response(error, status=status, headers=headers)

    report = await measure(target_of(await foreign(answer)), QUICK, inputs=[{}])
    assert {key for load in report.loads for key in load.outcomes} == {outcome}
    assert all(load.latency.count == 0 and load.throughput == 0 for load in report.loads)


async def test_a_search_on_what_is_really_there_ends(foreign: Callable[..., Any]) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    plan = Plan(aim=Aim.of("p50<0.001ms"), duration=0.2, warmup=0.1, longest=1)
    report = await measure(target_of(await foreign(answer)), plan, inputs=[{}])
    assert report.max is not None and report.max.rate is None and report.loads


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"type": "live", "id": "x"}, "a live pipeline has no calls"),
        ({"id": "x"}, "tells no example of its input"),
        (None, "tells no example of its input"),
    ],
)
async def test_what_it_would_have_to_guess_is_asked_for(
    foreign: Callable[..., Any], document: Mapping[str, Any] | None, says: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    with pytest.raises(BenchError, match=says):
        await measure(target_of(await foreign(answer, document)), QUICK)
