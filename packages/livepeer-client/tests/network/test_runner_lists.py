"""Lists of live runners: shared, outliving who asked, and asked for again soon after a failure."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import Gateway, StreamInterruptedError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network import runner_lists
from livepeer.client.network.runner_lists import RunnerLists
from livepeer.client.testing import HANG, Request, events, reply

Start = Callable[..., Any]


def listing(*apps: str, **more: Any) -> list[Any]:
    runners = [
        {
            "url": f"http://orch/apps/r{i}/app",
            "app": app,
            "mode": "single-shot",
            "capacity_available": 1,
            **more,
        }
        for i, app in enumerate(apps)
    ]
    return reply([{"address": "http://orch", "runners": runners}])


@pytest.fixture
async def http() -> Any:
    http = Http()
    yield http
    await http.aclose()


async def test_one_request_serves_all_who_wait_and_the_next_call_after_they_left(
    start: Start, http: Http
) -> None:
    let = asyncio.Event()
    orch = await start(other=lambda _: [let, *listing("x/y")])
    lists = RunnerLists(TlsPolicy("verify"))
    waiting = [asyncio.create_task(lists.get(http, orch.url, Deadline(9))) for _ in range(5)]
    assert await lists.get(http, orch.url, Deadline(0.01)) == ()  # too late for this one
    waiting[0].cancel()
    let.set()
    for each in waiting[1:]:
        ((runner,),) = [await each]
        assert runner.app == "x/y"
    assert waiting[0].cancelled() or await asyncio.wait([waiting[0]])
    assert [each.app for each in await lists.get(http, orch.url, Deadline(9))] == ["x/y"]
    assert len(orch.others) == 1


async def test_a_list_that_nobody_waits_for_any_more_ends_with_the_connections(
    start: Start,
) -> None:
    orch = await start(other=lambda _: [HANG])
    http = Http()
    lists = RunnerLists(TlsPolicy("verify"))
    assert await lists.get(http, orch.url, Deadline(0.05)) == ()
    await http.aclose()
    await asyncio.wait_for(orch.left.wait(), 20)
    assert asyncio.all_tasks() - {asyncio.current_task(), *orch._server.tasks} == set()


async def test_pauses_after_failures_grow_and_a_call_for_an_apps_runner_waits_only_the_first(
    start: Start, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    orch = await start(other=lambda _: reply("broken", 500, "text/plain"))
    lists = RunnerLists(TlsPolicy("verify"))
    now = time.monotonic()
    monkeypatch.setattr(runner_lists.time, "monotonic", lambda: now)

    async def asks(app: str) -> bool:
        before = len(orch.others)
        assert await lists.get(http, orch.url, Deadline(9), app) == ()
        return len(orch.others) > before

    assert await asks("plain")
    assert not await asks("plain") and not await asks("org/app")
    now += 1.1
    assert await asks("plain")
    now += 1.1  # of the two seconds that it pauses now
    assert not await asks("plain")
    assert await asks("org/app")
    for _ in range(10):
        now += 1.1
        await asks("org/app")
    now += runner_lists.LONGEST_PAUSE
    assert await asks("plain")


async def test_an_app_that_was_listed_there_is_asked_for_again_after_a_failure(
    start: Start, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [listing("plain"), reply("", 500), reply("", 500), listing("plain")]
    orch = await start(other=lambda _: answers[len(orch.others) - 1])
    lists = RunnerLists(TlsPolicy("verify"))
    now = time.monotonic()
    monkeypatch.setattr(runner_lists.time, "monotonic", lambda: now)
    found = []
    for _ in answers:
        found.append(len(await lists.get(http, orch.url, Deadline(9), "plain")))
        now += 6 if len(found) == 1 else 1.1
    assert found == [1, 0, 0, 1]


async def test_a_foreign_stream_ends_with_its_body_and_one_of_ours_only_with_done(
    start: Start,
) -> None:
    def other(request: Request) -> list[Any]:
        if request.path == "/discovery":
            ours = '{"sdk":"livepeer-runner/0.1.0"}'
            return listing("foreign/app") if not told else listing("our/app", metadata=ours)
        return events('data: {"n": 1}\n\n')

    told: list[str] = []
    orch = await start(other=other, capacity=0)
    async with Gateway(orch_url=orch.url) as gw:
        run = gw.run_async("foreign/app", validate=False)
        assert await run == [{"n": 1}]
    told.append("ours")
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(StreamInterruptedError):
            await gw.run_async("our/app", validate=False)


@pytest.mark.parametrize(
    ("route", "path"),
    [("a b", "a%20b"), ("a%20b", "a%20b"), ("100%", "100%25"), ("é", "%C3%A9"), ("a/b", "a/b")],
)
async def test_a_route_is_escaped_once(start: Start, route: str, path: str) -> None:
    orch = await start(other=lambda r: listing("x/y") if r.path == "/discovery" else reply({}))
    async with Gateway(orch_url=orch.url) as gw:
        await gw.run_async("x/y", route=route, validate=False)
    assert orch.others[-1].path == f"/apps/r0/app/{path}"
