"""One unary gRPC call over HTTP/2 (extra `lv2v`), with the same trust as everything else.

grpcio knows no pins: it would have to be given an orchestrator's certificate as a root, under
another name, before it connects.
"""

from __future__ import annotations

import asyncio
import ssl as _ssl
import struct
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from livepeer.client.exceptions import (
    CallTimeoutError,
    CertificateChangedError,
    CertificateError,
    ConfigurationError,
    ConnectionFailedError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.tls import address, origin
from livepeer.trickle.exceptions import CertificateError as PinError
from livepeer.trickle.text import printable
from livepeer.trickle.types import TLS, PeerTrust

MESSAGE_BYTES: Final = 1 << 20
"""Bytes of an answer; an orchestrator's offer has 1,000 to 20,000."""
_READ: Final = 1 << 16


class GrpcStatus(Exception):
    """The call was answered with a status that is not OK; `code` is gRPC's number."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


async def unary(
    url: str,
    method: str,
    message: bytes,
    *,
    ssl: TLS,
    deadline: Deadline,
    where: Mapping[str, Any] | None = None,
) -> bytes:
    """The answer of `method` (`package.Service/Name`) at an orchestrator's address, on a connection
    of its own.

    Raises `GrpcStatus` for a call that was refused, and a `LivepeerError` where there was no answer
    or none in gRPC.
    """
    named = dict(where or {})
    try:
        async with deadline.timeout():
            reader, writer = await _connected(url, ssl, named)
            try:
                return await _GrpcCall(url, reader, writer, named).answer(method, message, deadline)
            finally:
                # Nothing is left to be said; a goodbye of TLS is waited for by half a minute.
                writer.transport.abort()
    except TimeoutError as error:
        raise CallTimeoutError(
            f"{origin(url)} did not answer {method} within {deadline.seconds:g} s",
            phase="answer",
            **named,
        ) from error


async def _connected(
    url: str, ssl: TLS, named: dict[str, Any]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = address(url)
    place = origin(url)
    context = _context(ssl) if urlsplit(url).scheme == "https" else None
    try:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname=host if context else None
        )
    except _ssl.SSLCertVerificationError as error:
        raise CertificateError(
            f"the certificate of {place} could not be verified: {error.verify_message}."
            " Orchestrators sign their own: tls='pin' (--tls pin, LIVEPEER_TLS=pin) trusts the one"
            " shown first",
            **named,
        ) from error
    except _ssl.SSLError as error:
        raise CertificateError(f"no TLS with {place}: {error.reason}", **named) from error
    except OSError as error:
        raise ConnectionFailedError(
            f"no connection to {place}: {error.strerror or error}. Is it running, and is the"
            " address right?",
            **named,
        ) from error
    if context is not None and not isinstance(ssl, bool | _ssl.SSLContext):
        try:
            _trusted(ssl, writer, host, port)
        except PinError as error:
            writer.transport.abort()
            raise CertificateChangedError(f"{place} was asked nothing: {error}", **named) from error
    return reader, writer


def _context(ssl: TLS) -> _ssl.SSLContext:
    if isinstance(ssl, _ssl.SSLContext):
        return ssl  # its owner's: without ALPN it goes by prior knowledge
    context = _ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    if ssl is not True:
        context.check_hostname = False
        context.verify_mode = _ssl.CERT_NONE
    return context


def _trusted(trust: PeerTrust, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    """The pin's word, before a byte of ours is sent."""
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
    trust.trust(host, port, found, address=writer.get_extra_info("peername")[0])


class _GrpcCall:
    """One call on one connection."""

    def __init__(
        self,
        url: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        named: dict[str, Any],
    ) -> None:
        try:
            from h2.config import H2Configuration
            from h2.connection import H2Connection
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "live-video-to-video needs h2: pip install 'livepeer-client[lv2v]'"
            ) from error
        self._place, self._scheme = origin(url), urlsplit(url).scheme
        self._reader, self._writer, self._named = reader, writer, named
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._status: tuple[int, str] | None = None
        self._body = bytearray()

    async def answer(self, method: str, message: bytes, deadline: Deadline) -> bytes:
        from h2.exceptions import ProtocolError as H2Error

        try:
            await self._send(method, message, deadline)
            while not await self._read():
                pass
        except H2Error as error:
            told = printable(str(error), 200)
            raise ProtocolError(
                f"{self._place} does not speak HTTP/2 as gRPC needs it: {told}", **self._named
            ) from error
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise ConnectionFailedError(
                f"{self._place} ended the connection before it answered {method}", **self._named
            ) from error
        if self._status is None:
            raise ProtocolError(f"{self._place} answered {method} without a status", **self._named)
        code, text = self._status
        if code:
            raise GrpcStatus(code, text)
        return self._message()

    def _message(self) -> bytes:
        """The one message of the body: a flag, a length, and so many bytes."""
        if len(self._body) >= 5:
            compressed, size = struct.unpack(">BI", self._body[:5])
            if not compressed and size == len(self._body) - 5:
                return bytes(self._body[5:])
        raise ProtocolError(f"{self._place} answered with no gRPC message", **self._named)

    async def _send(self, method: str, message: bytes, deadline: Deadline) -> None:
        h2 = self._h2
        h2.initiate_connection()
        h2.send_headers(
            1,
            [
                (":method", "POST"),
                (":scheme", self._scheme),
                (":authority", self._place),
                (":path", f"/{method}"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("grpc-timeout", f"{max(1, int(deadline.remaining() * 1000))}m"),
            ],
        )
        h2.send_data(1, struct.pack(">BI", 0, len(message)) + message, end_stream=True)
        self._writer.write(h2.data_to_send())
        await self._writer.drain()

    async def _read(self) -> bool:
        """Take what comes next. True once the answer has ended."""
        from h2 import events

        data = await self._reader.read(_READ)
        if not data:
            raise ConnectionResetError
        if data.startswith(b"HTTP/1"):
            raise ProtocolError(
                f"{self._place} answered in HTTP/1 where gRPC is spoken", **self._named
            )
        ended = False
        for event in self._h2.receive_data(data):
            match event:
                case events.ResponseReceived(headers=headers):
                    found: dict[Any, Any] = dict(headers or ())
                    if found.get(":status") != "200":
                        told = printable(str(found.get(":status")), 20)
                        raise ProtocolError(
                            f"{self._place} answered {told} where gRPC is spoken", **self._named
                        )
                    self._told(found)
                case events.TrailersReceived(headers=headers):
                    self._told(dict(headers or ()))
                case events.DataReceived(data=piece, flow_controlled_length=length):
                    self._body += piece or b""
                    if len(self._body) > MESSAGE_BYTES:
                        raise ProtocolError(
                            f"{self._place} answered with more than {MESSAGE_BYTES:,} bytes",
                            **self._named,
                        )
                    self._h2.acknowledge_received_data(length or 0, 1)
                case events.StreamEnded():
                    ended = True
                case events.StreamReset() | events.ConnectionTerminated():
                    if not ended:
                        raise ConnectionResetError
        self._writer.write(self._h2.data_to_send())
        return ended

    def _told(self, headers: Mapping[Any, Any]) -> None:
        """The status, where these headers have it."""
        code = headers.get("grpc-status")
        if code is None:
            return
        text = unquote_to_bytes(str(headers.get("grpc-message", ""))).decode("utf-8", "replace")
        if not str(code).isdecimal() or len(str(code)) > 3:
            raise ProtocolError(f"{self._place} answered with no status of gRPC", **self._named)
        self._status = int(code), printable(text, 300)
