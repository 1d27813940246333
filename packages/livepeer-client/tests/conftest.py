"""What the tests share: scripted orchestrators, a clean environment, fresh certificates."""

from __future__ import annotations

import base64
import datetime
import os
import ssl
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import pytest

from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.payments.signer import Order, SignedAddress, SignedPayment
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, PAYMENT, price_of
from livepeer.client.protocol.wire import JobHeader
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


class Payer:
    """Pays what it is asked with tickets whose signatures are none: the narrowest interface of
    payments, with real messages."""

    can_pay = True
    address = "0x" + "ab" * 20
    ticket = Fraction(1000)
    """Wei that each is worth."""
    params: ClassVar[dict[str, Any]] = {
        "recipient": base64.b64encode(b"\x01" * 20).decode(),
        "face_value": base64.b64encode((1000).to_bytes(2)).decode(),
        "win_prob": base64.b64encode(b"\xff" * 32).decode(),
        "recipient_rand_hash": base64.b64encode(b"\x02" * 32).decode(),
        "seed": base64.b64encode(b"\x03" * 32).decode(),
        "expiration_block": base64.b64encode(b"\x09").decode(),
    }
    """Of a token."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.refusal: Exception | None = None

    async def identity(self, http: Http, deadline: Deadline) -> SignedAddress:
        return SignedAddress(self.address, "0x01")

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline, *, paid: bool) -> str:
        return job.header(sender=self.address, signature="0x01")

    async def pay(
        self, http: Http, order: Order, state: Any, deadline: Deadline
    ) -> SignedPayment | None:
        self.orders.append(order)
        if self.refusal is not None:
            raise self.refusal
        info = ORCHESTRATOR_INFO.decode_text(order.params)
        fee = price_of(info["price_info"]) * order.units
        tickets = [{"sender_nonce": each + 1} for each in range(max(1, -(-fee // self.ticket)))]
        payment = {
            "ticket_params": info["ticket_params"],
            "sender": bytes.fromhex(self.address[2:]),
            "ticket_sender_params": tickets,
            "expected_price": info["price_info"],
        }
        return SignedPayment(PAYMENT.encode_text(payment), "segment", {"n": len(self.orders)})


@pytest.fixture
def payer(monkeypatch: pytest.MonkeyPatch) -> Payer:
    """What every gateway of the test pays with."""
    found = Payer()
    monkeypatch.setattr("livepeer.client.engine.signer_for", lambda *_: found)
    return found


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
