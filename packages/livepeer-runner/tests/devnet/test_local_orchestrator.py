"""What the transcripts cannot show of the local orchestrator: its own life, and its secrets."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509

from livepeer.runner.devnet import LocalOrchestrator

LIMIT = 30


def test_importing_the_runner_does_not_import_the_local_orchestrator() -> None:
    script = (
        "import sys, livepeer.runner, livepeer.runner.devnet\n"
        "assert 'livepeer.runner.devnet.orchestrator' not in sys.modules\n"
        "assert 'cryptography' not in sys.modules and 'aiohttp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=LIMIT)


async def test_each_has_a_secret_of_its_own_that_its_repr_does_not_show() -> None:
    one, other = LocalOrchestrator(), LocalOrchestrator()
    assert one.secret != other.secret
    assert len(one.secret) >= 24
    assert one.secret not in repr(one)


async def test_it_is_reachable_on_loopback_only_unless_told_otherwise() -> None:
    async with LocalOrchestrator() as orchestrator:
        assert orchestrator.url.startswith("https://127.0.0.1:")


def test_before_its_start_it_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = LocalOrchestrator().url


async def certificate(orchestrator: LocalOrchestrator) -> x509.Certificate:
    port = int(orchestrator.url.rpartition(":")[2])
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=LIMIT)
    return x509.load_pem_x509_certificate(pem.encode())


async def test_its_certificate_names_the_host_as_dns_only_and_is_new_at_each_start() -> None:
    seen = []
    for _ in range(2):
        async with LocalOrchestrator() as orchestrator:
            one = await certificate(orchestrator)
        names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.DNSName("127.0.0.1")]
        seen.append(one.serial_number)
    assert seen[0] != seen[1]


async def test_without_tls_it_serves_plain_http(session, register) -> None:
    async with LocalOrchestrator(tls=False) as orchestrator:
        assert orchestrator.url.startswith("http://")
        await register(orchestrator, name="plain", url="http://127.0.0.1:1")
        assert orchestrator.capabilities.available("plain") == 1


async def test_a_port_in_use_is_an_error_and_leaves_it_startable_elsewhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use"):
            async with LocalOrchestrator(port=taken.getsockname()[1]):
                pass
    async with LocalOrchestrator() as orchestrator:
        assert orchestrator.url


async def test_it_ends_in_the_middle_of_a_job_and_of_a_stream(
    envelope, container, session, register, eventually
) -> None:
    arrived = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/stream/start":
            return web.json_response({})
        arrived.set()
        await asyncio.sleep(60)
        return web.Response()

    before = asyncio.all_tasks()
    async with container(handler) as url:
        async with asyncio.timeout(LIMIT), LocalOrchestrator() as orchestrator:
            await register(orchestrator, name="busy", url=url)
            start = f"{orchestrator.url}/ai/stream/start"
            async with session.post(start, json={}, headers=envelope("busy", id="s")) as answer:
                assert answer.status == 200
            job = asyncio.create_task(
                session.post(
                    f"{orchestrator.url}/process/request/x",
                    data=b"{}",
                    headers=envelope("busy", timeout=60),
                )
            )
            await arrived.wait()
        with pytest.raises(aiohttp.ClientError):
            await job
    await eventually(lambda: not asyncio.all_tasks() - before)


async def test_neither_its_secret_nor_a_token_reaches_a_log(
    caplog: pytest.LogCaptureFixture, envelope, container, session, register
) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer the-container-token"
        return web.Response(status=401)

    caplog.set_level(logging.DEBUG)
    async with (
        LocalOrchestrator(secret="the-orchestrator-secret") as orchestrator,
        container(handler) as url,
    ):
        await register(orchestrator, name="c", url=url, token="the-container-token")
        assert "the-container-token" not in repr(orchestrator.capabilities.get("c"))
        async with session.post(
            f"{orchestrator.url}/process/request/x", data=b"{}", headers=envelope("c")
        ) as answer:
            assert answer.status == 500
        assert orchestrator.capabilities.get("c") is None
    assert "capability c is gone" in caplog.text
    assert "the-container-token" not in caplog.text
    assert "the-orchestrator-secret" not in caplog.text


async def test_an_idle_stream_loses_its_channels_and_keeps_its_place(
    envelope, container, session, register, eventually
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({})

    async with (
        LocalOrchestrator(idle_timeout=0.2, sweep_interval=0.05) as orchestrator,
        container(handler) as url,
    ):
        await register(orchestrator, name="idle", url=url)
        start = f"{orchestrator.url}/ai/stream/start"
        async with session.post(start, json={}, headers=envelope("idle", id="quiet")) as answer:
            assert answer.status == 200
            assert answer.headers["X-Control-Url"].endswith("/quiet-control")
        await eventually(lambda: orchestrator.trickle.get("quiet-control") is None)
        assert orchestrator.capabilities.available("idle") == 0


async def test_a_caller_that_leaves_an_sse_stream_frees_its_place_and_the_container(
    envelope, container, session, register, eventually
) -> None:
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"data: 1\n\n")
                await asyncio.sleep(0.01)
        finally:
            left.set()

    async with (
        LocalOrchestrator() as orchestrator,
        container(handler) as url,
    ):
        await register(orchestrator, name="sse", url=url)
        async with session.post(
            f"{orchestrator.url}/process/request/x", data=b"{}", headers=envelope("sse", timeout=60)
        ) as answer:
            assert await answer.content.readline() == b"data: 1\n"
            assert orchestrator.capabilities.available("sse") == 0
            answer.close()
        async with asyncio.timeout(LIMIT):
            await left.wait()
        await eventually(lambda: orchestrator.capabilities.available("sse") == 1)


async def test_a_restart_forgets_every_registration(register) -> None:
    orchestrator = LocalOrchestrator()
    async with orchestrator:
        await register(orchestrator, name="known", url="http://127.0.0.1:1")
        assert orchestrator.capabilities.available("known") == 1
    async with orchestrator:
        assert orchestrator.capabilities.get("known") is None


async def test_one_connection_to_a_container_serves_job_after_job(
    session, container, register, envelope
) -> None:
    peers = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({})

    async with LocalOrchestrator() as orchestrator, container(handler) as url:
        await register(orchestrator, name="kept", url=url)
        for _ in range(5):
            async with session.post(
                f"{orchestrator.url}/process/request/x", data=b"{}", headers=envelope("kept")
            ) as answer:
                assert answer.status == 200
    assert len(peers) == 1


async def test_a_wrong_name_and_a_full_capability_are_told_apart_in_the_log(
    session: aiohttp.ClientSession,
    envelope: Callable[..., dict[str, str]],
    register: Callable[..., Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with LocalOrchestrator() as orchestrator:

        async def token(name: str) -> None:
            sender = base64.b64encode(b'{"addr": "", "sig": ""}').decode()
            headers = {"Livepeer-Capability": name, "Livepeer-Eth-Address": sender}
            async with session.get(f"{orchestrator.url}/process/token", headers=headers) as answer:
                assert "available_capacity" not in await answer.json()

        await token("sentimnt")
        assert "'sentimnt' is not registered here: nothing is" in caplog.text
        await register(orchestrator, name="sentiment", url="http://127.0.0.1:9", capacity=0)
        for _ in range(3):
            await token("sentimnt")
        assert caplog.text.count("did you mean 'sentiment'?") == 1, "asked again is told once"
        await token("x")
        assert "'x' is not registered here: there is sentiment" in caplog.text
        await token("sentiment")
        assert "'sentiment' is registered and full: 0 jobs of 0 places" in caplog.text
        await token("a" * 5000)
        assert max(len(line) for line in caplog.messages) < 300
        url = f"{orchestrator.url}/process/request/predict"
        async with session.post(url, headers=envelope("sentimen")) as answer:
            assert answer.status == 503
        assert "'sentimen' is not registered here" in caplog.text
        for number in range(100):
            name = f"{number}-{'n' * 100}"
            await register(orchestrator, name=name, url="http://127.0.0.1:9", capacity=1)
        await token("zzz")
        assert "'zzz' is not registered here: there is 0-n" in caplog.messages[-1]
        assert len(caplog.messages[-1]) < 300
