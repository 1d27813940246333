"""What a start waits for: which requests go out before which answer. No clock is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import Gateway, LivepeerError
from livepeer.client.live import session
from livepeer.client.testing import CUT, HANG, reply

from .scripts import answers, asked, started

Start = Callable[..., Any]
LIMIT = 10.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 — the scripted server tells nobody
            await asyncio.sleep(0.005)


async def test_a_start_is_asked_for_at_once_and_connections_come_meanwhile(start: Start) -> None:
    go = asyncio.Event()

    def other(request: Any) -> list[Any]:
        if request.path.endswith("/start"):
            return [go, *started(f"http://{request.headers['host']}", request.job["id"])]
        return answers()(request)

    orch = await start(other=other)
    async with Gateway(orch_url=orch.url) as gw:
        entering = asyncio.create_task(gw.live("tint").__aenter__())
        # The start's own, and those for events, control, input and output, before its answer.
        await until(lambda: asked(orch, "start") and orch.connections == 1 + 7)
        assert (orch.tokens, len(orch.others)) == ([], 1)
        go.set()
        session = await entering
        await session.aclose()


async def test_codecs_are_opened_while_the_start_is_under_way_and_not_where_nobody_needs_them(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(session, "codecs", lambda: loop.call_soon_threadsafe(opened.set))

    def other(request: Any) -> list[Any]:
        if request.path.endswith("/start") and "enable_video_egress" in request.job["parameters"]:
            return [opened, *started(f"http://{request.headers['host']}", request.job["id"])]
        return answers()(request)

    orch = await start(other=other)
    async with Gateway(orch_url=orch.url) as gw:
        async with asyncio.timeout(LIMIT), gw.live("tint"):
            pass
        opened.clear()
        async with gw.live("tint", publish=False, subscribe=False):
            pass
        assert not opened.is_set()


async def test_the_first_segment_is_sent_and_the_output_asked_for_without_a_question(
    start: Start,
) -> None:
    def other(request: Any) -> list[Any]:
        if request.path.endswith(("/start", "/stop")):
            return answers()(request)
        return [HANG]  # no channel answers anything

    orch = await start(other=other)
    async with Gateway(orch_url=orch.url) as gw, gw.live("tint", data=False) as session:
        stream = f"/ai/trickle/{session.stream_id}"
        sent = session.publish_segments([b"x" * 188], end=False)
        reading = asyncio.create_task(anext(session.subscribe()))
        wanted = {(f"POST {stream}/0"), f"GET {stream}-out/0", f"POST {stream}-control/0"}
        await until(lambda: wanted <= {f"{each.method} {each.path}" for each in orch.others})
        assert not asked(orch, "next")
        reading.cancel()
        await asyncio.wait((reading,))
        await sent.aclose()


@pytest.mark.parametrize("setting", [{"max_price": 5}, {}], ids=["a price limit", "an app's id"])
async def test_an_offer_is_asked_for_where_something_depends_on_it(
    start: Start, setting: dict[str, Any]
) -> None:
    orch = await start(other=answers())
    name = "tint" if setting else "org/tint"
    async with Gateway(orch_url=orch.url, **setting) as gw, gw.live(name):
        assert len(orch.tokens) == 1
        assert [each.path for each in orch.others][:2] == ["/discovery", "/ai/stream/start"]


async def test_one_of_two_orchestrators_is_asked_for_an_offer(start: Start) -> None:
    one, two = await start(other=answers()), await start(other=answers())
    async with Gateway(orch_url=[one.url, two.url]) as gw, gw.live("tint"):
        assert one.tokens and two.tokens


@pytest.mark.parametrize(
    ("answer", "starts"),
    [
        (reply("No capacity available for capability\n", 400, "text/plain"), 2),
        (reply("Not Found\n", 404, "text/plain"), 2),
        (reply("runner crashed", 500, "text/plain"), 1),
        ([CUT], 1),
    ],
    ids=["no capacity", "not there", "it may have run", "a cut connection"],
)
async def test_a_start_that_was_sent_unasked_goes_out_once_more_only_where_nothing_ran(
    start: Start, answer: list[Any], starts: int
) -> None:
    def other(request: Any) -> list[Any]:
        return answer if request.path.endswith("/start") else answers()(request)

    orch = await start(other=other)
    async with Gateway(orch_url=orch.url, max_retries=0) as gw:
        with pytest.raises(LivepeerError):
            await gw.live("tint").__aenter__()
    assert len(asked(orch, "start")) == starts
    # What may run is stopped; what was refused, or asked for an offer before, runs nowhere.
    assert bool(asked(orch, "stop")) == (starts == 1)


async def test_who_does_not_have_it_is_asked_what_it_has(start: Start) -> None:
    refused = iter([reply("No capacity available for capability\n", 400, "text/plain")])

    def other(request: Any) -> list[Any]:
        if request.path.endswith("/start") and (answer := next(refused, None)):
            return answer
        return answers()(request)

    orch = await start(other=other)
    async with Gateway(orch_url=orch.url, max_retries=0) as gw, gw.live("tint"):
        assert (len(orch.tokens), len(asked(orch, "start"))) == (1, 2)
