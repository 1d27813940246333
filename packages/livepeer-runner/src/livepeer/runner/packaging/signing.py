"""Signatures of images, made and verified by cosign (3 or later), where it is installed.

With a key nothing leaves for a public log: the signing configuration is an empty one. `keyless`
signs as whoever logs in, by Sigstore's public services. A signature is for one digest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KEYLESS = "keyless"
SECONDS = 180.0
_SCHEMES = ("awskms:", "azurekms:", "gcpkms:", "hashivault:", "k8s:", "pkcs11:")
"""Keys that ask for no password of cosign's."""


class SigningError(Exception):
    """An image was not signed, or its signature not verified; the message says why."""

    code = "signing"


class CosignMissing(SigningError):
    """cosign is not installed."""

    code = "cosign_missing"


@dataclass(frozen=True, slots=True)
class ImageSigner:
    """Who has to have signed: the owner of a key, or (keyless) an identity that an issuer saw."""

    key: str | None = None
    """A file with a public key, or a reference of cosign's."""
    identity: str | None = None
    issuer: str | None = None

    def __str__(self) -> str:
        return self.key or f"{self.identity} ({self.issuer})"


def check(key: str) -> None:
    """Before anything is built: whether signing can work here. Raises `SigningError`."""
    _cosign()
    if key == KEYLESS or key.startswith(_SCHEMES):
        return
    if not key.startswith("env:") and not Path(key).is_file():
        raise SigningError(
            f"there is no key {key}: `cosign generate-key-pair` makes one; or say --sign {KEYLESS}"
        )
    if "COSIGN_PASSWORD" not in os.environ:
        raise SigningError(
            "COSIGN_PASSWORD, the password of the key, is not set (empty for a key without one)"
        )


def sign(image: str, key: str, *, plain_http: bool) -> None:
    """Sign `registry/repository@digest`, and store it beside the image. Raises `SigningError`."""
    with tempfile.TemporaryDirectory(prefix="livepeer-sign-") as folder:
        options = ["--yes", *_plain(plain_http)]
        if key != KEYLESS:
            empty = Path(folder) / "signing.json"
            _run(["signing-config", "create", "--out", str(empty)])
            options += ["--key", key, "--signing-config", str(empty)]
        _run(["sign", *options, image])


def verify(image: str, signer: ImageSigner, *, plain_http: bool) -> None:
    """That this digest was signed by `signer`. Raises `SigningError` where that is not shown."""
    options = _plain(plain_http)
    if signer.key is not None:
        # Without a public log there is no time in it: the key alone is what is believed.
        options += ["--key", signer.key, "--insecure-ignore-tlog=true"]
    else:
        options += ["--certificate-identity", str(signer.identity)]
        options += ["--certificate-oidc-issuer", str(signer.issuer)]
    _run(["verify", *options, image])


def _plain(plain_http: bool) -> list[str]:
    return ["--allow-http-registry"] if plain_http else []


def _cosign() -> str:
    found = shutil.which("cosign")
    if found is None:
        raise CosignMissing(
            "cosign is not installed: https://docs.sigstore.dev/cosign/system_config/installation/"
        )
    return found


def _run(arguments: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            [_cosign(), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SigningError(f"cosign gave no answer within {SECONDS:g} s") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        wrong = [line for line in lines if line.lower().startswith("error")]
        said = (wrong or lines or ["it failed without a word"])[0]
        raise SigningError(f"cosign {arguments[0]}: {said[:500]}")
