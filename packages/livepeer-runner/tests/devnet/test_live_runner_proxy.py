"""How requests of callers reach a live runner, and what comes back."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from livepeer.runner.devnet import LocalOrchestrator
from livepeer.trickle.testing.streams import StreamServer

from .live_runners import registered, until


async def session_of(runner: Any) -> tuple[str, str]:
    """The app's URL, with the slash that it needs, and the control URL."""
    status, opened = await runner.reserve()
    assert status == 200, opened
    return opened["app_url"] + "/", opened["control_url"]


async def test_a_websocket_passes_both_ways_in_pieces_of_any_size() -> None:
    async with LocalOrchestrator() as orchestrator, registered(orchestrator) as runner:
        app_url, _ = await session_of(runner)
        async with runner.http.ws_connect(app_url + "ws", max_msg_size=0) as websocket:
            await websocket.send_str("hello")
            assert await websocket.receive_str() == "hellohello"
            large = os.urandom(3 << 20)
            await websocket.send_bytes(large)
            assert await websocket.receive_bytes() == large * 2
        status, _ = await runner.get(app_url + "after")
        assert status == 200


async def test_a_websocket_whose_other_side_reads_nothing_is_not_read_either() -> None:
    go_on, received = asyncio.Event(), 0

    async def late(request: web.Request) -> web.StreamResponse:
        nonlocal received
        websocket = web.WebSocketResponse(max_msg_size=0)
        await websocket.prepare(request)
        await go_on.wait()
        async for message in websocket:
            received += len(message.data)
        return websocket

    async with LocalOrchestrator(tls=False) as orchestrator, registered(orchestrator, late) as one:
        app_url, _ = await session_of(one)
        async with one.http.ws_connect(app_url + "ws") as websocket:
            piece = os.urandom(1 << 20)

            async def send() -> None:
                for _ in range(64):
                    await websocket.send_bytes(piece)

            sending = asyncio.create_task(send())
            done, _ = await asyncio.wait([sending], timeout=1)
            assert not done  # 64 MiB are in nobody's memory
            go_on.set()
            await asyncio.wait_for(sending, 30)
        await until(lambda: received == 64 << 20)


async def test_a_websocket_that_the_runner_refuses_is_an_answer_like_others() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=403, text="not you")

    async with LocalOrchestrator() as orchestrator, registered(orchestrator, refuse) as runner:
        app_url, _ = await session_of(runner)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with runner.http.ws_connect(app_url + "ws"):
                pass
        assert refused.value.status == 403


async def test_a_runner_that_dies_ends_its_callers_websockets() -> None:
    sockets: list[web.WebSocketResponse] = []

    async def hold(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        sockets.append(websocket)
        assert request.transport is not None
        transport = request.transport
        await websocket.receive()
        transport.abort()
        return websocket

    async with LocalOrchestrator() as orchestrator, registered(orchestrator, hold) as runner:
        app_url, _ = await session_of(runner)
        async with runner.http.ws_connect(app_url + "ws") as websocket:
            await websocket.send_str("die")
            message = await websocket.receive()
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)


async def test_events_reach_the_caller_while_the_runner_is_still_at_it() -> None:
    go_on = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await go_on.wait()
        await response.write(b"data: [DONE]\n\n")
        return response

    async with LocalOrchestrator() as orchestrator, registered(orchestrator, stream) as runner:
        app_url, _ = await session_of(runner)
        async with runner.http.get(app_url + "events") as answer:
            assert await answer.content.readexactly(9) == b"data: 1\n\n"
            go_on.set()
            assert await answer.read() == b"data: [DONE]\n\n"


@pytest.mark.parametrize("asks", [True, False], ids=["caller asks for gzip", "caller does not"])
async def test_gzip_is_undone_only_for_callers_that_did_not_ask_for_it(asks: bool) -> None:
    text = b"the same again " * 10_000

    async def packed(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip"
        return web.Response(
            body=gzip.compress(text),
            headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"},
        )

    async with LocalOrchestrator() as orchestrator, registered(orchestrator, packed) as runner:
        app_url, _ = await session_of(runner)
        skipped = () if asks else ("Accept-Encoding",)
        headers = {"Accept-Encoding": "gzip"} if asks else {}
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False), auto_decompress=False
        ) as http:
            async with http.get(app_url, headers=headers, skip_auto_headers=skipped) as answer:
                body = await answer.read()
                assert answer.headers.get("Content-Encoding") == ("gzip" if asks else None)
        assert (gzip.decompress(body) if asks else body) == text


