"""A port on which a scripted server is spoken to in HTTP/1.1 and in gRPC, as an orchestrator is."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from livepeer.trickle.testing.streams import StreamServer

from .http1 import Incoming
from .scripted import ScriptedServer

_PREFACE = b"PRI"


class GrpcExchange:
    """One unary call that reached the server, and its answer."""

    def __init__(self, path: str, message: bytes) -> None:
        self.request = Incoming()
        self.request.start_line = f"POST {path} HTTP/2"
        self.request.body += message
        self.answered = asyncio.Event()
        self.told: dict[str, Any] = {}

    def answer(self, told: dict[str, Any]) -> None:
        """As it was recorded: headers, trailers, and a message where there is one."""
        self.told = told
        self.answered.set()


class GrpcFront:
    """Passes HTTP/1.1 on to `server`, and puts gRPC's calls into its queue."""

    def __init__(self, server: ScriptedServer) -> None:
        self._back = server
        self._server = StreamServer(self._accept)
        self.address = ""

    async def __aenter__(self) -> GrpcFront:
        await self._server.start()
        self.address = f"127.0.0.1:{self._server.port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun = await reader.read(1 << 16)
        if begun.startswith(_PREFACE):
            await self._call(begun, reader, writer)
        elif begun:
            host, _, port = self._back.address.rpartition(":")
            theirs, ours = await asyncio.open_connection(host, int(port))
            ours.write(begun)
            await asyncio.gather(pass_on(reader, ours), pass_on(theirs, writer))

    async def _call(
        self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        h2.initiate_connection()
        body, path = b"", ""
        while data:
            for event in h2.receive_data(data):
                match event:
                    case RequestReceived(headers=headers):
                        path = str(dict(headers)[":path"])
                    case DataReceived(data=piece):
                        body += piece
                    case StreamEnded(stream_id=stream):
                        exchange = GrpcExchange(path, body[5:])
                        self._back.requests.put_nowait(exchange)  # type: ignore[arg-type]
                        await exchange.answered.wait()
                        told = exchange.told
                        h2.send_headers(stream, [tuple(each) for each in told["headers"]])
                        if "message" in told:
                            message = base64.b64decode(told["message"]["recorded"])
                            h2.send_data(stream, struct.pack(">BI", 0, len(message)) + message)
                        trailers = [tuple(each) for each in told.get("trailers", [])]
                        h2.send_headers(stream, trailers, end_stream=True)
            writer.write(h2.data_to_send())
            await writer.drain()
            data = await reader.read(1 << 16)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, to its end."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
