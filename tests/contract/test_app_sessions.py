"""Apps that are not ours, called by `gw.session` and `gw.run`, on the local network."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from livepeer.client import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    Gateway,
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    ProtocolError,
    SessionEndedError,
    StreamInterruptedError,
)
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.trickle.exceptions import TrickleError
from livepeer.trickle.media import VideoFrame

from .live_runners import ForeignApp, gateway, heartbeat, reserved, serving, until

LIMIT = 20.0
NAME = "other/app"


@asynccontextmanager
async def network(**says: Any) -> AsyncIterator[tuple[LocalOrchestrator, ForeignApp, Gateway]]:
    app = ForeignApp()
    async with LocalOrchestrator() as orchestrator, serving(app):
        await heartbeat(orchestrator, app, **{"app": NAME, "mode": "persistent", **says})
        async with gateway(orchestrator, timeout=LIMIT) as gw:
            yield orchestrator, app, gw
        await until(lambda: not reserved(orchestrator))


async def test_a_request_reaches_the_app_as_it_is_and_its_answer_comes_whole() -> None:
    async with network() as (orchestrator, _, gw), gw.session(NAME) as session:
        assert reserved(orchestrator) == 1
        assert (session.mode, session.orchestrator) == ("persistent", orchestrator.url)
        answer = await session.request(
            "put",
            "/json?a=1",
            json={"x": [1]},
            params={"b": "2 3"},
            headers={"X-Mine": "1", "Authorization": "Bearer mine"},
        )
        assert (answer.status, answer.ok, answer.headers["x-theirs"]) == (200, True, "yes")
        assert answer.json() == {
            "method": "PUT",
            "query": {"a": "1", "b": "2 3"},
            "body": {"x": [1]},
            "mine": "1",
            "authorization": "Bearer mine",
        }
        for data in (b"raw", "raw", _pieces()):
            assert (await session.request("POST", "/echo", data=data)).bytes() == b"raw"
        form = await session.request("POST", "/form", data={"n": 1, "t": "x"})
        assert form.json() == {"n": "1", "t": "x"}


async def _pieces() -> AsyncIterator[bytes]:
    yield b"ra"
    yield b"w"


async def test_files_go_in_a_form_with_their_names_and_types(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(b"12345")
    async with network() as (_, _, gw), gw.session(NAME) as session:
        answer = await session.request(
            "POST",
            "/upload",
            data={"n": 1},
            files={
                "path": path,
                "bytes": b"\x89PNG\r\n\x1a\n1",
                "open": io.BytesIO(b"123"),
                "named": ("a.bin", b"x" * 3_000_000, "application/x-own"),
            },
        )
        assert answer.json() == [
            ["n", None, "text/plain; charset=utf-8", 1],
            ["path", "note.txt", "text/plain", 5],
            ["bytes", "bytes", "image/png", 9],
            ["open", "open", "application/octet-stream", 3],
            ["named", "a.bin", "application/x-own", 3_000_000],
        ]
        with pytest.raises(InvalidInputError, match="no file"):
            await session.request("POST", "/upload", files={"x": 7})


async def test_an_answer_is_one_whatever_its_status_and_tells_what_it_means() -> None:
    async with network() as (_, _, gw), gw.session(NAME) as session:
        answer = await session.request("GET", "/teapot")
        assert answer.status == 418 and not answer.ok
        with pytest.raises(InvalidInputError, match="short and stout") as caught:
            answer.raise_for_status()
        assert caught.value.capability == NAME
        # Not followed, and no answer of the orchestrator's although it looks like one.
        assert (
            (await session.request("GET", "/away")).headers["Location"].endswith("elsewhere.test/")
        )
        missing = await session.request("GET", "/missing")
        assert (missing.status, missing.text()) == (404, "not here")
        with pytest.raises(ProtocolError, match="no JSON: 'not here'"):
            missing.json()


@pytest.mark.parametrize("path", ["../x", "/a/../../x", "a/%2e%2e/b", "..%2Fx", "/./x", "a\\..\\b"])
async def test_a_path_that_leaves_the_app_is_sent_nowhere(path: str) -> None:
    async with network() as (_, app, gw), gw.session(NAME) as session:
        for call in (session.request("GET", path), session.websocket(path)):
            with pytest.raises(ConfigurationError, match="may not go up"):
                await call
        assert not app.asked


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "GET x"},
        {"headers": {"X": "a\r\nY: b"}},
        {"json": 1, "data": b"x"},
        {"json": {1, 2}},
        {"files": {"x": b""}, "data": b"x"},
        {"timeout": -1},
    ],
)
async def test_what_cannot_be_sent_is_refused_here(wrong: dict[str, Any]) -> None:
    async with network() as (_, app, gw), gw.session(NAME) as session:
        arguments = {"method": "POST", "path": "/json"} | wrong
        with pytest.raises((ConfigurationError, InvalidInputError)):
            await session.request(**arguments)
        assert not app.asked


async def test_events_come_as_they_are_sent_and_end_with_the_body() -> None:
    async with network() as (_, app, gw), gw.session(NAME) as session:
        async with await session.request("GET", "/events", stream=True) as answer:
            events = [event async for event in answer.events()]
        assert [(each.event, each.json()["n"]) for each in events] == [
            ("tick", n) for n in range(3)
        ]
        async with await session.request("GET", "/events?hang", stream=True) as answer:
            async for event in answer.events():
                if event.json()["n"] == 2:
                    break
        await asyncio.wait_for(app.left.wait(), LIMIT)  # leaving tells the app
        async with await session.request("GET", "/events", stream=True) as answer:
            assert b"".join([chunk async for chunk in answer]).count(b"tick") == 3
            assert await answer.receive() == b""
        answer = await session.request("GET", "/json", stream=True)
        with pytest.raises(ProtocolError, match="no events"):
            await anext(answer.events())


async def test_a_stream_that_breaks_off_or_is_silent_says_so() -> None:
    async with network() as (_, _, gw), gw.session(NAME) as session:
        async with await session.request("GET", "/events?cut", stream=True) as answer:
            with pytest.raises(StreamInterruptedError, match="broke off"):
                async for _ in answer.events():
                    pass
        silent = await session.request("GET", "/events?hang&n=1", stream=True, timeout=1)
        with pytest.raises(CallTimeoutError, match="nothing came"):
            async for _ in silent:
                pass
        with pytest.raises(CallTimeoutError):
            await session.request("GET", "/events?hang", timeout=0.3)


async def test_a_websocket_carries_text_bytes_and_json_both_ways() -> None:
    async with network() as (_, app, gw), gw.session(NAME) as session:
        async with await session.websocket("/ws?code=1000", protocols=["two"]) as ws:
            assert ws.protocol == "two" and ws.close_code is None
            await ws.send("text")
            await ws.send(b"\x00\x01")
            await ws.send_json({"x": 1})
            assert [await ws.receive(), await ws.receive()] == ["text", b"\x00\x01"]
            assert await ws.receive_json() == {"x": 1}
            with pytest.raises(CallTimeoutError):
                await ws.receive(timeout=0.05)
            await ws.send("bye")
            assert [message async for message in ws] == []
            assert ws.close_code == 1000
            for use in (ws.receive(), ws.send("x")):
                with pytest.raises(ConnectionFailedError, match="is closed"):
                    await use
        await asyncio.wait_for(app.left.wait(), LIMIT)


async def test_a_websocket_that_is_not_opened_is_too_big_or_ends_badly_says_so() -> None:
    async with network() as (_, _, gw), gw.session(NAME) as session:
        for path, status in (("/json", 200), ("/missing", 404), ("/away", 302)):
            with pytest.raises(ProtocolError, match=str(status)) as caught:
                await session.websocket(path)
            assert caught.value.status == status
        async with await session.websocket("/ws?code=4000") as ws:
            await ws.send("bye")
            with pytest.raises(ConnectionFailedError, match="4000 so long"):
                async for _ in ws:
                    pass
        async with await session.websocket("/ws", max_bytes=1_000_000) as ws:
            await ws.send("big")
            with pytest.raises(ProtocolError, match="max_bytes"):
                await ws.receive()
        async with await session.websocket("/ws", max_bytes=6_000_000) as ws:
            await ws.send("big")
            assert len(await ws.receive()) == 5_000_000


async def test_a_websocket_that_breaks_is_told_from_one_that_was_closed() -> None:
    async with network() as (_, _, gw), gw.session(NAME) as session:
        ws = await session.websocket("/ws")
        await ws.send("no json")
        with pytest.raises(ProtocolError, match="no JSON"):
            await ws.receive_json()
        await ws.send("break")
        with pytest.raises(ProtocolError, match="broke the WebSocket protocol"):
            await ws.receive(timeout=LIMIT)
        for read in (lambda ws: ws.receive(timeout=LIMIT), anext):
            ws = await session.websocket("/ws")
            await ws.send("cut")
            with pytest.raises(ConnectionFailedError, match="its connection broke") as told:
                await read(ws)  # an iteration does not end as if all had come
            assert told.value.may_have_run


async def test_channels_that_the_app_opened_are_used_by_their_urls() -> None:
    async with network() as (orchestrator, _, gw), gw.session(NAME) as session:
        urls = (await session.request("POST", "/channels")).json()
        channel = session.channel(urls["in"], mime_type="a/b")
        assert urls["in"] not in repr(channel)
        async with channel.publisher() as publisher, channel.subscriber(start=0) as subscriber:
            await publisher.write(b"segment")
            segment = await anext(subscriber)
            assert await segment.read() == b"segment"
        records = session.channel(urls["out"])
        left_open = records.record_publisher()
        await left_open.__aenter__()
        async with records.record_subscriber(start=0) as reader:
            await left_open.write({"n": 1})
            assert await anext(aiter(reader)) == {"n": 1}
        await records.delete()
        await records.delete()
        name = urls["out"].rpartition("/")[2]
        assert orchestrator.trickle.get(name) is None
        session_id = name.partition("-")[0]
        assert session_id in urls["in"] and session_id not in f"{publisher!r} {left_open!r}"
        with pytest.raises(TrickleError) as caught:
            await channel.publisher().__aenter__()
        assert "session_***" in str(caught.value) and session_id not in str(caught.value)
        for url in ("https://elsewhere.test/x", "ftp://x/y", orchestrator.url, "x"):
            with pytest.raises(ConfigurationError, match="the channel"):
                session.channel(url)


async def test_frames_go_through_a_channel_and_what_is_left_open_ends_with_the_session() -> None:
    picture = VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), time=0)
    async with network() as (_, _, gw):
        async with gw.session(NAME) as session:
            urls = (await session.request("POST", "/channels")).json()
            channel = session.channel(urls["in"], mime_type="video/MP2T")
            into = await channel.media_publisher(audio=None).__aenter__()
            out = await channel.media_subscriber(start=0).__aenter__()
            await into.write(picture)
            assert (await anext(out)).width == 32
        with pytest.raises(TrickleError):
            await into.write(picture)
        with pytest.raises(StopAsyncIteration):
            await anext(out)


async def test_an_app_of_single_requests_takes_each_by_itself() -> None:
    async with network(mode="single-shot", capacity=1) as (orchestrator, app, gw):
        async with gw.session(NAME) as session:
            assert session.mode == "single-shot" and not reserved(orchestrator)
            assert (await session.request("POST", "/json", json=1)).json()["body"] == 1
            async with await session.websocket("/ws") as ws:
                await ws.send("x")
                assert await ws.receive() == "x" and reserved(orchestrator) == 1
            await until(lambda: not reserved(orchestrator))
            async with await session.request("GET", "/events?hang", stream=True):
                with pytest.raises(NoCapacityError):
                    await session.request("GET", "/json", timeout=1)
            await until(lambda: not reserved(orchestrator))
            assert (await session.request("GET", "/json")).ok
        assert "/base/json" in app.asked


async def test_run_calls_a_foreign_app_with_json_and_collects_its_events() -> None:
    async with network(mode="single-shot") as (_, app, gw):
        told = await gw.run_async(NAME, input={"x": 1}, route="json", validate=False)
        assert told["body"] == {"x": 1} and told["method"] == "POST"
        assert await gw.run_async(NAME, route="events") == [{"n": n} for n in range(3)]
        assert (await gw.run_async(NAME, input={"x": 1}))["path"] == "/base/predict"
        assert "/base/schema" not in app.asked  # which it says nothing of
        assert await gw.schema_async(NAME) is None and "/base/schema" in app.asked


async def test_a_session_is_given_back_however_its_caller_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with network(capacity=9) as (orchestrator, app, gw):

        async def leaves() -> None:
            async with gw.session(NAME) as session:
                await session.request("GET", "/events?hang")

        task = asyncio.create_task(leaves())
        await until(lambda: "/base/events" in app.asked)
        (session_id,) = next(iter(orchestrator.runners)).sessions
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not reserved(orchestrator)
        with pytest.raises(CallTimeoutError):
            async with gw.session(NAME, timeout=0.3) as session:
                await session.request("GET", "/events?hang")
        assert not reserved(orchestrator)
        dropped = await gw.session(NAME).__aenter__()
        await dropped.websocket("/ws")
        assert reserved(orchestrator) == 1
        with pytest.warns(ResourceWarning, match="unclosed AppSession"):
            del dropped
            gc.collect()
        await until(lambda: not reserved(orchestrator))
        kept = await gw.session(NAME).__aenter__()
        assert reserved(orchestrator) == 1
        await gw.aclose()  # the gateway's end is that of its sessions
        assert not reserved(orchestrator)
        await kept.aclose()
    assert session_id not in caplog.text


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 12, 20, 40, 80])
async def test_an_opening_that_is_cancelled_leaves_no_session(turns: int) -> None:
    async with network() as (_, _, gw):
        opening = gw.session(NAME)
        entering = asyncio.create_task(opening.__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        entering.cancel()
        await asyncio.wait([entering])
        if not entering.cancelled():
            await opening.__aexit__(None, None, None)


async def test_an_app_that_is_silent_costs_the_time_that_was_given() -> None:
    async with network() as (orchestrator, app, gw), gw.session(NAME) as session:
        app.hold = asyncio.Event()
        for call in (
            session.request("GET", "/hold", timeout=0.3),
            session.request("GET", "/hold", stream=True, timeout=0.3),
            session.websocket("/hold", timeout=0.3),
        ):
            with pytest.raises(CallTimeoutError):
                await call
        assert reserved(orchestrator) == 1  # which is no reason to end the session
        app.hold.set()
        assert (await session.request("GET", "/json")).ok


async def test_the_end_of_a_loop_gives_its_sessions_back() -> None:
    async with network() as (orchestrator, _, _):

        async def forgets() -> None:
            gw = gateway(orchestrator)
            session = await gw.session(NAME).__aenter__()
            assert (await session.request("GET", "/json")).ok
            held.append((gw, session))

        held: list[Any] = []
        await asyncio.to_thread(lambda: asyncio.run(forgets()))
        assert held and not reserved(orchestrator)
        with pytest.warns(ResourceWarning):
            held.clear()
            gc.collect()


async def test_a_session_that_the_app_ended_says_so_and_a_caller_may_open_another() -> None:
    async with network() as (orchestrator, _, gw):
        async with gw.session(NAME) as session:
            await session.request("POST", "/leave")
            for _ in range(2):
                with pytest.raises(SessionEndedError, match="over"):
                    await session.request("GET", "/json")
            assert session.ended and session.ended in repr(session)
        async with gw.session(NAME) as session:
            assert (await session.request("GET", "/json")).ok
            assert reserved(orchestrator) == 1


async def test_a_runner_that_is_gone_is_an_error_and_the_next_session_is_at_another() -> None:
    async with network(runner_id="a", capacity=9) as (orchestrator, _, gw):
        gone = ForeignApp()
        async with serving(gone):
            pass
        await heartbeat(orchestrator, gone, runner_id="b", app=NAME, mode="persistent", capacity=99)
        async with gw.session(NAME) as session:  # the emptier one, which is dead
            with pytest.raises(NoOrchestratorError, match="cannot be reached") as caught:
                await session.request("GET", "/json")
            assert not caught.value.may_have_run and session.ended is None
            for _ in range(3):
                async with gw.session(NAME) as other:
                    assert (await other.request("GET", "/json")).ok


async def test_nobody_who_has_it_is_one_precise_error() -> None:
    async with network() as (orchestrator, _, gw):
        with pytest.raises(NoOrchestratorError):
            await gw.session("no/app", timeout=2).__aenter__()
        async with gw.session(NAME), gateway(orchestrator, max_retries=0) as other:
            with pytest.raises(NoCapacityError):
                await other.session(NAME).__aenter__()
        async with Gateway(gateway_url=orchestrator.url) as by_gateway:
            with pytest.raises(ConfigurationError, match="orch_url"):
                await by_gateway.session(NAME).__aenter__()
        opening = gw.session(NAME)
        async with opening:
            with pytest.raises(RuntimeError, match="once"):
                await opening.__aenter__()


async def test_a_full_app_is_waited_for_as_long_as_the_call_allows() -> None:
    async with network() as (orchestrator, _, gw):
        first = gw.session(NAME)
        await first.__aenter__()
        second = asyncio.create_task(gw.session(NAME).__aenter__())
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)
        session = await second
        assert reserved(orchestrator) == 1
        await session.aclose()


async def test_an_answer_of_the_orchestrator_that_leads_elsewhere_is_not_followed() -> None:
    async def reserve(request: web.Request) -> web.StreamResponse:
        there = "http://elsewhere.test:1/apps/a/session/s3cret"
        return web.json_response({"app_url": f"{there}/app", "control_url": there})

    async def discovery(request: web.Request) -> web.StreamResponse:
        entry = {"url": "http://elsewhere.test:1/apps/a/session", "app": NAME}
        entry |= {"mode": "persistent", "capacity_available": 1}
        return web.json_response([{"runners": [entry]}])

    async def app(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/ws"):
            raise web.HTTPFound("http://elsewhere.test:1/")
        return web.json_response({"path": request.path})

    site = web.Application()
    site.router.add_get("/discovery", discovery)
    site.router.add_post("/apps/a/session", reserve)
    site.router.add_route("*", "/apps/a/session/s3cret/{tail:.*}", app)
    runner = web.AppRunner(site, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Gateway(orch_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as gw:
            async with gw.session(NAME) as session:
                answer = await session.request("GET", "/x")
                assert answer.json() == {"path": "/apps/a/session/s3cret/app/x"}
                with pytest.raises(LivepeerError) as caught:
                    await session.websocket("/ws")
                assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__} {session!r}"
    finally:
        await runner.cleanup()


async def test_sync_code_has_the_same_without_a_loop() -> None:
    async with network(capacity=2) as (orchestrator, _, gw):

        def calls() -> None:
            with gw.session(NAME) as session:
                assert session.request("POST", "/json", json={"x": 1}).json()["body"] == {"x": 1}
                with session.request("GET", "/events", stream=True) as answer:
                    assert [each.json()["n"] for each in answer.events()] == [0, 1, 2]
                with session.request("GET", "/events", stream=True) as answer:
                    assert b"tick" in b"".join(answer)
                with session.websocket("/ws") as ws:
                    ws.send("a")
                    ws.send_json([1])
                    assert (ws.receive(timeout=LIMIT), ws.receive_json()) == ("a", [1])
                    ws.send("bye")
                    assert list(ws) == [] and ws.close_code == 1000
                assert session.mode == "persistent" and "open" in repr(session)
            assert session.ended
            with pytest.raises(SessionEndedError):
                session.request("GET", "/json")

        await asyncio.to_thread(calls)
        assert not reserved(orchestrator)
        assert "livepeer-client" in {thread.name for thread in threading.enumerate()}
        await gw.aclose()
