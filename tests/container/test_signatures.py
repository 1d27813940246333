"""Signed with a key by cosign and verified, without Sigstore's services."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from .commands import Author
from .conftest import LocalRegistry
from .lanes import Lane

pytestmark = [pytest.mark.container, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with `cosign.key` and `cosign.pub`."""
    if shutil.which("cosign") is None:
        pytest.skip(
            "not run: needs cosign (go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3)"
        )
    (folder := tmp_path / "keys").mkdir()
    subprocess.run(
        ["cosign", "generate-key-pair"],
        cwd=folder,
        env={"COSIGN_PASSWORD": "", "PATH": str(Path(shutil.which("cosign") or "").parent)},
        check=True,
        capture_output=True,
    )
    return folder


def test_a_signed_image_is_verified_and_another_digest_or_key_is_not(
    buildah: Lane,
    author: Author,
    shout: Mapping[str, Any],
    registry: LocalRegistry,
    keys: Path,
    tmp_path: Path,
) -> None:
    environ = {**buildah.environ, "COSIGN_PASSWORD": ""}
    name = f"{registry.host}/me/signed-livepeer-runner"
    command = ("push", "--engine", "buildah", "--tag", name, "--sign", str(keys / "cosign.key"))
    pushed = json.loads(author.run(environ, *command))
    asked = ("inspect", name, "--key", str(keys / "cosign.pub"))
    told = json.loads(author.run(environ, *asked))
    assert told["signature_verified"] is True and told["signatures"] == 1
    told = json.loads(author.run(environ, "inspect", name))
    assert told["signature_verified"] is False and told["signatures"] == 1

    # The same signature, and another image under the tag.
    author.change("word.upper()", "word.title()")
    author.run(environ, *command[:-2])
    assert json.loads(author.run(environ, "inspect", name))["digest"] != pushed["digest"]
    refused = author.run(environ, *asked, code=5)
    assert "is not verified: cosign verify" in refused, "cosign knows older forms too"
    (other := tmp_path / "other").mkdir()
    subprocess.run(["cosign", "generate-key-pair"], cwd=other, env=environ, check=True)
    pinned = ("inspect", pushed["reference"], "--key")
    assert "not verified" in author.run(environ, *pinned, str(other / "cosign.pub"), code=5)
    author.run(environ, *pinned, str(keys / "cosign.pub"))
    # Without cosign, by this program's own eyes.
    alone = {**environ, "PATH": "/usr/bin:/bin"}
    told = json.loads(author.run(alone, *pinned, str(keys / "cosign.pub")))
    assert told["signature_verified"] is True
    refused = author.run(alone, *pinned, str(other / "cosign.pub"), code=5)
    assert "not verified: none of its 1 signatures is by" in refused


def test_without_cosign_nothing_is_built_that_was_to_be_signed_and_nothing_is_verified(
    buildah: Lane, author: Author, shout: Mapping[str, Any]
) -> None:
    environ = {**buildah.environ, "PATH": "/usr/bin:/bin", "COSIGN_PASSWORD": ""}
    if shutil.which("cosign", path=environ["PATH"]):
        pytest.skip("not run: cosign is one of the system's own programs")
    refused = author.run(environ, "push", "--tag", "127.0.0.1:1/me/x", "--sign", "k", code=2)
    assert "cosign is not installed" in refused
    asked = ("inspect", str(shout["reference"]), "--key", "cosign.pub")
    assert "is not verified: cosign is not installed" in author.run(environ, *asked, code=5)
