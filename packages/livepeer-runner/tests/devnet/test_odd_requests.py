"""Bytes that no well-behaved caller or container sends: each gets an answer, none does harm."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket

import pytest
from aiohttp import web

from livepeer.runner.devnet import LocalOrchestrator, listener
from livepeer.runner.devnet.byoc import sse
from livepeer.runner.devnet.urls import BadURL, clean_path, join_path, parse_url

LIMIT = 30


def job(**fields: object) -> bytes:
    values = {
        "id": "i",
        "request": "{}",
        "parameters": "{}",
        "capability": "c",
        "timeout_seconds": 5,
        **fields,
    }
    return b"Livepeer: " + base64.b64encode(json.dumps(values).encode()) + b"\r\n"


async def ask(url: str, request: bytes) -> bytes:
    """The status line of the answer, empty where the connection just ends."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    async with asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request)
            return (await reader.readline()).strip()
        except ConnectionError:
            return b""
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def answer_oddly(request: web.Request) -> web.Response:
    return web.Response(body=b"{}", headers={"X-Metadata": "\udcff", "Content-Type": "a/\udcff"})


async def redirect_nowhere(request: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": "http://[broken"})


HEAD = b"Host: x\r\nContent-Length: 2\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /process/request/%zz HTTP/1.1\r\n" + HEAD + job() + b"\r\n{}", b"500"),
        (b"POST /process/request/%ff HTTP/1.1\r\n" + HEAD + job() + b"\r\n{}", b"200"),
        (
            b"POST /process/request/x HTTP/1.1\r\nContent-Type: \xff\r\n"
            + HEAD
            + job()
            + b"\r\n{}",
            b"200",
        ),
        (b"POST /process/request/x HTTP/1.1\r\n" + HEAD + b"Livepeer: \xff\r\n\r\n{}", b"400"),
        (b"POST /ai/stream/start HTTP/1.1\r\n" + HEAD + job(id="a\r\nb: c") + b"\r\n{}", b"500"),
        (b"POST /ai/stream/start HTTP/1.1\r\n" + HEAD + job(id="..") + b"\r\n{}", b"200"),
        (b"POST /ai/stream/start HTTP/1.1\r\n" + HEAD + job(id="x" * 5000) + b"\r\n{}", b"500"),
        (b"POST /ai/stream/start HTTP/1.1\r\n" + HEAD + job(id="\ud800") + b"\r\n{}", b"500"),
        (b"GET /process/token HTTP/1.1\r\nHost: x\r\nLivepeer-Eth-Address: =\r\n\r\n", b"400"),
        (b"GET //// HTTP/1.1\r\nHost: x\r\n\r\n", b"307"),
        (b"hello\r\n\r\n", b"400"),
    ],
)
async def test_an_odd_request_has_an_answer_and_costs_nobody_the_capability(
    container, request_bytes: bytes, status: bytes
) -> None:
    async with LocalOrchestrator(tls=False) as orchestrator, container(answer_oddly) as url:
        orchestrator.capabilities.register(json.dumps({"name": "c", "url": url}).encode())
        line = await ask(orchestrator.url, request_bytes)
        assert line.split(b" ")[1:2] == [status], line
        assert orchestrator.capabilities.get("c") is not None


async def test_a_redirect_to_a_broken_address_is_a_container_that_cannot_be_reached(
    container,
) -> None:
    async with LocalOrchestrator(tls=False) as orchestrator, container(redirect_nowhere) as url:
        orchestrator.capabilities.register(json.dumps({"name": "c", "url": url}).encode())
        request = b"POST /process/request/x HTTP/1.1\r\n" + HEAD + job() + b"\r\n{}"
        assert b" 500 " in await ask(orchestrator.url, request)
        assert orchestrator.capabilities.get("c") is None


async def test_a_token_does_not_follow_a_redirect_to_another_host(container) -> None:
    seen: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("Authorization")))
        if request.path == "/x":
            elsewhere = f"http://localhost:{request.url.port}/elsewhere"
            return web.Response(status=307, headers={"Location": elsewhere})
        return web.json_response({})

    async with LocalOrchestrator(tls=False) as orchestrator, container(handler) as url:
        registration = {"name": "c", "url": url, "token": "t"}
        orchestrator.capabilities.register(json.dumps(registration).encode())
        request = b"POST /process/request/x HTTP/1.1\r\n" + HEAD + job() + b"\r\n{}"
        assert b" 200 " in await ask(orchestrator.url, request)
    assert seen == [("/x", "Bearer t"), ("/elsewhere", None)]


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_caller_that_leaves_before_a_write_is_no_error_and_other_errors_are(
    caplog: pytest.LogCaptureFixture, leaves: bool
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if not leaves:
            raise ConnectionResetError("of something else")
        assert request.transport is not None
        request.transport.abort()  # aiohttp cancels the handler a moment later
        response = web.StreamResponse()
        await sse.write(request, response, b"data: 1\n")
        return await sse.end(request, response)

    app = listener.application()
    listener.handle(app, handler)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with listener.serve(app, listening):
            line = await ask(url, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line == (b"" if leaves else b"HTTP/1.1 500 Internal Server Error")
    assert ("Error handling request" in caplog.text) is not leaves


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        ("http://h", "http://h/"),
        ("http://h/a b", "http://h/a%20b"),
        ("http://h/%41", "http://h/%41"),
        ("http://h/\u00e9", "http://h/%C3%A9"),
        ("http://h/a#b", "http://h/a"),
        ("http://h/a?b c", "http://h/a?b%20c"),
        ("HTTP://h:1/x", "http://h:1/x"),
        ("/x", "/x"),
    ],
)
def test_a_url_is_sent_as_go_sends_it(raw: str, target: str) -> None:
    assert str(parse_url(raw)) == target


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("h:1/x y", None),
        ("127.0.0.1:1/x", "first path segment in URL cannot contain colon"),
        ("http://h/%zz", 'invalid URL escape "%zz"'),
        ("http://h/\x01", "net/url: invalid control character in URL"),
        (":1", "missing protocol scheme"),
    ],
)
def test_a_bad_url_has_the_error_of_go(raw: str, error: str | None) -> None:
    if error is None:
        assert parse_url(raw).scheme == "h"
        return
    with pytest.raises(BadURL) as bad:
        parse_url(raw)
    assert str(bad.value) == f'parse "{raw}": {error}'


def test_paths_are_cleaned_and_joined_as_go_does_it() -> None:
    assert [clean_path(path) for path in ("/", "//", "/a//b/", "/a/../b", "/./a")] == [
        "/",
        "/",
        "/a/b/",
        "/b",
        "/a",
    ]
    assert join_path("/ai/trickle", "a/b c%41") == "/ai/trickle/a/b%20cA"
    assert join_path("/ai/trickle", "") == "/ai/trickle"
