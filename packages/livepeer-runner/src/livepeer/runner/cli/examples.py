"""The examples, which travel with this package: what there is, and a copy of one.

A wheel has them beside this package's modules (`hatch_build.py` puts them there); a checkout of the
repository has them in `examples/`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from livepeer.runner.packaging.manifest import NAME, Manifest

SUFFIXES = (".md", ".onnx", ".py", ".txt", ".yaml")
"""Of an example's own files: its pictures are for those who read it in the repository."""
MEDIA = ("astronaut.jpg", "page.png", "speech.flac")
"""What tests use of `media`; the clips are larger than all else together."""

_PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n\n?", re.MULTILINE)
_MEDIA_IN_TEST = re.compile(r'parents\[1\] / "media/([\w.]+)"')
_MEDIA_IN_README = re.compile(r"examples/media/([\w.]+)")


def place() -> Path | None:
    """The folder of the examples; None where this was installed without them."""
    package = Path(__file__).parents[1]
    for folder in (package / "examples", package.parents[4] / "examples"):
        if (folder / "hello_world" / NAME).is_file():
            return folder
    return None


def names() -> dict[str, str]:
    """Each example with what it does, in one line. Nothing of it is imported."""
    folder = place()
    if folder is None:
        return {}
    found = sorted(path.parent for path in folder.glob(f"[a-z]*/{NAME}"))
    return {path.name: summary(path) for path in found}


def summary(example: Path) -> str:
    """The first line of its class's docstring."""
    module, _, name = Manifest.read(example / NAME).pipeline.partition(":")
    for node in ast.parse((example / f"{module}.py").read_bytes()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def copied(name: str) -> dict[str, bytes]:
    """The files of an example as a folder of its own has them, by their names in it."""
    folder = place()
    assert folder is not None
    made: dict[str, bytes] = {}
    for path in sorted((folder / name).iterdir()):
        if path.suffix not in SUFFIXES or path.name.startswith("."):
            continue
        content = path.read_bytes()
        if path.name.startswith("test_"):
            text = content.decode()
            for media in _MEDIA_IN_TEST.findall(text):
                made[f"media/{media}"] = (folder / "media" / media).read_bytes()
            content = _MEDIA_IN_TEST.sub(r'parent / "media/\1"', text).encode()
        elif path.suffix == ".md":
            content = _own_readme(name, content.decode()).encode()
        made[path.name] = content
    return made


def _own_readme(name: str, text: str) -> str:
    """The README of a copy: paths are those of its own folder."""
    text = _PICTURE.sub("", text)
    text = _MEDIA_IN_README.sub(lambda m: f"media/{m[1]}" if m[1] in MEDIA else "in.mp4", text)
    return text.replace(f"examples/{name}/", "").replace(f"examples/{name}", ".")
