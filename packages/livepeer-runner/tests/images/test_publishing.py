"""Names to push to, the lock file, and what an operator pastes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from livepeer.runner.packaging import lockfile
from livepeer.runner.packaging.deploy import Deployment
from livepeer.runner.packaging.engine import ContainerEngine, EngineError
from livepeer.runner.packaging.normal import normal
from livepeer.runner.packaging.project import Project
from livepeer.runner.packaging.push import PushRefused, check_evolution, has_tag, target

PINNED = "ghcr.io/me/app@sha256:" + "a" * 64


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "pipeline.py").write_text("from livepeer.runner import Pipeline\n")
    return Project.find(str(tmp_path))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, "write `image: "),
        ("Me/App", "write me/app"),
        ("app", "names no owner"),
        (PINNED, "a digest comes out of a push"),
    ],
)
def test_a_name_that_cannot_be_pushed_to_says_what_to_write(
    project: Project, given: str | None, why: str
) -> None:
    with pytest.raises(PushRefused) as caught:
        target(project, given)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tagged"),
    [("ghcr.io/me/app", False), ("ghcr.io/me/app:v1", True), ("127.0.0.1:5000/me/app", False)],
)
def test_a_port_is_no_tag(name: str, tagged: bool) -> None:
    assert has_tag(name) is tagged


def test_what_would_break_callers_is_refused_in_words_and_the_first_version_is_free() -> None:
    old = {"version": "1.0.0", "input": {"properties": {"a": {}}}}
    new = {"version": "1.1.0", "input": {"properties": {}}}
    with pytest.raises(PushRefused, match=r"(?s)1\.0\.0.*input\.a is gone.*major version"):
        check_evolution(old, new)
    assert check_evolution(None, new) == []
    assert check_evolution(old, {**new, "version": "2.0.0"})


def test_the_lock_file_tells_what_changed_and_is_the_same_for_the_same(tmp_path: Path) -> None:
    fields = {"image": "ghcr.io/me/app", "digest": "sha256:1", "base_digest": None, "other": 1}
    assert lockfile.write(tmp_path, fields) == ["image: ghcr.io/me/app", "digest: sha256:1"]
    assert lockfile.write(tmp_path, fields) == []
    changed = lockfile.write(tmp_path, {**fields, "digest": "sha256:2"})
    assert changed == ["digest: sha256:1 -> sha256:2"]
    assert json.loads((tmp_path / "livepeer.lock").read_text()) == {
        "image": "ghcr.io/me/app",
        "digest": "sha256:2",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["livepeer.lock"]


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{" * 100_000, b" " * 2_000_000])
def test_a_lock_file_that_cannot_be_read_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "livepeer.lock").write_bytes(content)
    with pytest.raises(lockfile.LockError, match=r"livepeer\.lock"):
        lockfile.write(tmp_path, {"image": "x"})
    assert (tmp_path / "livepeer.lock").read_bytes() == content


def test_what_an_operator_pastes_pins_the_image_and_gives_it_time_to_end() -> None:
    deployment = Deployment(PINNED, "sentiment", gpu=True)
    docker = deployment.text("docker")
    assert PINNED in docker and "--gpus all" in docker and "--stop-timeout 45" in docker
    compose = yaml.safe_load(deployment.text("compose"))
    service = compose["services"]["sentiment"]
    assert service["image"] == PINNED and service["stop_grace_period"] == "45s"
    assert set(service["secrets"]) == set(compose["secrets"])
    text = deployment.text("kubernetes")
    assert "&id" not in text
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == PINNED and pod["terminationGracePeriodSeconds"] == 45
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": 8000}
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 1}}


def test_where_no_engine_works_each_one_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "docker"
    broken.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nonexistent")
    with pytest.raises(EngineError) as caught:
        ContainerEngine.find()
    told = str(caught.value)
    assert "docker: Cannot connect" in told and "podman is not installed" in told
    with pytest.raises(EngineError, match="no engine: say docker, podman, buildah"):
        ContainerEngine.find("kaniko")


def test_what_only_the_build_knew_leaves_the_configuration_and_all_else_stays() -> None:
    config = {
        "os": "linux",
        "container": "abc",
        "parent": "sha256:1",
        "config": {"Hostname": "abc", "Labels": {"a": "$ref"}, "User": "10001"},
        "history": [{"created_by": "RUN x", "comment": "FROM here"}],
    }
    assert normal(config) == {
        "os": "linux",
        "config": {"Labels": {"a": "$ref"}, "User": "10001"},
        "history": [{"created_by": "RUN x"}],
    }
    assert normal({"config": None, "history": 3}) == {"config": None, "history": 3}
