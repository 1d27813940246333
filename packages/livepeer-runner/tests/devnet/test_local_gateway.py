"""A whole local network: caller, gateway, orchestrator, container."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from livepeer.runner.devnet import LocalGateway, LocalOrchestrator
from livepeer.runner.devnet.gateway.feeds import DataFeed
from livepeer.trickle import TricklePublisher

LIMIT = 30


async def test_a_job_goes_through_gateway_and_orchestrator_and_back(
    session, container, register, envelope
) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert (request.path, await request.json()) == ("/v1/predict", {"a": 1})
        return web.json_response({"ok": True}, headers={"X-Metadata": "m"})

    async with (
        LocalOrchestrator() as orchestrator,
        LocalGateway([orchestrator.url]) as gateway,
        container(handler) as url,
    ):
        await register(orchestrator, name="job", url=url)
        async with session.post(
            f"{gateway.url}/process/request/v1/predict", json={"a": 1}, headers=envelope("job")
        ) as answer:
            assert (answer.status, json.loads(await answer.text())) == (200, {"ok": True})
            assert answer.headers["X-Orchestrator-Url"] == orchestrator.url
            assert answer.headers["X-Metadata"] == "m"
        assert orchestrator.capabilities.available("job") == 1


async def test_a_stream_of_events_ends_at_done_and_its_place_is_free_again(
    session, container, register, envelope, eventually
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"data: 1\n\ndata: [DONE]\n\n", content_type="text/event-stream")

    async with (
        LocalOrchestrator() as orchestrator,
        LocalGateway([orchestrator.url]) as gateway,
        container(handler) as url,
    ):
        await register(orchestrator, name="sse", url=url)
        async with session.post(
            f"{gateway.url}/process/request/x",
            data=b"{}",
            headers=envelope("sse", timeout=60),
        ) as answer:
            body = await answer.read()
        # The orchestrator goes on with blank lines for a minute; the gateway does not wait.
        assert body == b'data: 1\n\ndata: {"balance": 0.000}\n\n\ndata: [DONE]\n'
        await eventually(lambda: orchestrator.capabilities.available("sse") == 1)


async def test_a_full_orchestrator_is_not_asked(session, register, envelope) -> None:
    async with (
        LocalOrchestrator() as orchestrator,
        LocalGateway([orchestrator.url]) as gateway,
    ):
        await register(orchestrator, name="full", url="http://127.0.0.1:1", capacity=0)
        async with session.post(
            f"{gateway.url}/process/request/x", data=b"{}", headers=envelope("full")
        ) as answer:
            assert answer.status == 400
            assert await answer.text() == "No orchestrators found for capability full\n"


async def test_a_job_that_one_container_fails_is_done_by_another(
    session, container, register, envelope
) -> None:
    async def failing(request: web.Request) -> web.Response:
        return web.json_response({}, status=500)

    async def working(request: web.Request) -> web.Response:
        return web.json_response({"by": "the other"})

    async with (
        LocalOrchestrator() as one,
        LocalOrchestrator() as other,
        LocalGateway([one.url, other.url]) as gateway,
        container(failing) as bad,
        container(working) as good,
    ):
        await register(one, name="job", url=bad)
        await register(other, name="job", url=good)
        for _ in range(5):
            async with session.post(
                f"{gateway.url}/process/request/x", data=b"{}", headers=envelope("job")
            ) as answer:
                assert json.loads(await answer.text()) == {"by": "the other"}
                assert answer.headers["X-Orchestrator-Url"] == other.url


async def test_a_live_stream_shows_its_status_takes_updates_and_is_stopped_twice(
    session, container, register, envelope, eventually
) -> None:
    calls: list[tuple[str, str]] = []
    started = asyncio.Event()
    document: dict[str, str] = {}

    async def handler(request: web.Request) -> web.Response:
        body = await request.text()
        calls.append((request.path, body))
        assert request.headers["X-Stream-Id"] == "cam-1"
        if request.path == "/stream/start":
            document.update(json.loads(body))
            started.set()
        return web.json_response({"path": request.path})

    async with (
        LocalOrchestrator() as orchestrator,
        LocalGateway([orchestrator.url]) as gateway,
        container(handler) as url,
    ):
        await register(orchestrator, name="live", url=url)
        base = f"{gateway.url}/process/stream"
        request = {"stream_name": "cam", "stream_id": "1", "params": '{"prompt": "a"}'}
        async with session.post(f"{base}/start", json=request, headers=envelope("live")) as answer:
            assert (await answer.json())["stream_id"] == "cam-1"
        async with asyncio.timeout(LIMIT):
            await started.wait()
        assert document["params"] == {"prompt": "a"}
        assert orchestrator.capabilities.available("live") == 0

        async def status() -> dict[str, object]:
            async with session.get(f"{base}/cam-1/status") as answer:
                return await answer.json()

        async with TricklePublisher(
            document["events_url"], mime_type="application/json", tls=False, delete_on_close=False
        ) as events:
            for _ in range(100):
                async with events.segment() as segment:
                    await segment.write(b'{"type": "status", "state": "ONLINE"}')
                if (shown := await status()).get("state") == "ONLINE":
                    break
                await asyncio.sleep(0.05)
            assert shown["stream_id"] == "cam-1"

        headers = envelope("live", request='{"stream_id": "cam-1"}')
        async with session.post(
            f"{base}/cam-1/update", json={"prompt": "b"}, headers=headers
        ) as answer:
            assert json.loads(await answer.text()) == {"path": "/stream/params"}
        async with session.post(f"{base}/cam-1/stop", data=b"enough") as answer:
            assert json.loads(await answer.text()) == {"path": "/stream/stop"}
        await eventually(lambda: len(calls) == 4)
        assert calls[1] == ("/stream/params", '{"prompt": "b"}')
        assert calls[2:] == [("/stream/stop", "enough"), ("/stream/stop", "stream ended")]
        await eventually(lambda: orchestrator.capabilities.available("live") == 1)
        assert orchestrator.trickle.get("cam-1-control") is None


async def test_a_gateway_that_ends_stops_its_streams(
    session, container, register, envelope
) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        (started if request.path == "/stream/start" else stopped).set()
        return web.json_response({})

    before = asyncio.all_tasks()
    async with LocalOrchestrator() as orchestrator, container(handler) as url:
        await register(orchestrator, name="live", url=url)
        async with asyncio.timeout(LIMIT), LocalGateway([orchestrator.url]) as gateway:
            async with session.post(
                f"{gateway.url}/process/stream/start",
                json={"stream_id": "1"},
                headers=envelope("live"),
            ) as answer:
                assert answer.status == 200
            await started.wait()
        assert stopped.is_set()
        assert "devnet-gateway-stream" not in {
            task.get_name() for task in asyncio.all_tasks() - before
        }


async def test_a_reader_of_data_that_is_slow_loses_the_oldest_lines_and_sees_the_end() -> None:
    feed = DataFeed()
    lines = feed.subscribe()
    for number in range(8):
        feed.write(b"%d" % number)
    feed.close()
    feed.close()
    seen = [lines.get_nowait() for _ in range(lines.qsize())]
    assert seen == [b"3", b"4", b"5", b"6", b"7", None]
    assert feed.subscribe().get_nowait() is None
