"""Which engine is taken, and which of Docker's builders."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer.runner.packaging.engine import ContainerEngine, EngineError


def docker(folder: Path, *, client: str, buildx: bool = False) -> None:
    """A client that tells only what it is; the real ones are in tests/container."""
    program = folder / "docker"
    program.write_text(
        f"#!/bin/sh\n"
        f'case "$*" in\n'
        f"buildx*) exit {0 if buildx else 1} ;;\n"
        f"*Server*) echo 20.10.24 ;;\n"
        f"*Client*) echo {client} ;;\n"
        f"esac\n"
    )
    program.chmod(0o755)


@pytest.fixture(autouse=True)
def only_this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)


@pytest.mark.parametrize(
    ("client", "buildx", "builder"),
    [
        ("20.10.24+dfsg1", False, "buildkit"),
        ("28.2.2", False, "legacy"),
        ("28.2.2", True, "buildx"),
        ("unknown", False, "legacy"),
    ],
)
def test_the_best_builder_that_a_client_can_ask_is_taken(
    tmp_path: Path, client: str, buildx: bool, builder: str
) -> None:
    docker(tmp_path, client=client, buildx=buildx)
    found = ContainerEngine.find()
    assert (found.name, found.builder) == ("docker", builder)
    assert found.keeps_secrets is (builder != "legacy")
    assert (found.reproducible is None) is (builder == "buildx")


def test_docker_buildkit_0_asks_for_the_legacy_builder_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker(tmp_path, client="28.2.2", buildx=True)
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    found = ContainerEngine.find("docker")
    assert found.builder == "legacy"
    with pytest.raises(EngineError, match="would keep a secret in a layer"):
        found.build(tmp_path, "x", platform="linux/amd64", secrets={"HF_TOKEN": "t"})
