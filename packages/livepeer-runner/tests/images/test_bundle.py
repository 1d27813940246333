"""A signature that cosign 3.1.3 made, verified with its public key, and what is none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from livepeer.runner.packaging import bundle
from livepeer.runner.packaging.inspect import inspect, verify
from livepeer.runner.packaging.registry.reference import ImageReference
from livepeer.runner.packaging.signing import ImageSigner, SigningError

from .conftest import INDEX, MANIFEST, ScriptedRegistry, digest_of

DIGEST = "sha256:8edf03892861ed1c64cce9aa54b3c24cb92fc0da7b7078a1644aa61cc5aa0a0c"
KEY = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfI3lizXh/Wl/pdy8xGMyB+Tpw+nb
Nz2HfHpCGBwvv7+8wKpbenoVfYK9FYJqFfAnG0UxEME+RLTpt/lk5lBvpQ==
-----END PUBLIC KEY-----
"""
STATEMENT = (
    '{"_type":"https://in-toto.io/Statement/v1", "subject":[{"digest":{"sha256":'
    '"8edf03892861ed1c64cce9aa54b3c24cb92fc0da7b7078a1644aa61cc5aa0a0c"}, "annotations":{}}], '
    '"predicateType":"https://sigstore.dev/cosign/sign/v1", "predicate":{}}'
)
SIGNATURE = (
    "MEQCIH6Y5U7cOuiSuL2l8hG7zA2mseNttgAmj+Sxdzr09VQd"
    "AiBriguvPSou1GOqvauhSauHcuqtYuRMMtLCtnBOrIogmA=="
)


def made(statement: str = STATEMENT, signature: Any = SIGNATURE, **changed: Any) -> bytes:
    """The bundle as cosign wrote it, with what a test changes."""
    envelope = {
        "payload": base64.b64encode(statement.encode()).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": signature}],
        **changed,
    }
    return json.dumps({"mediaType": bundle.MEDIA_TYPE, "dsseEnvelope": envelope}).encode()


def own(statement: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    kind = bundle.PAYLOAD_TYPE
    signed = f"DSSEv1 {len(kind)} {kind} {len(statement)} {statement}".encode()
    signature = base64.b64encode(key.sign(signed, ec.ECDSA(SHA256()))).decode()
    return made(statement, signature)


def test_what_cosign_signed_is_verified_for_that_digest_and_that_key_alone() -> None:
    key = bundle.public_key(KEY)
    assert key is not None
    assert bundle.signs(made(), DIGEST, key)
    assert not bundle.signs(made(), "sha256:" + "0" * 64, key)
    assert not bundle.signs(made(), DIGEST, ec.generate_private_key(ec.SECP256R1()).public_key())
    assert not bundle.signs(
        made(STATEMENT.replace("8edf", "9edf")), "sha256:9edf" + DIGEST[11:], key
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"{" * 50_000,
        made(signature=None),
        made(signature="***"),
        made(signature="AAAA"),
        made(signatures=[]),
        made(signatures=["x", {}, 3]),
        made(payload="***"),
        made(payloadType="text/plain"),
        made(payload=7),
    ],
)
def test_what_is_no_signature_verifies_nothing(content: bytes) -> None:
    key = bundle.public_key(KEY)
    assert key is not None
    assert not bundle.signs(content, DIGEST, key)


@pytest.mark.parametrize(
    "statement",
    [
        STATEMENT.replace("cosign/sign/v1", "other/v1"),
        STATEMENT.replace('"predicateType"', '"kind"'),
        STATEMENT.replace("[{", '[{"digest":{"sha256":"00"}}, {'),
        "[]",
        "no JSON",
    ],
)
def test_another_statement_by_the_same_key_signs_no_image(statement: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    assert bundle.signs(own(STATEMENT, private), DIGEST, private.public_key())
    assert not bundle.signs(own(statement, private), DIGEST, private.public_key())


def test_keys_of_other_kinds_are_left_to_cosign() -> None:
    other = rsa.generate_private_key(65537, 2048).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert bundle.public_key(pem) is None and bundle.public_key(b"no key") is None


async def test_a_signature_beside_an_image_is_found_and_verified_without_cosign(
    scripted: ScriptedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    digest = scripted.image()
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "cosign.pub").write_bytes(pem)
    for statement in ("of another", STATEMENT.replace(DIGEST[7:], digest[7:])):
        content = own(statement, private)
        blob = scripted.put(f"me/app/blobs/{digest_of(content)}", content)
        body = {"schemaVersion": 2, "layers": [{"digest": blob, "size": len(content)}]}
        name = scripted.put("me/app/manifests/signature", body, MANIFEST)
        scripted.put(f"me/app/manifests/{name}", body, MANIFEST)
        entry = {"digest": name, "artifactType": bundle.MEDIA_TYPE}
        # The first is nowhere, which keeps nobody from looking at the next.
        entries = [{**entry, "digest": "sha256:" + "0" * 64}, {"artifactType": 3}, entry]
        scripted.put(f"me/app/referrers/{digest}", {"manifests": entries}, INDEX)
        found = await inspect(ImageReference.parse(f"{scripted.host}/me/app:v1"))
        signer = ImageSigner(key=str(tmp_path / "cosign.pub"))
        if statement == "of another":
            with pytest.raises(SigningError, match=r"none of its 2 signatures is by "):
                await verify(found, signer)
        else:
            await verify(found, signer)
    with pytest.raises(SigningError, match="cosign is not installed"):
        await verify(found, ImageSigner(identity="me@example.com", issuer="https://example.com"))
