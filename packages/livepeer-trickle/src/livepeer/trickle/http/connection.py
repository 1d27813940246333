"""Where a URL leads, and one connection of HTTP/1.1 to there: `Origin`, `ClientConnection`."""

from __future__ import annotations

import asyncio
import functools
import re
import select
import socket
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from livepeer.trickle.exceptions import public_url
from livepeer.trickle.http.buffer import PIECE, ReadBuffer
from livepeer.trickle.http.http1 import ResponseParser
from livepeer.trickle.types import TLS, PeerTrust

_FIRST: Final = 64 * 1024
"""Bytes read at a time until the headers of an answer are there. With more, those of a small
segment would be seen only with all of it, and the next one be asked for later."""

_HOST: Final = re.compile(r"(?!\.)[0-9A-Za-z.:%_~-]+")
_PATH: Final = re.compile(r"[/?]")


class Origin(NamedTuple):
    """Where a URL leads, and the header lines that say so."""

    secure: bool
    host: str
    port: int
    lines: str


@functools.lru_cache(maxsize=256)
def parse_origin(text: str) -> Origin:
    """Read `scheme://host:port`; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{public_url(text)!r} is no http URL")
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is no host name")
    secure = parts.scheme == "https"
    default = 443 if secure else 80
    port = default if parts.port is None else parts.port
    name = f"[{host}]" if ":" in host else host
    lines = f"Host: {name}\r\n" if port == default else f"Host: {name}:{port}\r\n"
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines += f"Authorization: Basic {b64encode(secret.encode()).decode()}\r\n"
    return Origin(secure, host, port, lines)


def split_url(url: str) -> tuple[Origin, str]:
    """The origin and the request target of `url`; a fragment is not sent.

    Raises ValueError.
    """
    url = url.partition("#")[0]
    found = _PATH.search(url, url.find("://") + 3)
    if found is None:
        return parse_origin(url), "/"
    start = found.start()
    target = url[start:] if url[start] == "/" else "/" + url[start:]
    if not target.isascii() or not target.isprintable() or " " in target:
        target = quote(target, safe="/?%:@!$&'()*+,;=~-._")
    return parse_origin(url[:start]), target


Key: TypeAlias = tuple[Origin, TLS]
"""Connections of one key are as good as each other."""


class Carried(Protocol):
    """What a connection tells the exchange that it carries."""

    @property
    def parser(self) -> ResponseParser: ...
    def received(self, data: bytes) -> None: ...
    def ended(self) -> None: ...
    def broken(self, why: str) -> None: ...


class ClientConnection(asyncio.BufferedProtocol):
    """One connection; it carries one exchange at a time."""

    def __init__(
        self, gone: Callable[[ClientConnection], None], key: Key, buffer: ReadBuffer
    ) -> None:
        self.key = key
        self.used = False
        """Whether it has been idle: its server may have closed it before the next request came."""
        self.idle_since = 0.0
        self.paused = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._carried: Carried | None = None
        self._gone = gone
        self._buffer = buffer
        self._io: Any = None
        self._writable: asyncio.Future[None] | None = None

    # --- for the pool and the exchanges ----------------------------------------------------------

    @property
    def open(self) -> bool:
        return not self.lost.done() and not self._io.is_closing()

    @property
    def spoken(self) -> bool:
        """Whether its end, or bytes that nobody asked for, have come and the loop, which was busy,
        has not read them yet."""
        if not hasattr(select, "poll"):
            return False
        sock = self._io.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def congested(self) -> bool:
        """Whether the peer is slow to take what was written."""
        return self._writable is not None

    def carry(self, exchange: Carried, request: bytes) -> None:
        """Begin an exchange, whose `request` leaves now."""
        self._carried = exchange
        self._io.write(request)

    def let_go(self) -> None:
        """Its exchange hears of it no more."""
        self._carried = None

    def rest(self, now: float) -> None:
        """Its exchange is complete, or none has begun yet: be ready for one."""
        self.used = True
        self.idle_since = now
        if self.paused:
            self.resume_reading()

    def write(self, data: bytes | memoryview) -> None:
        self._io.write(data)

    async def writable(self) -> None:
        """Wait until the peer has taken most of what was written, or is lost."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def pause_reading(self) -> None:
        if self.open and not self.paused:
            self.paused = True
            self._io.pause_reading()

    def resume_reading(self) -> None:
        if self.open and self.paused:
            self.paused = False
            self._io.resume_reading()

    def abort(self) -> None:
        self._io.abort()

    def check(self, trust: PeerTrust, origin: Origin) -> None:
        """Raise `CertificateError` unless `trust` knows the peer."""
        certificate = self._io.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
        address = (self._io.get_extra_info("peername") or (None,))[0]
        trust.trust(origin.host, origin.port, certificate, address=address)

    # --- called by the event loop ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._io = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            _notice_dead_peers(sock)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self.key[0].secure:
            return self._buffer.secure(sizehint)
        begun = self._carried is not None and self._carried.parser.head is not None
        return self._buffer.plain(PIECE if begun else _FIRST)

    def buffer_updated(self, nbytes: int) -> None:
        if self._carried is not None:
            self._carried.received(self._buffer.take(nbytes))
        else:
            self.abort()  # an answer to nothing

    def eof_received(self) -> bool:
        if self._carried is not None:
            self._carried.ended()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.resume_writing()
        exchange, self._carried = self._carried, None
        self._gone(self)
        self.lost.set_result(None)
        if exchange is not None:
            exchange.broken(str(error) if error else "the server closed the connection")

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)


def _notice_dead_peers(sock: Any) -> None:
    """A waiting GET sends nothing that could fail, so the system asks whether the peer lives."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        pass  # a Unix socket, or a peer that has left already
