"""The live pipeline of the README does what the README says."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livepeer.trickle.media import encode

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"^```python\n(# {re.escape(name)}\n.*?)^```$", README, re.M | re.S)
    assert found is not None
    return found[1]


def test_the_sixteen_lines_and_their_test_work_as_printed(
    tmp_path: Path, make_clip: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encode(make_clip(40), tmp_path / "clip.mp4", format="mp4") is None
    for name in ("tint.py", "test_tint.py"):
        (tmp_path / name).write_text(block(name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location("test_tint", tmp_path / "test_tint.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.test_it_turns_green()
    finally:
        sys.modules.pop("tint", None)
