"""A signature as cosign 3 stores it beside an image, verified with a public key alone.

The form is Sigstore's bundle 0.3 with an envelope of DSSE (secure-systems-lab/dsse, protocol.md)
around an in-toto statement whose subject is the image's digest. Keys are ECDSA on P-256, which
`cosign generate-key-pair` makes. A public log is not asked: the key alone is what is believed.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
LARGEST = 64 * 1024
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE = "https://sigstore.dev/cosign/sign/v1"
MOST_SIGNATURES = 16


def read_key(path: str) -> EllipticCurvePublicKey | None:
    """`public_key` of a file; None also for one that is not there."""
    try:
        with open(path, "rb") as file:
            return public_key(file.read(LARGEST))
    except OSError:
        return None


def public_key(pem: bytes) -> EllipticCurvePublicKey | None:
    """The key in a PEM text; None for one that this module does not verify with."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    return None


def signs(bundle: bytes, digest: str, key: EllipticCurvePublicKey) -> bool:
    """Whether a bundle says that the owner of `key` signed the image of this digest."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        match json.loads(bundle):
            case {
                "dsseEnvelope": {
                    "payload": str(payload),
                    "payloadType": "application/vnd.in-toto+json",
                    "signatures": [*signatures],
                }
            }:
                content = base64.b64decode(payload, validate=True)
            case _:
                return False
    except (ValueError, RecursionError, binascii.Error):
        return False
    # What is signed is not JSON but these bytes: nothing is read before they are verified.
    kind = PAYLOAD_TYPE.encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(content), content)
    for one in signatures[:MOST_SIGNATURES]:
        try:
            key.verify(base64.b64decode(one["sig"], validate=True), signed, ECDSA(SHA256()))
        except (InvalidSignature, ValueError, TypeError, LookupError):
            continue
        return _is_of(content, digest)
    return False


def _is_of(content: bytes, digest: str) -> bool:
    """Whether a statement is cosign's, of a signed image, and of this one."""
    try:
        match json.loads(content):
            case {"predicateType": str(kind), "subject": [{"digest": {"sha256": str(signed)}}]}:
                return kind == PREDICATE and f"sha256:{signed}" == digest
    except (ValueError, RecursionError):
        pass
    return False
