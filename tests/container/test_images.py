"""From a class to a published image: what the image is, and what a next build reuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from .commands import Author
from .conftest import Lanes, LocalRegistry
from .lanes import Lane

pytestmark = [pytest.mark.container, pytest.mark.slow]

LAYERS_OF_CODE = 8
"""Steps from `COPY app/` on."""


def test_a_published_image_is_inspected_without_an_engine_by_tag_and_digest(
    buildah: Lane, author: Author, shout: Mapping[str, Any], registry: LocalRegistry
) -> None:
    name = f"{registry.host}/me/shout-livepeer-runner"
    assert shout["tags"] == ["1.0.0", "latest"]
    assert shout["pinned"] == f"byoc/me/shout-livepeer-runner@{shout['digest']}"
    image = f"me/shout-livepeer-runner@{shout['digest']}"
    assert f"LIVEPEER_IMAGE={image}" in shout["run"]["docker"]
    (entry,) = json.loads(shout["run"]["runners.json"])["runners"]
    assert json.loads(entry["metadata"]) == {"image": image}
    assert (entry["capacity"], entry["version"]) == (2, "1.0.0")
    for asked in (name, f"{name}:1.0.0", f"{name}@{shout['digest']}"):
        told = json.loads(author.run({**buildah.environ, "PATH": "/nowhere"}, "inspect", asked))
        assert told["digest"] == shout["digest"]
    assert (told["pipeline"]["id"], told["pipeline"]["version"]) == ("shout", "1.0.0")
    assert told["pipeline"]["schema"]["input"]["required"] == ["text"]
    assert told["user"] == "10001:10001"


def test_the_image_runs_as_nobody_in_particular_with_its_weights(
    buildah: Lane, shout: Mapping[str, Any]
) -> None:
    image = str(shout["reference"])
    buildah.pull(image)
    assert buildah.in_image(image, "id", "-u").strip() == "10001"
    printed = buildah.in_image(image, "livepeer", "predict", "-i", "text=hello")
    assert [json.loads(line) for line in printed.splitlines()] == ["HELLO loud"]


def test_a_change_of_code_reuses_every_layer_below_it_and_the_weights(
    builder: Lane, author: Author
) -> None:
    tag = "localhost/changed-livepeer-runner"
    first = author.build(builder, tag)
    author.change("word.upper()", "word.title()")
    second = author.build(builder, tag)
    steps = f"{second['steps_reused']} of {second['steps']} reused, {second['seconds']} s"
    print(f"{builder.name}: {first['seconds']} s, after a change of code {steps}")
    assert second["steps_reused"] >= first["steps"] - LAYERS_OF_CODE, "all before `COPY app/`"
    assert builder.in_image(tag, "cat", "/models/weights") == "loud"
    assert "word.title()" in builder.in_image(tag, "cat", "/app/pipeline.py")


def test_two_builds_of_the_same_files_have_one_digest(
    buildah: Lane, author: Author, shout: Mapping[str, Any], registry: LocalRegistry
) -> None:
    """One with what was there already, one without."""
    again = author.push(buildah, f"{registry.host}/me/again-livepeer-runner", "--no-cache")
    assert again["digest"] == shout["digest"]


def test_a_change_that_breaks_callers_is_refused_before_anything_is_pushed(
    buildah: Lane, author: Author, shout: Mapping[str, Any], registry: LocalRegistry
) -> None:
    name = f"{registry.host}/me/shout-livepeer-runner"
    author.change("text: str", "said: str")
    author.change("text.split", "said.split")
    refused = author.refused(buildah, "push", "--tag", name, code=2)
    assert "input.text is gone" in refused and "major version" in refused
    told = json.loads(author.run(buildah.environ, "inspect", name))
    assert told["digest"] == shout["digest"]


SECRET = "v3ry-s3cret-token"


@pytest.mark.parametrize("name", ["buildah", "docker-buildkit"])
def test_no_layer_keeps_a_secret_and_prepare_had_it(
    engines: Lanes, name: str, author: Author
) -> None:
    lane = engines.get(name)
    author.change('"loud"', 'str(len(__import__("os").environ["HF_TOKEN"]))')
    tag = f"localhost/secret-{lane.name}"
    author.run(
        {**lane.environ, "HF_TOKEN": SECRET},
        *("build", "--engine", lane.engine, "--tag", tag, "--secret", "HF_TOKEN"),
    )
    assert lane.in_image(tag, "cat", "/models/weights") == "17"
    whole = author.folder / "image.tar"
    lane.call("save", "-o", str(whole), tag)
    listed = subprocess.check_output(["tar", "-xOf", str(whole)])
    assert b"/models" in listed and SECRET.encode() not in listed
    assert SECRET not in lane.call("history", "--no-trunc", tag)


def test_a_secret_is_refused_to_a_builder_that_would_keep_it(
    engines: Lanes, author: Author
) -> None:
    lane = engines.get("docker-legacy")
    refused = author.run(
        {**lane.environ, "HF_TOKEN": SECRET},
        *("build", "--engine", "docker", "--secret", "HF_TOKEN"),
        code=1,
    )
    assert "keep a secret in a layer" in refused and SECRET not in refused
