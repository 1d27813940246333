"""What the tests share: scripted orchestrators, a clean environment, fresh certificates."""

from __future__ import annotations

import datetime
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from livepeer.client.testing import ScriptedOrchestrator


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """Start a `ScriptedOrchestrator` with the given settings; all are stopped at the end."""
    running: list[ScriptedOrchestrator] = []

    async def begin(port: int = 0, **settings: Any) -> ScriptedOrchestrator:
        server = ScriptedOrchestrator(**settings)
        await server.start(port)
        running.append(server)
        return server

    yield begin
    for server in running:
        await server.stop()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's environment reaches a test."""
    for name in [name for name in os.environ if name.startswith("LIVEPEER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "config" / "pins.json"))


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], ssl.SSLContext]:
    """Makes a server's TLS context, with another certificate at each call."""

    def make() -> ssl.SSLContext:
        return _self_signed(tmp_path_factory.mktemp("tls"))

    return make


def _self_signed(folder: Path) -> ssl.SSLContext:
    """A fresh self-signed certificate without an IP address, as go-livepeer makes at each start."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "orchestrator")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("orchestrator")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = folder / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context.load_cert_chain(path)
    return context


@pytest.fixture(autouse=True)
def recursion_limit() -> Iterator[None]:
    """Tests import eth-account themselves, which raises it for all that come after."""
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)
