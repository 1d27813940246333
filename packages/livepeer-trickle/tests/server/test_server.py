"""The embedded server: what the recorded transcripts can't say."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from livepeer.trickle.exceptions import ChannelClosed
from livepeer.trickle.http.http1 import Head, MalformedAnswer, ResponseParser
from livepeer.trickle.protocol import wire
from livepeer.trickle.server import Access, Channel, LimitExceeded, ServerLimits, TrickleServer

LIMIT = 30.0
"""Seconds; far more than anything here takes."""


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as session:
        yield session


class RawConnection:
    """One request on a connection of its own, and what has come back so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = b""
        self.eof = False
        """The server ended the connection."""
        self.answer = ResponseParser()
        self._reader = reader
        self._writer = writer
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, host: str, port: int) -> "RawConnection":
        return cls(*await asyncio.open_connection(host, port))

    @property
    def head(self) -> Head:
        assert self.answer.head is not None
        return self.answer.head

    @property
    def body(self) -> bytes:
        return b"".join(self.answer.pieces)

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def close(self) -> None:
        self._task.cancel()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        await asyncio.wait([self._task])

    async def news(self, limit: float) -> None:
        """Wait until something arrives, or for `limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._news.wait()
        self._news.clear()

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(256 * 1024):
                self.received += data
                self.answer.feed(data)
                self._news.set()
        with contextlib.suppress(MalformedAnswer):
            self.answer.eof()
        self.eof = True
        self._news.set()


class RawClient:
    """Requests on raw connections, to see what a library hides; all are closed after the test."""

    def __init__(self) -> None:
        self.connections: list[RawConnection] = []

    async def connect(self, server: TrickleServer) -> RawConnection:
        host, _, port = server.url.removeprefix("http://").partition("/")[0].partition(":")
        connection = await RawConnection.open(host, int(port))
        self.connections.append(connection)
        return connection

    async def get(self, server: TrickleServer, path: str) -> RawConnection:
        connection = await self.connect(server)
        connection.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return connection

    async def post(self, server: TrickleServer, path: str, *pieces: bytes) -> RawConnection:
        """A POST whose body stays open."""
        connection = await self.connect(server)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.send(head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces))
        return connection


@pytest.fixture
async def client() -> AsyncIterator[RawClient]:
    client = RawClient()
    yield client
    for connection in client.connections:
        await connection.close()


async def until(condition: object, connection: RawConnection | None = None) -> None:
    """Wait until a function says so, with a limit."""
    assert callable(condition)
    async with asyncio.timeout(LIMIT):
        while not condition():
            if connection is None:
                await asyncio.sleep(0.005)
            else:
                await connection.news(0.05)


# --- the embedding program -----------------------------------------------------------------------


async def test_a_written_segment_is_read_over_http(http: aiohttp.ClientSession) -> None:
    async with TrickleServer() as server:
        channel = server.create("camera", "video/MP2T")
        assert await channel.write(b"one") == 0
        assert await channel.write(b"two") == 1
        async with http.get(wire.segment_url(server.channel_url("camera"), 1)) as response:
            assert (await response.read(), response.headers[wire.SEQ]) == (b"two", "1")
            assert response.headers["Content-Type"] == "video/MP2T"


async def test_a_streamed_segment_arrives_while_it_is_written(http: aiohttp.ClientSession) -> None:
    async with TrickleServer() as server:
        channel = server.create("camera")
        async with channel.segment() as segment:
            await segment.write(b"one")
            async with http.get(wire.segment_url(server.channel_url("camera"), 0)) as response:
                assert await response.content.readany() == b"one"
                await segment.write(b"two")
                assert await response.content.readany() == b"two"
        assert channel.next_seq == segment.seq + 1


async def test_an_exception_ends_a_streamed_segment_short(http: aiohttp.ClientSession) -> None:
    async with TrickleServer() as server:
        channel = server.create("camera")
        with pytest.raises(ZeroDivisionError):
            async with channel.segment() as segment:
                await segment.write(b"half")
                raise ZeroDivisionError
        async with http.get(wire.segment_url(server.channel_url("camera"), 0)) as response:
            assert await response.read() == b"half"


async def test_creating_again_returns_the_channel_with_its_type() -> None:
    async with TrickleServer() as server:
        assert server.create("camera", "video/MP2T") is server.create("camera", "text/plain")
        assert server.get("camera") is server.channels[0]
        assert server.get("other") is None


async def test_a_closed_channel_refuses_writes_and_frees_its_name() -> None:
    async with TrickleServer() as server:
        old = server.create("camera")
        assert await server.close_channel("camera")
        assert not await server.close_channel("camera")
        with pytest.raises(ChannelClosed, match="camera"):
            await old.write(b"late")
        assert server.create("camera") is not old
        old.close()
        assert server.get("camera") is not None


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_names_that_no_url_can_carry_are_refused(name: str) -> None:
    async with TrickleServer() as server:
        with pytest.raises(ValueError, match="name"):
            server.create(name)


async def test_an_encoded_dot_is_no_channel(http: aiohttp.ClientSession, client: RawClient) -> None:
    async with TrickleServer() as server:
        connection = await client.connect(server)
        connection.send(b"POST /%2E%2E HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: connection.answer.complete, connection)
        assert connection.head.status == 404


@pytest.mark.parametrize(
    "options", [{"base_path": "ai"}, {"idle_timeout": 0}, {"sweep_interval": -1.0}]
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"begins with a slash|above 0"):
        TrickleServer(**options)  # type: ignore[arg-type]


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="segment_bytes"):
        ServerLimits(segment_bytes=0)


def test_the_url_is_known_once_it_listens() -> None:
    with pytest.raises(RuntimeError, match="listens"):
        _ = TrickleServer().url


async def test_a_burst_of_local_writes_reaches_a_local_reader_in_order() -> None:
    async with TrickleServer() as server:
        channel = server.create("events", "application/json")
        seen: list[bytes] = []

        async def follow() -> None:
            seq = 0
            while (turn := channel.open_read(seq)) is not None and len(seen) < 100:
                while not turn.at_end:
                    if data := turn.take():
                        seen.append(data)
                    else:
                        await turn.segment.changed()
                turn.close()
                seq += 1

        reader = asyncio.create_task(follow())
        for number in range(100):
            await channel.write(b"%d" % number)
        async with asyncio.timeout(LIMIT):
            await channel.write(b"end")
            await reader
        assert seen == [b"%d" % number for number in range(100)]


# --- limits --------------------------------------------------------------------------------------


async def test_a_segment_over_the_limit_is_413_and_ends_short(
    http: aiohttp.ClientSession, client: RawClient
) -> None:
    async with TrickleServer(limits=ServerLimits(segment_bytes=1000)) as server:
        url = wire.segment_url(server.channel_url("camera"), 0)
        post = await client.post(server, "/camera/0", b"a" * 900)
        async with http.get(url) as response:
            assert await response.content.readexactly(900) == b"a" * 900
            post.send(b"%x\r\n%s\r\n" % (200, b"b" * 200))
            assert await response.read() == b""
        await until(lambda: post.answer.complete, post)
        assert post.head.status == 413
        assert b"1000 bytes" in post.body
        assert post.head.fields["connection"] == "close"
        channel = server.get("camera")
        assert channel is not None
        assert channel.size == 900
        with pytest.raises(LimitExceeded, match="1000 bytes"):
            await channel.write(b"c" * 1001)
        assert channel.next_seq == 1


async def test_a_channel_never_holds_more_than_its_limit(http: aiohttp.ClientSession) -> None:
    limits = ServerLimits(segment_bytes=1000, channel_bytes=1500)
    async with TrickleServer(limits=limits) as server:
        channel = server.create("camera")
        for seq in range(20):
            url = wire.segment_url(server.channel_url("camera"), seq)
            async with http.post(url, data=b"x" * 700) as response:
                assert response.status == 200
            assert channel.size <= 1500
        async with http.get(wire.segment_url(server.channel_url("camera"), 17)) as response:
            assert response.status == wire.STATUS_RESYNC
        async with http.get(wire.segment_url(server.channel_url("camera"), 18)) as response:
            assert await response.read() == b"x" * 700


async def test_open_segments_can_not_outgrow_their_channel(client: RawClient) -> None:
    limits = ServerLimits(segment_bytes=1000, channel_bytes=1500)
    async with TrickleServer(limits=limits) as server:
        await client.post(server, "/camera/0", b"x" * 1000)
        await until(lambda: server.get("camera") is not None)
        second = await client.post(server, "/camera/1", b"x" * 600)
        await until(lambda: second.answer.complete, second)
        assert second.head.status == 413
        channel = server.get("camera")
        assert channel is not None
        assert channel.size == 1000


async def test_a_slow_reader_of_an_overwritten_segment_is_cut_where_memory_ends() -> None:
    limits = ServerLimits(segment_bytes=8_000_000, channel_bytes=8_000_000)
    async with TrickleServer(limits=limits) as server:
        channel = server.create("camera")
        await channel.write(b"x" * 7_000_000)
        host, _, port = server.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(b"GET /camera/0 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(6):
            await channel.write(b"y" * 100)
        assert channel.size > 7_000_000  # the reader still holds the overwritten segment
        await channel.write(b"z" * 2_000_000)
        assert channel.size < 2_100_000
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            async with asyncio.timeout(LIMIT):
                await reader.readexactly(7_000_000)
        writer.close()


async def test_a_reader_that_takes_nothing_is_cut() -> None:
    async with TrickleServer(limits=ServerLimits(stall=2.0)) as server:
        channel = server.create("camera")
        await channel.write(b"x" * 20_000_000)
        await channel.write(b"next")
        host, _, port = server.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(b"GET /camera/0 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: not channel.readers)
        writer.close()


async def test_over_the_limits_of_clients_they_get_429(
    http: aiohttp.ClientSession, client: RawClient
) -> None:
    limits = ServerLimits(channels=1, readers=1, writers=1, name_length=10)
    async with TrickleServer(limits=limits) as server:
        channel = server.create("camera")
        waiting = await client.get(server, "/camera/0")
        posting = await client.post(server, "/camera/0")
        await until(lambda: channel.readers and channel.writers)
        for method, path, status in (
            ("GET", "/camera/0", 429),
            ("POST", "/camera/1", 429),
            ("POST", "/other", 429),
            ("POST", "/other/0", 429),
            ("POST", "/a-name-too-long", 414),
        ):
            async with http.request(method, server.url + path, data=b"") as response:
                assert (method, path, response.status) == (method, path, status)
        await waiting.close()
        await posting.close()
        await until(lambda: not channel.readers and not channel.writers)
        async with http.post(server.url + "/camera/0", data=b"now") as response:
            assert response.status == 200


async def test_bytes_for_a_closed_segment_use_no_memory(client: RawClient) -> None:
    async with TrickleServer(limits=ServerLimits(segment_bytes=1000)) as server:
        post = await client.post(server, "/camera/0", b"a")
        await until(lambda: server.get("camera") is not None)
        channel = server.get("camera")
        assert channel is not None
        await until(lambda: channel.next_seq == 1)
        channel.delete_segment(0)
        for _ in range(50):
            post.send(b"%x\r\n%s\r\n" % (1000, b"b" * 1000))
        post.send(b"0\r\n\r\n")
        await until(lambda: post.answer.complete, post)
        assert (post.head.status, channel.size) == (200, 1)


# --- readers and publishers that leave -----------------------------------------------------------


async def test_a_waiting_reader_that_leaves_is_forgotten(client: RawClient) -> None:
    async with TrickleServer() as server:
        channel = server.create("camera")
        waiting = await client.get(server, "/camera/0")
        await until(lambda: channel.readers)
        await waiting.close()
        await until(lambda: not channel.readers)


async def test_a_publisher_that_leaves_gives_the_segment_free(client: RawClient) -> None:
    async with TrickleServer() as server:
        channel = server.create("camera")
        post = await client.post(server, "/camera/0", b"half")
        await until(lambda: channel.next_seq == 1)
        await post.close()
        await until(lambda: not channel.writers)
        segment = channel.get(0)
        assert segment is not None
        assert (segment.closed, segment.owner) == (False, 0)


async def test_the_later_of_two_publishers_takes_over(
    http: aiohttp.ClientSession, client: RawClient
) -> None:
    async with TrickleServer() as server:
        first = await client.post(server, "/camera/0", b"old ")
        await until(lambda: server.get("camera") is not None)
        channel = server.get("camera")
        assert channel is not None
        await until(lambda: channel.next_seq == 1)
        async with http.post(server.url + "/camera/0", data=b"new") as response:
            assert response.status == 200
        first.send(b"0\r\n\r\n")
        await until(lambda: first.answer.complete, first)
        assert first.head.status == 409
        async with http.get(server.url + "/camera/0") as response:
            assert await response.read() == b"old new"


async def test_an_idle_post_hears_a_100_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, client: RawClient
) -> None:
    monkeypatch.setattr(wire, "PROVISIONAL_INTERVAL", 0.05)
    async with TrickleServer() as server:
        post = await client.post(server, "/camera/0")
        await until(lambda: post.received.count(b"HTTP/1.1 100 Continue\r\n\r\n") >= 3, post)
        post.send(b"1\r\na\r\n0\r\n\r\n")
        await until(lambda: post.answer.complete, post)
        assert post.head.status == 200


# --- who may -------------------------------------------------------------------------------------


async def test_the_hook_decides_before_anything_is_done(http: aiohttp.ClientSession) -> None:
    asked: list[tuple[str, str]] = []

    async def authorize(access: Access) -> bool:
        asked.append((access.action, access.channel))
        return access.request.headers.get("Authorization") == "Bearer sesame"

    async with TrickleServer(authorize=authorize) as server:
        for method, path, action in (
            ("POST", "/camera", "create"),
            ("POST", "/camera/0", "publish"),
            ("GET", "/camera/0", "subscribe"),
            ("GET", "/camera/next", "subscribe"),
            ("DELETE", "/camera/0", "delete"),
            ("DELETE", "/camera", "delete"),
        ):
            async with http.request(method, server.url + path, data=b"") as response:
                assert response.status == 403
            assert asked.pop() == (action, "camera")
        assert server.channels == []
        headers = {"Authorization": "Bearer sesame"}
        async with http.post(server.url + "/camera", headers=headers) as response:
            assert response.status == 200


async def test_a_plain_function_is_a_hook_too(http: aiohttp.ClientSession) -> None:
    async with TrickleServer(authorize=lambda access: access.action != "delete") as server:
        server.create("camera")
        async with http.delete(server.channel_url("camera")) as response:
            assert response.status == 403
        async with http.get(wire.next_url(server.channel_url("camera"))) as response:
            assert response.status == 200


def test_the_repr_of_an_access_shows_no_header() -> None:
    assert "request" not in repr(Access("create", "camera", None))  # type: ignore[arg-type]


async def test_pages_of_allowed_origins_may_read(http: aiohttp.ClientSession) -> None:
    async with TrickleServer(cors=["https://good.example"]) as server:
        channel = server.create("camera")
        await channel.write(b"x")
        for origin, allowed in (("https://good.example", True), ("https://bad.example", False)):
            headers = {"Origin": origin}
            async with http.get(server.url + "/camera/0", headers=headers) as response:
                granted = response.headers.get("Access-Control-Allow-Origin")
                assert granted == (origin if allowed else None)
                assert response.headers["Vary"] == "Origin"
                exposed = response.headers.get("Access-Control-Expose-Headers", "")
                assert (wire.SEQ in exposed) is allowed
            preflight = {**headers, "Access-Control-Request-Method": "POST"}
            async with http.options(server.url + "/camera/0", headers=preflight) as response:
                assert response.status == (204 if allowed else 405)


async def test_any_origin_may_read_where_the_option_is_a_star(http: aiohttp.ClientSession) -> None:
    async with TrickleServer(cors="*") as server:
        headers = {"Origin": "https://any.example"}
        async with http.get(server.url + "/nope/0", headers=headers) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_without_the_option_no_answer_has_cross_origin_headers(
    http: aiohttp.ClientSession,
) -> None:
    async with TrickleServer() as server:
        headers = {"Origin": "https://any.example"}
        async with http.get(server.url + "/nope/0", headers=headers) as response:
            assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_it_serves_tls(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    serving, trusting = certificates(tmp_path)
    async with TrickleServer(ssl_context=serving) as server:
        assert server.url.startswith("https://127.0.0.1:")
        url = server.channel_url("camera") + "/0"
        async with http.post(url, data=b"secret", ssl=trusting) as response:
            assert response.status == 200
        async with http.get(url, ssl=trusting) as response:
            assert await response.read() == b"secret"


def certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A context for the server, and one that trusts its certificate only."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "trickle.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    return serving, ssl.create_default_context(cafile=str(path))


# --- start, stop, mount, sweep -------------------------------------------------------------------


async def test_stopping_ends_readers_and_answers_publishers_at_once(client: RawClient) -> None:
    server = TrickleServer()
    await server.start()
    server.create("camera")
    waiting = await client.get(server, "/camera/1")
    idle = await client.post(server, "/camera/1")
    writing = await client.post(server, "/camera/0", b"half")
    await until(lambda: server.channels[0].next_seq == 1)
    reading = await client.get(server, "/camera/0")
    await until(lambda: reading.body, reading)
    async with asyncio.timeout(LIMIT):
        await server.aclose()
    for connection, status in ((waiting, 200), (idle, 200), (writing, 503), (reading, 200)):
        await until(lambda c=connection: c.answer.complete and c.eof, connection)  # type: ignore[misc]
        assert connection.head.status == status
    assert waiting.head.fields["lp-trickle-closed"] == "terminated"
    assert idle.head.fields["lp-trickle-closed"] == "terminated"
    await server.aclose()


async def test_nothing_is_left_after_it_stopped(
    http: aiohttp.ClientSession, client: RawClient
) -> None:
    before = asyncio.all_tasks()
    for _ in range(3):
        async with TrickleServer() as server:
            async with http.post(server.url + "/camera/0", data=b"x") as response:
                assert response.status == 200
            waiting = await client.get(server, "/camera/1")
            await until(lambda s=server: s.channels[0].readers)  # type: ignore[misc]
        await waiting.close()
    await until(lambda: not asyncio.all_tasks() - before)


async def test_a_taken_port_is_an_error_that_leaves_nothing() -> None:
    async with TrickleServer() as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            await TrickleServer(port=port).start()
        with pytest.raises(RuntimeError, match="already"):
            await server.start()


async def test_it_can_be_mounted_beside_other_routes(http: aiohttp.ClientSession) -> None:
    async def health(request: web.Request) -> web.Response:
        return web.Response(text="fine")

    server = TrickleServer(base_path="/ai/trickle/", autocreate=False)
    app = web.Application()
    app.router.add_get("/health", health)
    server.mount(app, url="http://orchestrator.test:8935/")
    assert server.channel_url("camera") == "http://orchestrator.test:8935/ai/trickle/camera"
    runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=LIMIT)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server.create("a/b", "video/MP2T")
    async with http.get(base + "/health") as response:
        assert await response.text() == "fine"
    async with http.post(base + "/ai/trickle/a%2Fb/0", data=b"x", expect100=True) as response:
        assert response.status == 200
    async with http.post(base + "/ai/trickle/no/0", data=b"x", expect100=True) as response:
        assert response.status == 404
    waiting = asyncio.create_task(http.get(base + "/ai/trickle/a%2Fb/1"))
    channel = server.get("a/b")
    assert channel is not None
    await until(lambda: channel.readers)
    async with asyncio.timeout(LIMIT / 2):
        await runner.cleanup()
        response = await waiting
    assert response.headers[wire.CLOSED] == wire.TERMINATED
    response.close()


@pytest.mark.parametrize("leaves", [True, False])
async def test_where_it_is_mounted_a_client_that_leaves_is_no_error_and_other_errors_are(
    caplog: pytest.LogCaptureFixture, leaves: bool
) -> None:
    ended = asyncio.Event()

    async def authorize(access: Access) -> bool:
        if leaves:
            return True
        raise ConnectionResetError("of something else")

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            ended.set()

    server = TrickleServer(autocreate=False, authorize=authorize)
    app = web.Application(middlewares=[watch])
    server.mount(app, url="http://localhost")
    server.create("camera")
    runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=LIMIT)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    connection = await RawConnection.open("127.0.0.1", runner.addresses[0][1])
    connection.send(b"DELETE /camera HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
    if leaves:
        await until(lambda: server.get("camera") is None)
        await connection.close()
    async with asyncio.timeout(LIMIT):
        await ended.wait()
        await connection.close()
        await runner.cleanup()
    assert ("Error handling request" in caplog.text) is not leaves


async def test_idle_channels_are_swept_and_announced(http: aiohttp.ClientSession) -> None:
    # The first look comes after the interval, which is time enough to ask.
    async with TrickleServer(changefeed=True, idle_timeout=0.2, sweep_interval=3) as server:
        server.create("camera")
        server.create("_own")
        async with http.get(server.url + "/camera/0") as response:
            assert response.headers[wire.CLOSED] == wire.TERMINATED
        assert server.get("camera") is None
        assert server.get("_own") is not None
        async with http.get(server.url + "/_changes/3") as response:
            assert wire.Changes.parse(await response.read()) == wire.Changes(removed=("camera",))


async def test_a_thousand_idle_channels_cost_little(client: RawClient) -> None:
    process = psutil.Process()
    async with TrickleServer() as server:
        await server.create("warm").write(b"x")
        connections = [await client.get(server, "/warm/9")]
        memory = process.memory_info().rss
        for number in range(1000):
            server.create(f"channel-{number}", "application/json")
        for number in range(0, 1000, 10):
            connections.append(await client.get(server, f"/channel-{number}/0"))
            connections.append(await client.post(server, f"/channel-{number}/1"))
        last = server.create("channel-990")
        await until(lambda: last.readers and last.writers)
        assert process.memory_info().rss - memory < 50_000_000
        busy = process.cpu_times()
        await asyncio.sleep(1)
        now = process.cpu_times()
        # Not a measurement: a server that looks at each all the time takes the whole second.
        assert (now.user + now.system) - (busy.user + busy.system) < 0.5


async def test_clients_that_come_and_go_leave_nothing(client: RawClient) -> None:
    process = psutil.Process()

    async def cycle(server: TrickleServer, channel: Channel, count: int) -> None:
        for number in range(count):
            path = f"/camera/{number % 7}"
            reading = await client.get(server, path)
            posting = await client.post(server, path, *([b"half"] if number % 2 else []))
            await until(lambda r=reading: channel.readers or r.answer.head)
            for connection in (reading, posting):
                await connection.close()
            client.connections.clear()

    async with TrickleServer() as server:
        channel = server.create("camera")
        await cycle(server, channel, 20)
        await until(lambda: not channel.readers and not channel.writers)
        tasks, files = len(asyncio.all_tasks()), process.num_fds()
        await cycle(server, channel, 200)
        await until(lambda: not channel.readers and not channel.writers)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert process.num_fds() <= files
        assert channel.next_seq > 0


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_readers_of_a_live_segment_get_every_byte_whatever_its_pieces(
    client: RawClient, version: str
) -> None:
    """Pieces are pushed to readers that keep up, but the largest, which each takes by itself."""
    pieces = [bytes([i]) * size for i, size in enumerate((1, 70_000, 5_000, 10, 200_000, 4_096, 7))]
    async with TrickleServer() as server:
        channel = server.create("cam", "video/MP2T")
        request = f"GET /cam/0 HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n"
        readers = [await client.connect(server) for _ in range(3)]
        for reader in readers:
            reader.send(request.encode())
        async with asyncio.timeout(LIMIT):
            await until(lambda: channel.readers == 3)
            async with channel.segment() as segment:
                for piece in pieces:
                    await segment.write(piece)
            for reader in readers:
                await until(lambda reader=reader: reader.eof, reader)
        for reader in readers:
            assert reader.body == b"".join(pieces)
            assert reader.head.status == 200
