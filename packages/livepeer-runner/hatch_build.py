"""Puts the examples of the repository into the wheel and the sdist, for `livepeer init --from`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SUFFIXES = (".md", ".onnx", ".py", ".txt", ".yaml")
MEDIA = ("README.md", "astronaut.jpg", "page.png", "speech.flac")


class ExamplesHook(BuildHookInterface[Any]):
    """They lie beside this file where it came by an sdist, and at the root in a checkout.

    Where they are in neither, a wheel has none: `livepeer init --from` says so, and all else works.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        target = "examples" if self.target_name == "sdist" else "livepeer/runner/examples"
        here = Path(self.root)
        for folder in (here / "examples", here.parents[1] / "examples"):
            if not (folder / "hello_world").is_dir():
                continue
            for path in sorted(folder.glob("[a-z]*/*")):
                kept = path.name in MEDIA if path.parent.name == "media" else is_part(path)
                if kept:
                    name = path.relative_to(folder).as_posix()
                    build_data["force_include"][str(path)] = f"{target}/{name}"
            return


def is_part(path: Path) -> bool:
    """Whether it is an example's own file: no picture for its README, nothing that was made."""
    return path.is_file() and path.suffix in SUFFIXES and not path.name.startswith(".")