async def test_a_large_upload_passes_without_being_held() -> None:
    async with LocalOrchestrator() as orchestrator, registered(orchestrator) as runner:
        app_url, _ = await session_of(runner)
        status, told = await runner.post(app_url + "up", data=io.BytesIO(os.urandom(8 << 20)))
        assert (status, told["body"]) == (200, 8 << 20)


async def test_a_caller_that_waits_for_100_is_told_to_go_on() -> None:
    async with LocalOrchestrator(tls=False) as orchestrator, registered(orchestrator) as runner:
        app_url, _ = await session_of(runner)
        status, told = await runner.post(app_url + "up", data=b"x" * 2000, expect100=True)
        assert (status, told["body"]) == (200, 2000)


async def test_what_the_orchestrator_tells_the_runner_cannot_be_forged_or_asked_for() -> None:
    async with LocalOrchestrator() as orchestrator, registered(orchestrator) as runner:
        app_url, control_url = await session_of(runner)
        forged = {
            "Livepeer-Session-Id": "forged",
            "livepeer-session-token": "forged",
            "Livepeer-Session-Control": "https://elsewhere.invalid",
            "Livepeer-Runner-Route": "forged",
            "Connection": "Livepeer-Session-Token, X-Drop",
            "X-Drop": "1",
        }
        status, told = await runner.post(app_url + "x?a=%20b", headers=forged)
        headers = told["headers"]
        session_id = control_url.rpartition("/")[2]
        assert status == 200
        assert told["path"] == "/x?a=%20b"
        assert headers["livepeer-session-id"] == session_id
        assert headers["livepeer-session-token"] not in ("", "forged")
        assert headers["livepeer-runner-route"] == "runner-1"
        assert headers["livepeer-session-control"] == (
            f"{orchestrator.url}/runner/runner-1/session/{session_id}"
        )
        assert "x-drop" not in headers


async def test_an_answer_that_breaks_off_breaks_the_callers_connection() -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with LocalOrchestrator() as orchestrator, registered(orchestrator, half) as runner:
        app_url, _ = await session_of(runner)
        with pytest.raises(aiohttp.ClientError):
            await runner.get(app_url)
        assert len(await runner.discovered()) == 1


async def test_a_runner_that_is_no_http_server_is_502_without_its_address_path() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-no\r\n\r\n")

    async with (
        StreamServer(talk) as server,
        LocalOrchestrator() as orchestrator,
        registered(orchestrator) as runner,
    ):
        runner.url = f"http://127.0.0.1:{server.port}/r/secret-path"
        await runner.heartbeat()
        app_url, _ = await session_of(runner)
        status, text = await runner.get(app_url + "x")
        assert status == 502
        assert "secret-path" not in text


async def test_a_caller_that_leaves_a_single_shot_ends_it_and_frees_its_place() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return web.Response()

    async with (
        LocalOrchestrator() as orchestrator,
        registered(orchestrator, hang, mode="single-shot") as runner,
    ):
        call = asyncio.create_task(runner.get(f"{orchestrator.url}/apps/runner-1/app/x"))
        await asyncio.wait_for(began.wait(), 30)
        assert (await runner.discovered())[0]["capacity_available"] == 0
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.wait_for(ended.wait(), 30)
        (one,) = orchestrator.runners
        await until(lambda: not one.sessions)


async def answer_to(orchestrator: LocalOrchestrator, target: str, method: str = "GET") -> bytes:
    """The whole answer to a request line that no client would send as it stands."""
    host, _, port = orchestrator.url.rpartition("//")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


#: Below the app, and what the runner was asked for by a Go 1.26 program with the reference's
#: `http.ServeMux` patterns, `url.JoinPath` and `httputil.ReverseProxy`.
ARRIVALS = {
    "a%20b": "/base%2520c/a%2520b",
    "a%2Fb": "/base%2520c/a/b",
    "%FF": "/base%2520c/%25FF",
    "%C3%A9[.@$": "/base%2520c/%25C3%25A9%255B.@$",
    "a[.@$": "/base%2520c/a%255B.@$",
    "a;b=c": "/base%2520c/a;b=c",
    "%3F": "/base%2520c/%253F",
    "%2520": "/base%2520c/%2520",
    "a%2F%2e%2e%2Fb%2F": "/base%2520c/b/",
    "": "/base%2520c",
}


