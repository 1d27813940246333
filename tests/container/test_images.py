"""From a class to a published image, with buildah and Debian's registry: every part is real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.container, pytest.mark.slow]

LIMIT = 600
LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")


def livepeer(folder: Path, *arguments: str, code: int = 0, **environ: str) -> str:
    done = subprocess.run(
        [*LIVEPEER, *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == code, f"{arguments} ended with {done.returncode}: {done.stderr}"
    return done.stdout if code == 0 else done.stderr


def build(folder: Path, *arguments: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(livepeer(folder, "build", "--engine", "buildah", *arguments))
    return told


def in_image(image: str, *command: str) -> str:
    container = subprocess.check_output(["buildah", "from", "--pull-never", image], text=True)
    try:
        return subprocess.check_output(
            ["buildah", "run", "--network", "none", container.strip(), "--", *command], text=True
        )
    finally:
        subprocess.run(["buildah", "rm", container.strip()], capture_output=True, check=True)


def test_a_class_becomes_an_image_that_is_published_inspected_and_pinned(
    project: Path, registry: str
) -> None:
    name = f"{registry}/me/shout-livepeer-runner"
    pushed = json.loads(livepeer(project, "push", "--engine", "buildah", "--tag", name))
    assert pushed["tags"] == ["1.0.0", "latest"]
    assert pushed["pinned"] == f"byoc/me/shout-livepeer-runner@{pushed['digest']}"
    for asked in (name, f"{name}:1.0.0", f"{name}@{pushed['digest']}"):
        told = json.loads(livepeer(project, "inspect", asked))
        assert told["digest"] == pushed["digest"]
    assert (told["pipeline"]["id"], told["pipeline"]["version"]) == ("shout", "1.0.0")
    assert told["pipeline"]["schema"]["input"]["required"] == ["text"]
    assert told["user"] == "10001:10001"
    lock = json.loads((project / "livepeer.lock").read_text())
    assert lock["digest"] == pushed["digest"] and lock["image"] == name

    text = (project / "pipeline.py").read_text()
    (project / "pipeline.py").write_text(
        text.replace("text: str", "said: str").replace("{text.", "{said.")
    )
    refused = livepeer(project, "push", "--engine", "buildah", "--tag", name, code=2)
    assert "input.text is gone" in refused and "major version" in refused
    assert json.loads(livepeer(project, "inspect", name))["digest"] == pushed["digest"]


def test_a_change_of_code_reuses_every_layer_below_it_and_the_weights(project: Path) -> None:
    first = build(project, "--tag", "localhost/shout")
    text = (project / "pipeline.py").read_text()
    (project / "pipeline.py").write_text(text.replace("text.upper()", "text.title()"))
    second = build(project, "--tag", "localhost/shout")
    assert second["steps_reused"] >= first["steps"] - 8, "all before `COPY app/`"
    assert in_image("localhost/shout", "cat", "/models/weights") == "loud"
    assert "text.title()" in in_image("localhost/shout", "cat", "/app/pipeline.py")


def test_two_builds_of_the_same_files_have_one_digest(project: Path, registry: str) -> None:
    name = f"{registry}/me/twice-livepeer-runner"
    arguments = ("push", "--engine", "buildah", "--no-cache", "--tag", name)
    first = json.loads(livepeer(project, *arguments))
    second = json.loads(livepeer(project, *arguments))
    assert second["digest"] == first["digest"] and second["changed"] == []


def test_no_layer_keeps_a_secret_and_prepare_had_it(project: Path) -> None:
    text = (project / "pipeline.py").read_text()
    (project / "pipeline.py").write_text(
        text.replace('"loud"', 'str(len(__import__("os").environ["HF_TOKEN"]))')
    )
    livepeer(
        project,
        *("build", "--engine", "buildah", "--tag", "localhost/secret", "--secret", "HF_TOKEN"),
        HF_TOKEN="v3ry-s3cret-token",
    )
    assert in_image("localhost/secret", "cat", "/models/weights") == "17"
    kept = project / "oci"
    subprocess.run(["buildah", "push", "-q", "localhost/secret", f"dir:{kept}"], check=True)
    for blob in kept.iterdir():
        plain = blob.read_bytes()
        if plain[:2] == b"\x1f\x8b":
            plain = subprocess.check_output(["gzip", "-dc", str(blob)])
        assert b"v3ry-s3cret-token" not in plain, blob


def test_the_image_serves_as_nobody_in_particular(project: Path) -> None:
    build(project, "--tag", "localhost/shout")
    told = in_image("localhost/shout", "id", "-u")
    assert told.strip() == "10001"
    printed = in_image("localhost/shout", "livepeer", "predict", "-i", "text=hello")
    assert json.loads(printed) == "HELLO loud"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("system: {packages: [no-such-package]}\n", "system.packages"),
        ("python: {packages: ['no-such-package-of-anybody']}\n", "no-such-package-of-anybody"),
    ],
)
def test_what_fails_is_shown_with_the_line_that_caused_it(
    project: Path, more: str, told: str
) -> None:
    manifest = project / "livepeer.yaml"
    kept = [line for line in manifest.read_text().splitlines() if not line.startswith("python:")]
    python = f"python: {{version: '{sys.version_info[0]}.{sys.version_info[1]}'"
    if more.startswith("python:"):
        more = more.replace("python: {", f"{python}, ")
    else:
        more = f"{python}}}\n{more}"
    manifest.write_text("\n".join(kept) + f"\n{more}")
    refused = livepeer(project, "build", "--engine", "buildah", code=1)
    assert told in refused


def test_a_secret_in_the_tree_is_refused_before_anything_is_built(project: Path) -> None:
    (project / "pipeline.py").write_text(
        (project / "pipeline.py").read_text() + f'\nTOKEN = "hf_{"a" * 34}"\n'
    )
    refused = livepeer(project, "build", "--engine", "buildah", code=2)
    assert "pipeline.py:" in refused and "looks like a secret" in refused
