"""What a command is pointed at: by its name alone, and an image as it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer.runner.targets.reference import TargetError, TargetKind, target_of


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, "class"),
        ("pipeline", "class"),
        ("pipeline.py", "class"),
        ("pipeline.py:Shout", "class"),
        ("package.module:Shout", "class"),
        ("livepeer.yaml", "class"),
        ("here", "class"),
        ("./me/app", "class"),
        ("http://127.0.0.1:8000", "url"),
        ("me/app", "image"),
        ("me/app:1.0.0", "image"),
        ("ghcr.io/me/app@sha256:" + "0" * 64, "image"),
        ("localhost/app", "image"),
        ("127.0.0.1:5000/me/app", "image"),
        ("shout-livepeer-runner", "image"),
        ("shout:1.0.0", "image"),
    ],
)
def test_a_target_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, kind: TargetKind
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert target_of(given).kind == kind


@pytest.mark.parametrize("given", ["ftp://host", "http://me@host", "http://host:0", "http://h/?a"])
def test_a_url_that_names_no_container_is_refused(given: str) -> None:
    with pytest.raises(TargetError, match="named by its URL"):
        target_of(given)
