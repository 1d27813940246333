"""`livepeer.yaml` is read strictly: each mistake is told, with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer.runner.packaging.manifest import Manifest, ManifestError


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
        ("pipeline: [a", "line 1"),
    ],
)
def test_each_mistake_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert "livepeer.yaml" in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, "pipline: a:B\nprepare: maybe\n")
    assert len(caught.value.problems) == 3
