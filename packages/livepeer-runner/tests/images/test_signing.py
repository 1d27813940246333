"""Before anything is signed, and what cosign says; the real one is in tests/container."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer.runner.packaging import signing
from livepeer.runner.packaging.signing import ImageSigner, SigningError

IMAGE = "ghcr.io/me/app@sha256:" + "a" * 64


def cosign(folder: Path, script: str) -> None:
    program = folder / "cosign"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)


def test_what_keeps_from_signing_is_told_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SigningError, match="cosign is not installed: https://"):
        signing.check("keyless")
    cosign(tmp_path, "exit 0")
    with pytest.raises(SigningError, match=r"there is no key .*generate-key-pair"):
        signing.check(str(tmp_path / "cosign.key"))
    (tmp_path / "cosign.key").write_text("a key")
    with pytest.raises(SigningError, match="COSIGN_PASSWORD"):
        signing.check(str(tmp_path / "cosign.key"))
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    signing.check(str(tmp_path / "cosign.key"))
    signing.check("keyless")
    signing.check("awskms:///alias/x")


def test_a_key_signs_without_a_public_log_and_keyless_with_it(tmp_path: Path) -> None:
    cosign(tmp_path, f'echo "$@" >> {tmp_path}/said')
    signing.sign(IMAGE, "cosign.key", plain_http=True)
    signing.sign(IMAGE, "keyless", plain_http=False)
    created, by_key, keyless = (tmp_path / "said").read_text().splitlines()
    assert created.startswith("signing-config create --out ")
    assert "--key cosign.key --signing-config " in by_key and "--allow-http-registry" in by_key
    assert keyless == f"sign --yes {IMAGE}"


def test_cosigns_own_error_is_told_in_one_line(tmp_path: Path) -> None:
    cosign(tmp_path, 'printf "WARNING: x\\nError: no signatures found\\nmore\\n" >&2; exit 10')
    with pytest.raises(SigningError, match=r"^cosign verify: Error: no signatures found$"):
        signing.verify(IMAGE, ImageSigner(key="cosign.pub"), plain_http=False)
    with pytest.raises(SigningError):
        signing.verify(IMAGE, ImageSigner(identity="me@x", issuer="https://x"), plain_http=False)
