import asyncio
import datetime
import ipaddress
import json
import logging
import random
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from livepeer.trickle import (
    CertificateError,
    ChannelNotFound,
    Pin,
    PinStore,
    Timeouts,
    Transport,
    TrickleConnectionError,
    TricklePublisher,
    TrickleServer,
    TrickleSubscriber,
    locked_file,
)
from livepeer.trickle.http.exchange import BUFFER
from livepeer.trickle.testing.streams import StreamServer
from livepeer.trickle.tls.pins import fingerprint, is_private

x509 = pytest.importorskip("cryptography.x509")


def _certificate(directory: Path, name: str) -> ssl.SSLContext:
    """A server context with a new self-signed certificate, as go-livepeer makes one."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}-{certificate.serial_number}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.certificate_path = path  # type: ignore[attr-defined]
    return context


class Listener:
    """An HTTPS server that keeps what it was told, on a port that outlives its certificates."""

    def __init__(self) -> None:
        self.port = 0
        self.told = b""
        self._server: StreamServer | None = None

    async def start(self, context: ssl.SSLContext) -> None:
        self._server = StreamServer(self._serve, port=self.port, ssl=context)
        await self._server.start()
        self.port = self._server.port

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.told += await reader.read(4096)
        writer.write(b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async def ask(self, pin: Pin) -> None:
        """One request by a subscriber, whose 404 ends it."""
        url = f"https://127.0.0.1:{self.port}/cam"
        async with TrickleSubscriber(url, start=0, tls=pin) as subscriber:
            try:
                await anext(subscriber, None)
            except ChannelNotFound as error:
                assert "404" in str(error)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    yield listener
    await listener.stop()


async def test_the_first_certificate_is_trusted_and_the_next_is_refused_before_a_header_leaves(
    listener: Listener, tmp_path: Path
) -> None:
    pin = Pin()
    await listener.start(_certificate(tmp_path, "a"))
    await listener.ask(pin)
    assert listener.told.startswith(b"GET /cam/0")
    await listener.stop()
    listener.told = b""
    await listener.start(_certificate(tmp_path, "b"))
    with pytest.raises(CertificateError, match=r"changed.*Nothing was sent") as caught:
        await listener.ask(pin)
    assert listener.told == b""
    assert "127.0.0.1" in str(caught.value)


async def test_a_publisher_tells_a_changed_server_nothing(
    listener: Listener, tmp_path: Path
) -> None:
    pin = Pin()
    await listener.start(_certificate(tmp_path, "a"))
    pin.store.set("127.0.0.1", listener.port, "AA:BB")
    with pytest.raises(CertificateError):
        await TricklePublisher(f"https://127.0.0.1:{listener.port}/cam", tls=pin).__aenter__()
    assert listener.told == b""


async def test_forgetting_accepts_the_new_certificate(listener: Listener, tmp_path: Path) -> None:
    pin = Pin(PinStore(tmp_path / "pins.json"))
    await listener.start(_certificate(tmp_path, "a"))
    await listener.ask(pin)
    await listener.stop()
    await listener.start(_certificate(tmp_path, "b"))
    assert pin.store.forget("127.0.0.1", listener.port)
    await listener.ask(pin)
    assert not pin.store.forget("127.0.0.1", 1)


async def test_on_a_private_address_a_new_certificate_is_accepted_once_after_an_outage(
    listener: Listener, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pin = Pin(renew=True)
    await listener.start(_certificate(tmp_path, "a"))
    await listener.ask(pin)
    await listener.stop()
    await listener.start(_certificate(tmp_path, "b"))
    with pytest.raises(CertificateError):
        await listener.ask(pin)
    pin.lost("127.0.0.1", listener.port)
    with caplog.at_level(logging.WARNING):
        await listener.ask(pin)
    assert "new certificate" in caplog.text
    await listener.stop()
    await listener.start(_certificate(tmp_path, "c"))
    with pytest.raises(CertificateError):
        await listener.ask(pin)


async def test_a_client_that_saw_the_server_away_takes_its_new_certificate_by_itself(
    listener: Listener, tmp_path: Path
) -> None:
    pin = Pin(renew=True)
    await listener.start(_certificate(tmp_path, "a"))
    await listener.ask(pin)
    await listener.stop()
    url = f"https://127.0.0.1:{listener.port}/cam"
    async with TrickleSubscriber(url, tls=pin, timeouts=Timeouts(outage=0.05)) as subscriber:
        with pytest.raises(TrickleConnectionError):
            await anext(subscriber)
    await listener.start(_certificate(tmp_path, "b"))
    await listener.ask(pin)


def test_on_a_public_name_a_new_certificate_is_refused_after_an_outage_too() -> None:
    pin = Pin(renew=True)
    pin.trust("example.org", 443, b"one")
    pin.lost("example.org", 443)
    with pytest.raises(CertificateError):
        pin.trust("example.org", 443, b"two")


def test_a_name_first_met_in_public_is_not_renewed_at_a_private_address() -> None:
    """Whoever answers for the name (DNS of a hotel, a container's network) must not get secrets."""
    pin = Pin(renew=True)
    pin.trust("orch.example.org", 8935, b"one", address="8.8.8.8")
    pin.lost("orch.example.org", 8935)
    with pytest.raises(CertificateError, match="changed"):
        pin.trust("orch.example.org", 8935, b"two", address="10.0.0.9")
    # the right one, forwarded from there, makes the next one no better
    pin.trust("orch.example.org", 8935, b"one", address="10.0.0.9")
    pin.lost("orch.example.org", 8935)
    with pytest.raises(CertificateError, match="changed"):
        pin.trust("orch.example.org", 8935, b"two", address="10.0.0.9")


def test_a_name_first_met_at_a_private_address_is_renewed_there_and_nowhere_else() -> None:
    pin = Pin(renew=True)
    pin.trust("orchestrator", 8935, b"one", address="172.18.0.2")
    pin.lost("orchestrator", 8935)
    with pytest.raises(CertificateError, match="changed"):
        pin.trust("orchestrator", 8935, b"two", address="8.8.4.4")
    pin.trust("orchestrator", 8935, b"two", address="172.18.0.3")


_KEEP = """
import sys
from livepeer.trickle import PinStore
store = PinStore(sys.argv[1])
sys.stdin.read()
for i in range(8):
    store.set(f"{sys.argv[2]}-{i}", 1, "AA")
print(store.meet("shared", 1, sys.argv[2]))
"""


def test_processes_that_pin_at_once_lose_none_and_agree_on_who_was_first(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _KEEP, str(path), str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    for each in running:  # let go together, as near as processes come to that
        assert each.stdin is not None
        each.stdin.close()
    said = set()
    for each in running:
        assert each.stdout is not None
        said.add(each.stdout.read().strip())
        each.stdout.close()
        assert each.wait(60) == 0
    kept = json.loads(path.read_text())
    assert len(kept) == 4 * 8 + 1
    assert said == {kept["shared:1"]}


def test_a_pin_file_that_somebody_holds_is_an_error_and_no_endless_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.trickle.locked_file._LOCK_LIMIT", 0.02)
    store = PinStore(tmp_path / "pins.json")
    with PinStore(tmp_path / "pins.json")._locked():
        with pytest.raises(CertificateError, match="held by another process"):
            store.set("host", 1, "AA")
    store.set("host", 1, "AA")
    assert store.get("host", 1) == "AA"


def test_others_who_take_turns_at_a_pin_file_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine many may come first; one that hangs holds it, and changes nothing."""
    monkeypatch.setattr(locked_file, "_LOCK_LIMIT", 0.001)
    path, turns = tmp_path / "pins.json", iter(range(20))
    take = locked_file._try_lock

    def others_first(handle: int) -> bool:
        if (turn := next(turns, None)) is None:
            return take(handle)
        kept = {f"other-{turn}:1": "AA"}
        locked_file.LockedFile(path).replace(json.dumps(kept).encode())
        return False

    monkeypatch.setattr(locked_file, "_try_lock", others_first)
    PinStore(path).set("host", 1, "AA")
    assert json.loads(path.read_text()) == {"other-19:1": "AA", "host:1": "AA"}
    turns = iter(range(10_000))
    monkeypatch.setattr(locked_file, "_TURNS_LIMIT", 0.05)
    with pytest.raises(CertificateError, match="held by another process"):
        PinStore(path).set("host", 1, "AA")


async def test_segments_go_over_tls_in_each_way_of_trust(tmp_path: Path) -> None:
    context = _certificate(tmp_path, "localhost")
    verifying = ssl.create_default_context(
        cafile=str(context.certificate_path)  # type: ignore[attr-defined]
    )
    for tls in (False, Pin(), verifying):
        async with TrickleServer(ssl_context=context) as server:
            server.create("cam", "video/MP2T")
            url = server.channel_url("cam")
            assert url.startswith("https://")
            async with (
                TrickleSubscriber(url, start=0, tls=tls) as subscriber,
                TricklePublisher(url, linger=0, tls=tls) as publisher,
                publisher.segment() as segment,
            ):
                await segment.write(bytes(300_000))
                got = await anext(subscriber)
                assert len(await got.receive()) > 0


@pytest.mark.parametrize("secure", [False, True])
async def test_channels_that_are_read_at_once_keep_their_bytes_apart(
    tmp_path: Path, secure: bool
) -> None:
    """All connections of an event loop are read into one buffer, in the client and the server."""
    sent = [random.Random(i).randbytes(1_500_000) for i in range(6)]
    context = _certificate(tmp_path, "localhost") if secure else None
    async with TrickleServer(ssl_context=context) as server:

        async def publish(url: str, data: bytes) -> None:
            async with TricklePublisher(url, create=True, linger=0, tls=False) as publisher:
                async with publisher.segment() as segment:
                    for start in range(0, len(data), 70_001):
                        await segment.write(data[start : start + 70_001])
                await read[url].wait()

        async def subscribe(url: str) -> bytes:
            async with TrickleSubscriber(url, start=0, tls=False) as subscriber:
                segment = await anext(subscriber)
                pieces = []
                while piece := await segment.receive():
                    pieces.append(piece)
                    await asyncio.sleep(0)  # more comes for the others meanwhile
                read[url].set()
                return b"".join(pieces)

        urls = [server.channel_url(f"cam{i}") for i in range(len(sent))]
        read = {url: asyncio.Event() for url in urls}
        for i in range(len(sent)):
            server.create(f"cam{i}", "video/MP2T")
        got, _ = await asyncio.gather(
            asyncio.gather(*map(subscribe, urls)),
            asyncio.gather(*map(publish, urls, sent)),
        )
    assert got == sent


async def test_an_answer_is_whole_whose_server_leaves_before_it_is_read(tmp_path: Path) -> None:
    """An event loop that hears of the end reads TLS once more; what does not fit then is lost."""
    ahead, rest = random.Random(0).randbytes(BUFFER + 1), random.Random(1).randbytes(200_000)
    context = _certificate(tmp_path, "localhost")
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(30)
    paused = threading.Event()

    def answer() -> None:
        with listening, listening.accept()[0] as plain:
            plain.settimeout(30)
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(4096)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ahead + rest)}\r\n\r\n"
                connection.sendall(head.encode() + ahead)
                assert paused.wait(30)
                connection.sendall(rest)

    async with Transport() as transport:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/cam/0"
        answering = asyncio.create_task(asyncio.to_thread(answer))
        download = transport.download(url, tls=False)
        assert await download.until(lambda: download.parser.buffered == len(ahead), 30)
        paused.set()
        await answering
        for _ in range(100):
            await asyncio.sleep(0)  # the end is heard of
        pieces = []
        while piece := await download.read(30):
            pieces.append(piece)
        assert b"".join(pieces) == ahead + rest


async def test_a_certificate_that_can_not_be_verified_is_refused_by_default(
    tmp_path: Path,
) -> None:
    async with TrickleServer(ssl_context=_certificate(tmp_path, "localhost")) as server:
        with pytest.raises(CertificateError, match="verif"):
            async with TrickleSubscriber(server.channel_url("cam")) as subscriber:
                await anext(subscriber)


def test_pins_are_kept_in_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pins.json"
    PinStore(path).set("Host", 8935, "AA:BB")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PinStore(path).get("host", 8935) == "AA:BB"
    assert json.loads(path.read_text()) == {"host:8935": "AA:BB"}
    assert {file.name for file in path.parent.iterdir()} == {"pins.json", "pins.json.lock"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}'])
def test_a_broken_pin_file_is_refused_rather_than_trusted_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pins.json"
    path.write_text(text)
    with pytest.raises(CertificateError, match=r"pins\.json.*trust anew"):
        PinStore(path).get("host", 1)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("192.168.1.4", True),
        ("10.0.0.1", True),
        ("fe80::1%eth0", True),
        ("8.8.8.8", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_private_addresses_are_told_from_others(host: str, private: bool) -> None:
    assert is_private(host) is private


def test_a_fingerprint_is_printed_as_openssl_does() -> None:
    assert fingerprint(b"").startswith("E3:B0:C4:42:")


async def test_pins_that_can_not_be_kept_are_told_before_a_header_leaves(
    listener: Listener, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    await listener.start(_certificate(tmp_path, "a"))
    pin = Pin(PinStore(tmp_path / "file" / "pins.json"))
    async with asyncio.timeout(10):
        with pytest.raises(CertificateError, match="kept"):
            await listener.ask(pin)
    assert listener.told == b""
