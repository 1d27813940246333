"""`livepeer.yaml` is read strictly: each mistake is told, with what to write instead."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from livepeer.runner.packaging.manifest import SCHEMA_URL, Manifest, ManifestError, json_schema

SCHEMA = Path(__file__).parents[4] / "specs" / "schemas" / "livepeer-yaml.json"


def read(folder: Path, text: str) -> Manifest:
    path = folder / "livepeer.yaml"
    path.write_text(text)
    return Manifest.read(path)


def test_one_line_is_enough(tmp_path: Path) -> None:
    manifest = read(tmp_path, "pipeline: pipeline:Sentiment\n")
    assert manifest.pipeline == "pipeline:Sentiment"
    assert manifest.prepare is False
    assert manifest.python.version == "3.12"


def test_every_field_is_read(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("onnxruntime\n")
    manifest = read(
        tmp_path,
        """
        pipeline: pipeline:Sentiment
        image: docker.io/me/sentiment
        python: {version: "3.12", requirements: requirements.txt, packages: ["onnxruntime>=1.20"]}
        system: {packages: [ffmpeg]}
        base: python:3.12-slim
        prepare: true
        include: [assets/]
        """,
    )
    assert manifest.image == "docker.io/me/sentiment"
    assert manifest.python.packages == ("onnxruntime>=1.20",)
    assert manifest.system.packages == ("ffmpeg",)
    assert manifest.include == ("assets/",)
    assert manifest.prepare


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "pipeline is missing: write pipeline: module:Class"),
        ("pipeline: Sentiment", "pipeline is 'Sentiment': write module:Class"),
        ("- pipeline", "write `pipeline: module:Class`"),
        ("pipeline: a:B\npyton: {}", "pyton is not a field: did you mean python?"),
        ("pipeline: a:B\npython: {pakages: []}", "python.pakages is not a field: did you mean pac"),
        ("pipeline: a:B\npython: {version: 3.10}", "python.version is 3.1: write a version in quo"),
        ("pipeline: a:B\ncuda: 12.8", 'cuda is 12.8: write a version in quotes, such as "12.8"'),
        ("pipeline: a:B\nprepare: maybe", "prepare is 'maybe': write true or false"),
        ("pipeline: a:B\ninclude: assets", "include is 'assets': write a list"),
        ("pipeline: a:B\nbase: x\ncuda: '12.8'", "base and cuda are both set"),
        ("pipeline: a:B\npython: {requirements: r.txt}", "there is no file 'r.txt'"),
        ("pipeline: [a", "livepeer.yaml:1:13: no YAML"),
        ("pipeline: a:B\nprepare: &x true", "livepeer.yaml:2:10: anchors and aliases"),
        (
            "pipeline: a:B\ninclude: [a]\npipeline: c:D",
            ":3:1: pipeline is there twice, first in li",
        ),
        ("pipeline: a:B\npython:\n\tversion: '3.12'", ":3:1: a tab where YAML wants spaces"),
        (
            "pipeline: a:B\nimage: x: y",
            ":2:9: no YAML: mapping values are not allowed here (a text",
        ),
        ("pipeline: a:B\npython: '3.12'", "python is '3.12': write {version: "),
        (
            "pipeline: a:B\nsystem: {packages: [a, '']}",
            ":2:24: system.packages is '': write a list",
        ),
        ("pipeline: a:B\nimage: 2026-13-45", "no YAML: "),
        ("include: " + "[" * 40 + "]" * 40, "is nested over 16 deep"),
        ("# " + "x" * 70_000, "is over 64 KiB"),
    ],
)
def test_each_mistake_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert "livepeer.yaml" in str(caught.value)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, "pipline: a:B\npython:\n  version: 3.12\nprepare: maybe\n")
    path = tmp_path / "livepeer.yaml"
    assert str(caught.value).splitlines() == [
        f"{path}:1:1: pipeline is missing: write pipeline: module:Class, such as "
        "pipeline:Sentiment",
        f"{path}:1:1: pipline is not a field: did you mean pipeline?",
        f'{path}:3:3: python.version is 3.12: write a version in quotes, such as "3.12"',
        f"{path}:4:1: prepare is 'maybe': write true or false",
    ]


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "livepeer.yaml"
    path.write_bytes(b"pipeline: a:B\nimage: caf\xe9\n")
    with pytest.raises(ManifestError, match=":2:1: is not UTF-8 text"):
        Manifest.read(path)


def test_the_schema_for_editors_is_that_of_the_model() -> None:
    """Mended by `livepeer schema --manifest | python -m json.tool --indent 2`."""
    written = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(json_schema()))
    assert SCHEMA_URL.endswith(str(SCHEMA.relative_to(SCHEMA.parents[2])))


@pytest.mark.parametrize(
    ("content", "valid"),
    [
        ({"pipeline": "a:B"}, True),
        ({"pipeline": "a:B", "python": {"version": "3.12"}, "include": ["x"]}, True),
        ({"pipeline": "a:B", "prepare": "yes"}, False),
        ({"pipeline": "a"}, False),
        ({"pipeline": "a:B", "pyton": {}}, False),
        ({}, False),
    ],
)
def test_an_editor_says_what_the_command_says(content: dict[str, Any], valid: bool) -> None:
    from jsonschema import Draft202012Validator

    assert Draft202012Validator(json_schema()).is_valid(content) is valid


def test_what_init_writes_names_the_schema(commands: tuple[str, ...], tmp_path: Path) -> None:
    subprocess.run([*commands, "init", "here"], cwd=tmp_path, check=True, capture_output=True)
    path = tmp_path / "here" / "livepeer.yaml"
    assert path.read_text().startswith(f"# yaml-language-server: $schema={SCHEMA_URL}\n")
    assert Manifest.read(path).pipeline == "pipeline:Here"