@pytest.mark.parametrize(("path", "arrives"), ARRIVALS.items())
async def test_a_path_reaches_the_runner_escaped_twice(path: str, arrives: str) -> None:
    async with (
        LocalOrchestrator(tls=False) as orchestrator,
        registered(orchestrator, proxy=True, mode="single-shot") as once,
    ):
        once.url += "/base%20c"
        await once.heartbeat()
        apps = ("/apps/runner-1/app/", "/run/runner-1/")
        for app in apps if path else apps[:1]:
            answer = await answer_to(orchestrator, f"{app}{path}?q=%2F+")
            assert f'"path": "{arrives}?q=%2F+"'.encode() in answer, answer


async def test_a_caller_can_leave_the_path_of_the_runners_url() -> None:
    async with (
        LocalOrchestrator(tls=False) as orchestrator,
        registered(orchestrator, mode="single-shot") as once,
    ):
        once.url += "/r/secret"
        await once.heartbeat()
        answer = await answer_to(orchestrator, "/apps/runner-1/app/..%2F..%2Fx")
        assert b'"path": "/x"' in answer, answer


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/apps/r/session/s/app?x=1&y", "/apps/r/session/s/app/?x=1&y"),
        ("/apps/r/app", "/apps/r/app/"),
        ("/apps/r/app/.?x", "/apps/r/app/?x"),
        ("/apps/r/app//a%20b", "/apps/r/app/a%2520b"),
        ("/apps/r/app/(//", "/apps/r/app/%28/"),
        ("/apps/r/app/%2f^", "/apps/r/app/%255E"),
        ("/apps//session", "/apps/session"),
        ("/run/runner-1", "/apps/runner-1/app/"),
        ("/run/runner-1/?q='", "/apps/runner-1/app/?q='"),
    ],
)
async def test_a_path_that_is_not_clean_is_redirected(target: str, location: str) -> None:
    async with (
        LocalOrchestrator(tls=False) as orchestrator,
        registered(orchestrator, proxy=True, mode="single-shot"),
    ):
        answer = await answer_to(orchestrator, target)
        assert answer.startswith(b"HTTP/1.1 307 Temporary Redirect\r\n")
        assert f"\r\nLocation: {location}\r\n".encode() in answer, answer
        assert b'">Temporary Redirect</a>.\n\n' in answer
        answer = await answer_to(orchestrator, target, "DELETE")
        assert answer.endswith(b"\r\n\r\n")  # without a body


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/apps/r/session", 405, "POST"),
        ("POST", "/discovery", 405, "GET, HEAD"),
        ("PUT", "/runner/r/session/s/channels", 405, "DELETE, POST"),
        ("GET", "/discovery/", 404, ""),
        ("POST", "/runners/heartbeat/", 404, ""),
        ("GET", "/run/..%2Fsession", 404, ""),
        ("GET", "/run/runner-1/..%2Fsession", 405, "POST"),
        ("GET", "/run/", 404, ""),
        ("OPTIONS", "*", 404, ""),
        ("GET", "/", 404, ""),
        ("GET", "/apps/r/app/%zz", 400, ""),
        ("GET", "/apps/r/app//%zz", 400, ""),
        ("GET", "/run/runner-1/%25zz", 502, ""),
    ],
)
async def test_a_path_or_method_that_is_none_is_refused(
    method: str, target: str, status: int, allow: str
) -> None:
    async with (
        LocalOrchestrator(tls=False) as orchestrator,
        registered(orchestrator, proxy=True, mode="single-shot"),
    ):
        answer = await answer_to(orchestrator, target, method)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        assert (f"\r\nAllow: {allow}\r\n".encode() in answer) is bool(allow)


async def test_a_path_with_a_broken_escape_below_the_escape_is_502() -> None:
    async with LocalOrchestrator() as orchestrator, registered(orchestrator) as runner:
        app_url, _ = await session_of(runner)
        status, text = await runner.get(app_url + "%25zz")
        assert (status, text) == (502, 'invalid URL escape "%zz"')
