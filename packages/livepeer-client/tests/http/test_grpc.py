"""One unary call: against grpcio's server, and against servers that are none."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from livepeer.client.exceptions import (
    CallTimeoutError,
    CertificateChangedError,
    CertificateError,
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.grpc import MESSAGE_BYTES, GrpcStatus, unary
from livepeer.trickle.testing.streams import Serve, StreamServer
from livepeer.trickle.tls.pins import PinTrust

FIXTURES = Path(__file__).parents[4] / "specs" / "fixtures" / "payments"
METHOD = "net.Orchestrator/GetOrchestrator"
LIMIT = 20.0


def recorded(name: str) -> tuple[bytes, bytes]:
    """Request and answer of go-livepeer."""
    scenarios = json.loads((FIXTURES / "lv2v.json").read_text())["scenarios"]
    steps = next(one for one in scenarios if one["name"] == name)["steps"]
    asked = steps[0]["grpc"]["message"]["recorded"]
    return base64.b64decode(asked), base64.b64decode(
        steps[1]["grpc_receives"]["message"]["recorded"]
    )


class Orchestrator(grpc.GenericRpcHandler):  # type: ignore[misc]
    """grpcio's server, which answers as it is told to."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answer = b""
        self.error: tuple[grpc.StatusCode, str] | None = None
        self.pause = 0.0

    def service(self, details: Any) -> Any:
        if details.method != f"/{METHOD}":
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Any) -> bytes:
        self.asked.append(request)
        await asyncio.sleep(self.pause)
        if self.error is not None:
            await context.abort(*self.error)
        return self.answer


@pytest.fixture
def pem(certificate: Callable[[], ssl.SSLContext], tmp_path_factory: Any) -> tuple[bytes, bytes]:
    """Key and certificate: self-signed, and naming no address, as go-livepeer's."""
    certificate()
    made = tmp_path_factory.getbasetemp().glob("tls*/both.pem")
    both = max(made, key=lambda path: path.stat().st_mtime_ns).read_bytes()
    cut = both.index(b"-----BEGIN CERTIFICATE")
    return both[:cut], both[cut:]


@pytest.fixture
async def orchestrator(pem: tuple[bytes, bytes]) -> AsyncIterator[tuple[Orchestrator, str]]:
    handler, server = Orchestrator(), grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    credentials = grpc.ssl_server_credentials([pem])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield handler, f"https://127.0.0.1:{port}"
    await server.stop(None)


async def call(url: str, message: bytes = b"", ssl: Any = False, seconds: float = LIMIT) -> bytes:
    return await unary(url, METHOD, message, ssl=ssl, deadline=Deadline(seconds))


async def test_what_go_livepeer_was_asked_and_answered_goes_both_ways(
    orchestrator: tuple[Orchestrator, str],
) -> None:
    handler, url = orchestrator
    request, handler.answer = recorded("off_ask")
    assert await call(url, request) == handler.answer
    handler.answer = bytes(200_000)  # more than one window of HTTP/2
    assert await call(url, request) == handler.answer
    assert handler.asked == [request, request]


async def test_a_status_is_told_with_its_text(orchestrator: tuple[Orchestrator, str]) -> None:
    handler, url = orchestrator
    handler.error = (grpc.StatusCode.UNKNOWN, "OrchestratorCapped: 100 % voll – später")
    with pytest.raises(GrpcStatus, match="100 % voll – später") as caught:
        await call(url)
    assert caught.value.code == 2
    with pytest.raises(GrpcStatus) as caught:
        await unary(url, "net.Orchestrator/Nope", b"", ssl=False, deadline=Deadline(LIMIT))
    assert caught.value.code == 12


async def test_a_certificate_is_pinned_and_another_is_told_nothing(
    orchestrator: tuple[Orchestrator, str],
) -> None:
    handler, url = orchestrator
    pin = PinTrust()
    await call(url, ssl=pin)
    await call(url, ssl=pin)
    port = int(url.rpartition(":")[2])
    pin.store.set("127.0.0.1", port, "AA:BB")
    with pytest.raises(CertificateChangedError):
        await call(url, ssl=pin)
    with pytest.raises(CertificateError, match="tls='pin'"):
        await call(url, ssl=True)
    assert len(handler.asked) == 2


async def test_who_does_not_answer_is_given_up(orchestrator: tuple[Orchestrator, str]) -> None:
    handler, url = orchestrator
    handler.pause = LIMIT
    with pytest.raises(CallTimeoutError, match=r"within 0\.2 s"):
        await call(url, seconds=0.2)


# -- servers that are none ------------------------------------------------------------------------


@pytest.fixture
async def served() -> AsyncIterator[Callable[[Serve], Awaitable[str]]]:
    async with contextlib.AsyncExitStack() as servers:

        async def start(serve: Serve) -> str:
            server = await servers.enter_async_context(StreamServer(serve))
            return f"http://127.0.0.1:{server.port}"

        yield start


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


SETTINGS = frame(4, 0, 0, b"")


def headers(*pairs: tuple[str, str], end: bool = False) -> bytes:
    import hpack

    return frame(1, 4 | end, 1, hpack.Encoder().encode(pairs))


OK = headers((":status", "200"), ("content-type", "application/grpc"))
DONE = headers(("grpc-status", "0"), end=True)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError, "HTTP/1"),
        (SETTINGS, ConnectionFailedError, "ended the connection"),
        (SETTINGS + headers((":status", "404"), end=True), ProtocolError, "answered 404"),
        (SETTINGS + OK + frame(0, 1, 1, b"\0\0\0\0\1x"), ProtocolError, "without a status"),
        (SETTINGS + OK + frame(0, 0, 1, b"\0\0\0\0\2x") + DONE, ProtocolError, "no gRPC message"),
        (SETTINGS + OK + frame(0, 0, 1, b"\1\0\0\0\1x") + DONE, ProtocolError, "no gRPC message"),
        (SETTINGS + OK + DONE, ProtocolError, "no gRPC message"),
        (SETTINGS + headers((":status", "200"), ("grpc-status", "x")), ProtocolError, "no status"),
        (SETTINGS + frame(3, 0, 1, b"\0\0\0\1"), ConnectionFailedError, "ended the connection"),
        (SETTINGS + frame(7, 0, 0, bytes(8)), ConnectionFailedError, "ended the connection"),
        (SETTINGS + b"\xff" * 100, ConnectionFailedError, "ended the connection"),
        (SETTINGS + frame(4, 0, 1, b""), ProtocolError, "HTTP/2"),
    ],
    ids=lambda value: value.hex()[:16] if isinstance(value, bytes) else None,
)
async def test_an_answer_that_is_none_is_one_precise_error(
    served: Any, answer: bytes, error: type[LivepeerError], text: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        await writer.drain()

    with pytest.raises(error, match=text):
        await call(await served(serve))


async def test_an_answer_without_end_is_bounded(served: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(SETTINGS + OK)
        try:
            for _ in range(4 * MESSAGE_BYTES // 16_000):
                writer.write(frame(0, 0, 1, bytes(16_000)))
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass

    # What it may send before it is told that there is room again is less than the bound.
    with pytest.raises(ProtocolError):
        await call(await served(serve))


async def test_nobody_there_and_no_extra_say_what_to_do(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConnectionFailedError, match="Is it running"):
        await call("http://127.0.0.1:1")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()

    monkeypatch.setitem(sys.modules, "h2.config", None)
    with pytest.raises(ConfigurationError, match=r"livepeer-client\[lv2v\]"):
        await call(await served(serve))
