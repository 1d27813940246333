"""An orchestrator of classic live-video-to-video: gRPC and HTTP on one TLS port, as go-livepeer's.

Its AI runner passes each picture on as it comes. Answers are those that were recorded.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from livepeer.client.protocol.orchestrator import ORCHESTRATOR_REQUEST
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, PAYMENT, SEG_DATA
from livepeer.runner.devnet.certificate import server_context
from livepeer.trickle import JSONLSubscriber, TrickleServer, relay
from livepeer.trickle.testing.streams import StreamServer

from .replay.grpc_front import pass_on

CHANNELS = {"": "video/MP2T", "-out": "video/MP2T", "-control": "application/json"} | {
    "-events": "application/json"
}


class ClassicOrchestrator:
    """`price` None is off chain. What it was asked, sent and paid is kept."""

    def __init__(self, price: dict[str, int] | None, ticket_params: dict[str, Any]) -> None:
        self.price, self.ticket_params = price, ticket_params
        self.full = False
        self.old = 0
        """So many payments are refused, since their tickets are too old."""
        self.lost = False
        """A start's answer does not arrive."""
        self.says: dict[str, Any] = {}
        """What a start's answer says in place of the truth."""
        self.asked: list[dict[str, Any]] = []
        self.starts: list[dict[str, Any]] = []
        self.payments: list[tuple[str, int]] = []
        """Manifest and tickets of each."""
        self.controls: list[dict[str, Any]] = []
        self.trickle = TrickleServer(base_path="/ai/trickle", autocreate=False)
        self.url, self._back = "", 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._nonces: set[tuple[bytes, int]] = set()

    # -- gRPC -------------------------------------------------------------------------------------

    def offer(self, message: bytes) -> tuple[int, str, bytes]:
        self.asked.append(ORCHESTRATOR_REQUEST.decode(message))
        if self.full:
            return 2, "Invalid orchestrator request: OrchestratorCapped", b""
        info: dict[str, Any] = {
            "transcoder": self.url,
            "address": bytes(20),
            "auth_token": {
                "token": bytes(range(32)),
                "session_id": f"auth-{len(self.asked)}",
                "expiration": int(time.time()) + 1800,
            },
        }
        if self.price is not None:
            renewed = {"recipient_rand_hash": bytes([len(self.asked)]) * 32}
            info["ticket_params"] = self.ticket_params | renewed
            info["address"] = self.ticket_params["recipient"]
            info["price_info"] = self.price
        return 0, "", ORCHESTRATOR_INFO.encode(info)

    async def h2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        body = b""
        while data := await reader.read(1 << 16):
            for event in connection.receive_data(data):
                match event:
                    case RequestReceived(headers=headers):
                        assert dict(headers)[b":path"] == b"/net.Orchestrator/GetOrchestrator"
                    case DataReceived(data=piece):
                        body += piece
                    case StreamEnded(stream_id=stream):
                        code, text, answer = self.offer(body[5:])
                        ok = [(":status", "200"), ("content-type", "application/grpc")]
                        connection.send_headers(stream, ok)
                        if not code:
                            framed = struct.pack(">BI", 0, len(answer)) + answer
                            connection.send_data(stream, framed)
                        trailers = [("grpc-status", str(code)), ("grpc-message", text)]
                        connection.send_headers(stream, trailers, end_stream=True)
            writer.write(connection.data_to_send())
            await writer.drain()

    # -- HTTP -------------------------------------------------------------------------------------

    async def start(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.starts.append(body)
        if refusal := self._unpaid(request, first=True):
            return refusal
        if self.lost:
            assert request.transport is not None
            request.transport.abort()
        mid = f"mid{len(self.starts)}"
        for suffix, mime in CHANNELS.items():
            self.trickle.create(mid + suffix, mime)
        base = f"http://127.0.0.1:{self._back}/ai/trickle/{mid}"
        self._tasks += [
            asyncio.create_task(self._run(mid, base)),
            asyncio.create_task(self._listen(f"{base}-control")),
        ]
        shown = f"{self.url}/ai/trickle/{mid}"
        return web.json_response(
            {
                "control_url": f"{shown}-control",
                "events_url": f"{shown}-events",
                "manifest_id": mid,
                "publish_url": shown,
                "subscribe_url": f"{shown}-out",
            }
            | self.says
        )

    async def payment(self, request: web.Request) -> web.Response:
        return self._unpaid(request) or web.Response(body=b"")

    def _unpaid(self, request: web.Request, first: bool = False) -> web.Response | None:
        """The refusal of a request that is not paid for as go-livepeer wants it."""
        segment = SEG_DATA.decode_text(request.headers["Livepeer-Segment"])
        if not segment.get("auth_token", {}).get("token"):
            return web.Response(status=403, text="missing auth token\n")
        if self.price is None:
            return None
        text = request.headers.get("Livepeer-Payment", "")
        if not text or not segment.get("sig"):
            return web.Response(status=403, text="ErrSegSig\n")
        payment = PAYMENT.decode_text(text)
        assert not first or payment["expected_price"] == self.price
        if (self.old or payment["expected_price"] != self.price) and not first:
            self.old = max(0, self.old - 1)
            return web.Response(status=400, text="ticket expired\n")
        rand_hash = payment["ticket_params"]["recipient_rand_hash"]
        for ticket in payment["ticket_sender_params"]:
            one = (rand_hash, ticket["sender_nonce"])
            if one in self._nonces:
                return web.Response(status=400, text="invalid ticket senderNonce: already seen\n")
            self._nonces.add(one)
        manifest = segment.get("manifestId", b"").decode()
        self.payments.append((manifest, len(payment["ticket_sender_params"])))
        return None

    async def _run(self, mid: str, base: str) -> None:
        """The AI runner, and the end that the end of the input is for all channels."""
        await relay(base, f"{base}-out")
        for suffix in ("", "-control", "-events"):
            await self.trickle.close_channel(mid + suffix)

    async def _listen(self, url: str) -> None:
        async with JSONLSubscriber(url, start=0) as records:
            async for record in records:
                self.controls.append(record)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application()
        self.trickle.mount(app, url="http://application.test")
        app.router.add_post("/live-video-to-video", self.start)
        app.router.add_post("/payment", self.payment)
        runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        back = self._back = runner.addresses[0][1]
        context = server_context("127.0.0.1")
        context.set_alpn_protocols(["h2", "http/1.1"])

        async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
            if chosen == "h2":
                await self.h2(reader, writer)
            else:
                theirs, ours = await asyncio.open_connection("127.0.0.1", back)
                await asyncio.gather(pass_on(reader, ours), pass_on(theirs, writer))

        server = StreamServer(front, ssl=context)
        await server.start()
        self.url = f"https://127.0.0.1:{server.port}"
        try:
            yield self.url
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.stop()
            await runner.cleanup()


def ticket_params(recorded: str) -> dict[str, Any]:
    """Of an offer that was recorded."""
    params: dict[str, Any] = ORCHESTRATOR_INFO.decode(base64.b64decode(recorded))["ticket_params"]
    return params
