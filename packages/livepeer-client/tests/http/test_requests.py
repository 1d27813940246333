"""Requests over the connections of one loop: bodies, what cannot be reached, and what is left."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import BodyPartReader, web

from livepeer.client import (
    CallTimeoutError,
    CertificateChangedError,
    CertificateError,
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
)
from livepeer.client.apps.request import AppRequest
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import SMALL, Http, read
from livepeer.client.testing import ScriptedOrchestrator, reply
from livepeer.trickle.testing.streams import StreamServer
from livepeer.trickle.tls.pins import PinTrust
from livepeer.trickle.types import TLS

Start = Callable[..., Any]
Certificate = Callable[[], ssl.SSLContext]
LIMIT = 30.0


async def form(names: dict[str, Any], fields: dict[str, Any]) -> list[Any]:
    """A form as a server reads it: name, file name, type and content of each part."""
    found: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        assert request.content_length is not None
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            kind = part.headers["Content-Type"]
            found.append((part.name, part.filename, kind, await part.read()))
        return web.Response()

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/x", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/x"
        request = await AppRequest.make("POST", "x", files=names, data=fields)
        async with aclosing(Http()) as http:
            deadline = Deadline(LIMIT)
            call = await http.open(
                "POST", url, ssl=True, deadline=deadline, headers=request.headers, body=request.body
            )
            await read(call, deadline, limit=SMALL)
            assert call.status == 200
    finally:
        await runner.cleanup()
    return found


async def test_a_form_arrives_whole_whatever_its_names_and_parts() -> None:
    large = bytes(range(256)) * 2000
    found = await form(
        {
            'quo"ted': ("a\r\nb.bin", large, "application/x-own"),
            "ünïcode": ("日本.txt", b"--boundary\r\n\r\n", "text/plain"),
            "empty": ("", b""),
        },
        {"n": 1, "ü": "ä"},
    )
    assert found == [
        ("n", None, "text/plain; charset=utf-8", b"1"),
        ("ü", None, "text/plain; charset=utf-8", "ä".encode()),
        ("quo%22ted", "a%0D%0Ab.bin", "application/x-own", large),
        ("ünïcode", "日本.txt", "text/plain", b"--boundary\r\n\r\n"),
        ("empty", "", "application/octet-stream", b""),
    ]
    with pytest.raises(LivepeerError, match="media type"):
        await AppRequest.make("POST", "x", files={"a": ("b", b"c", "text/plain\r\nX: y")})


async def test_a_body_that_breaks_off_is_told_with_its_cause(start: Start) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("mine")

    orch = await start()
    async with aclosing(Http()) as http:
        with pytest.raises(ConnectionFailedError, match="broke off: RuntimeError: mine") as caught:
            await http.open(
                "POST", orch.url, ssl=True, deadline=Deadline(LIMIT), body=body(), job=True
            )
        assert isinstance(caught.value.__cause__, RuntimeError) and caught.value.may_have_run


async def _by_call(http: Http, url: str, trust: TLS) -> None:
    await http.fetch("GET", url, ssl=trust, deadline=Deadline(LIMIT))


async def _by_websocket(http: Http, url: str, trust: TLS) -> None:
    ws = await http.websockets.open(url, ssl=trust, deadline=Deadline(LIMIT), limit=1000)
    await ws.close()


WAYS = pytest.mark.parametrize("way", [_by_call, _by_websocket])


@WAYS
async def test_who_is_not_reached_is_told_the_same_by_calls_and_websockets(
    way: Any, start: Start, certificate: Certificate
) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    secure = await start(ssl_context=certificate())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with StreamServer(plain) as server, aclosing(Http()) as http:
            for url, kind, told in (
                (f"http://127.0.0.1:{port}", ConnectionFailedError, "Connection refused. Is it"),
                (f"http://localhost:{port}", ConnectionFailedError, "Connection refused. Is it"),
                ("http://no-such-host.invalid:1", ConnectionFailedError, "does not resolve"),
                (secure.url, CertificateError, "could not be verified: .*tls='pin'"),
                (f"https://127.0.0.1:{server.port}", CertificateError, "Does it serve plain http"),
                ("ftp://127.0.0.1:1/", ConfigurationError, "not a URL"),
            ):
                with pytest.raises(kind, match=told) as caught:
                    await way(http, url, True)
                assert not caught.value.may_have_run, url


@WAYS
async def test_a_changed_certificate_is_refused_by_calls_and_websockets(
    way: Any, start: Start, certificate: Certificate
) -> None:
    pin = PinTrust()
    orch = await start(ssl_context=certificate())
    async with aclosing(Http()) as http:
        await _by_call(http, orch.url, pin)
        await orch.stop()
        again = await start(port=orch.port, ssl_context=certificate())
        with pytest.raises(CertificateChangedError, match=r"livepeer trust 127\.0\.0\.1"):
            await way(http, orch.url, pin)
        assert not again.tokens


async def test_a_call_whose_time_has_passed_is_not_sent(start: Start) -> None:
    orch = await start()
    deadline = Deadline(0.001)
    await asyncio.sleep(0.01)
    async with aclosing(Http()) as http:
        with pytest.raises(CallTimeoutError) as caught:
            await http.open("POST", orch.url, ssl=True, deadline=deadline, job=True)
    assert not caught.value.may_have_run and not orch.jobs


async def test_a_large_answer_that_nobody_reads_is_held_back() -> None:
    sent = 0
    left = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        try:
            while True:
                writer.write(bytes(100_000))
                await writer.drain()
                sent += 100_000
        finally:
            left.set()

    async with StreamServer(flood) as server, aclosing(Http()) as http:
        url = f"http://127.0.0.1:{server.port}/"
        call = await http.open("GET", url, ssl=True, deadline=Deadline(LIMIT))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 50_000_000
        call.abort()
        async with asyncio.timeout(LIMIT):
            await left.wait()


async def test_a_request_that_is_cancelled_at_each_wait_leaves_nothing(
    cancelled_at_each_wait: Callable[..., Any], elsewhere: Callable[..., Any]
) -> None:
    orch = ScriptedOrchestrator(job=reply({"ok": True}))
    elsewhere(_Served(orch))

    async def use() -> None:
        async with aclosing(Http()) as http:
            for body in (b"{}", bytes(2_000_000)):
                deadline = Deadline(LIMIT)
                url = f"{orch.url}/process/request/predict"
                call = await http.open("POST", url, ssl=True, deadline=deadline, body=body)
                await read(call, deadline, limit=SMALL)

    assert await cancelled_at_each_wait(use) >= 2


class _Served:
    def __init__(self, orch: ScriptedOrchestrator) -> None:
        self._orch = orch

    async def __aenter__(self) -> None:
        await self._orch.start()

    async def __aexit__(self, *exc: object) -> None:
        await self._orch.stop()
