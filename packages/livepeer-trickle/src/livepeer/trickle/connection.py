"""Connections of HTTP/1.1 and their pool: what aiohttp's client would be, for what trickle needs.

A request leaves in one piece as soon as it is made: no task for each of them, no header held back.
That is why this is here and aiohttp's client is not: `specs/trickle.md`, "Connections".
"""

import asyncio
import functools
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from livepeer.trickle import tls as trust
from livepeer.trickle.exceptions import (
    CertificateError,
    ProtocolError,
    TrickleConnectionError,
    TrickleError,
    TrickleTimeout,
    public_url,
)

if TYPE_CHECKING:
    from livepeer.trickle.exchange import Exchange

__all__ = ["TLS", "Connection", "Origin", "Pool"]

TLS: TypeAlias = ssl.SSLContext | bool | trust.Pin
"""How to trust an https server: True = by the system's store, False = not at all, a context, or a
`Pin` that knows the certificate."""

_IDLE: Final = 15.0
"""Seconds after which an idle connection is not used again: servers close theirs after a while, and
a request that meets such a close has to be made twice."""

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
    """The origin and the request target of `url`; a fragment is nobody's business but the caller's.

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


class Connection(asyncio.Protocol):
    """One connection; it carries one exchange at a time."""

    def __init__(self, gone: Callable[["Connection"], None], key: "_Key") -> None:
        self.key = key
        self.exchange: Exchange | None = None
        self.used = False
        self.idle_since = 0.0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = gone
        self._transport: Any = None
        self._writable: asyncio.Future[None] | None = None

    # --- for exchanges ---------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        return not self.lost.done() and not self._transport.is_closing()

    @property
    def congested(self) -> bool:
        """Whether the peer is slow to take what was written."""
        return self._writable is not None

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def writable(self) -> None:
        """Wait until the peer has taken most of what was written, or is lost."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def pause_reading(self) -> None:
        if self.open:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.open:
            self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def check(self, pin: trust.Pin, origin: Origin) -> None:
        """Raise `CertificateError` unless the peer is the one that `pin` knows."""
        peer = self._transport.get_extra_info("ssl_object")
        certificate = peer.getpeercert(binary_form=True) or b""
        address = (self._transport.get_extra_info("peername") or (None,))[0]
        try:
            pin.trust(origin.host, origin.port, certificate, address=address)
        except OSError as error:
            if isinstance(error, CertificateError):
                raise
            raise CertificateError(f"the pins can't be kept: {error}") from error

    # --- called by the event loop ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            _notice_dead_peers(sock)

    def data_received(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.received(data)
        else:
            self.abort()  # an answer to nothing

    def eof_received(self) -> bool:
        if self.exchange is not None:
            self.exchange.ended()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.resume_writing()
        exchange, self.exchange = self.exchange, None
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


_Key: TypeAlias = tuple[Origin, TLS]
"""Connections of one key are as good as each other."""


class Pool:
    """The connections of one event loop, idle ones by where they lead and whom they trust."""

    def __init__(self) -> None:
        self._all: set[Connection] = set()
        self._idle: dict[_Key, list[Connection]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def take(self, origin: Origin, tls: TLS) -> Connection | None:
        """An idle connection, the one used last; None if a new one has to be made."""
        idle = self._idle.get((origin, tls))
        oldest = asyncio.get_running_loop().time() - _IDLE
        while idle:
            connection = idle.pop()
            if connection.open and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    def give(self, connection: Connection) -> None:
        """A connection whose exchange is complete."""
        connection.exchange = None
        if not connection.open:
            return
        connection.used = True
        connection.idle_since = now = asyncio.get_running_loop().time()
        self._idle.setdefault(connection.key, []).append(connection)
        for idle in self._idle.values():
            if idle and idle[0].idle_since < now - _IDLE:
                idle.pop(0).abort()

    async def connect(self, origin: Origin, tls: TLS, limit: float, url: str) -> Connection:
        """A new connection, whose server is trusted."""
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if origin.secure:
            options.update(ssl=_context(tls), server_hostname=origin.host)
        if isinstance(loop, asyncio.BaseEventLoop) and not _is_address(origin.host):
            # Several addresses are tried together, lest a dead one takes all the time.
            # uvloop does not know the word.
            options["happy_eyeballs_delay"] = 0.25
        try:
            async with asyncio.timeout(limit):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._left, (origin, tls)),
                    *(origin.host, origin.port),
                    **options,
                )
        except TimeoutError as error:
            raise TrickleTimeout(f"no connection within {limit:g} s", url=url) from error
        except ssl.SSLCertVerificationError as error:
            raise CertificateError(
                f"the server's certificate can't be verified: {error.verify_message}", url=url
            ) from error
        except OSError as error:
            if isinstance(tls, trust.Pin):
                tls.lost(origin.host, origin.port)
            raise TrickleConnectionError(str(error) or type(error).__name__, url=url) from error
        except ValueError as error:
            raise ProtocolError(f"{origin.host!r} is no host name: {error}", url=url) from error
        self._all.add(connection)
        try:
            if origin.secure and isinstance(tls, trust.Pin):
                connection.check(tls, origin)
            if not connection.open:
                raise TrickleConnectionError("the server closed the connection", url=url)
        except TrickleError as error:
            self._all.discard(connection)
            connection.abort()
            error.url = public_url(url)
            raise
        return connection

    async def aclose(self) -> None:
        """Drop every connection and wait until its socket is closed."""
        self._idle.clear()
        lost = []
        for connection in tuple(self._all):
            connection.abort()
            lost.append(connection.lost)
        if lost:
            await asyncio.wait(lost, timeout=5)

    def _left(self, connection: Connection) -> None:
        self._all.discard(connection)
        idle = self._idle.get(connection.key)
        if idle and connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.key, None)


def _is_address(host: str) -> bool:
    return host == "localhost" or ":" in host or host.replace(".", "").isdigit()


@functools.cache
def _verifying() -> ssl.SSLContext:
    return ssl.create_default_context()


@functools.cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(tls: TLS) -> ssl.SSLContext:
    if isinstance(tls, ssl.SSLContext):
        return tls
    return _verifying() if tls is True else _unverified()
