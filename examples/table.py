"""The table of the examples, made from their manifests and the docstrings of their classes.

    python examples/table.py            writes it between the markers of the READMEs
    python examples/table.py --check    fails where one of them is out of date

Nothing of an example is imported, so none of its packages is needed.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

EXAMPLES = Path(__file__).parent
BEGIN, END = "<!-- examples:begin -->", "<!-- examples:end -->"


@dataclass
class Example:
    folder: Path
    summary: str
    live: bool
    needs: list[str]

    @classmethod
    def read(cls, folder: Path) -> Example:
        manifest = yaml.safe_load((folder / "livepeer.yaml").read_text())
        module, _, name = manifest["pipeline"].partition(":")
        tree = ast.parse((folder / f"{module}.py").read_text())
        found = next(
            node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name
        )
        bases = [base.id for base in found.bases if isinstance(base, ast.Name)]
        needs = list(manifest.get("system", {}).get("packages", []))
        if requirements := manifest.get("python", {}).get("requirements"):
            lines = (folder / requirements).read_text().splitlines()
            needs = [line.split(">")[0].split("=")[0].strip() for line in lines if line] + needs
        summary = ast.get_docstring(found) or ""
        return cls(folder, summary.splitlines()[0], "LivePipeline" in bases, needs)


def examples() -> list[Example]:
    """All of them, the simplest first and those on live media last."""
    folders = sorted(file.parent for file in EXAMPLES.glob("[a-z]*/livepeer.yaml"))
    return sorted(
        (Example.read(folder) for folder in folders),
        key=lambda one: (one.live, len(one.needs) > 0, one.folder.name),
    )


def table(relative_to: Path) -> str:
    rows = [
        "| Example | What it does | Kind | Needs beside `livepeer-runner` |",
        "| --- | --- | --- | --- |",
    ]
    for one in examples():
        link = one.folder.relative_to(relative_to).as_posix()
        kind = "live" if one.live else "request"
        needs = ", ".join(one.needs) or "nothing"
        rows.append(f"| [{one.folder.name}]({link}) | {one.summary} | {kind} | {needs} |")
    return "\n".join(rows)


def updated(readme: Path) -> str | None:
    """The README's text with a fresh table; None where it has no markers."""
    text = readme.read_text() if readme.exists() else ""
    if BEGIN not in text or END not in text:
        return None
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table(readme.parent)}\n{END}{after}"


def main() -> int:
    stale = []
    for readme in (EXAMPLES / "README.md", EXAMPLES.parent / "README.md"):
        text = updated(readme)
        if text is None or text == readme.read_text():
            continue
        if "--check" in sys.argv:
            stale.append(readme)
        else:
            readme.write_text(text)
    for readme in stale:
        print(f"{readme} is out of date: run scripts/examples-table", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
