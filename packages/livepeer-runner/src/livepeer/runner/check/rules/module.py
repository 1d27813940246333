"""What a whole module does when it is imported."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from importlib.util import find_spec

from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.source import Source

RUNNER = "livepeer.runner"
PARTS = ("client", "runner", "trickle")


def served_at_import(source: Source) -> Iterator[SourceFinding]:
    """`serve(Class)` outside of `if __name__ == "__main__"`: no command could import it."""
    for node in source.tree.body:
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and source.dotted(node.value.func) in ("livepeer.runner.serve", "asyncio.run")
        ):
            spelt = ast.unparse(node.value.func)
            yield source.finding(
                node,
                "runs_at_import",
                "error",
                f"{spelt}() runs whenever this file is imported, and every command imports it",
                f'write `if __name__ == "__main__":` above it, and indent `{spelt}(...)`',
            )


def unknown_imports(source: Source) -> Iterator[SourceFinding]:
    """Names of the SDK that it does not have, or has elsewhere."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("livepeer_"):
                    yield _unknown(source, node, alias.name, "")
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.startswith("livepeer_"):
                yield _unknown(source, node, node.module, node.names[0].name)
            elif node.module in ("livepeer", RUNNER):
                known = PARTS if node.module == "livepeer" else _names()
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    if alias.name not in known and alias.name != "*" and not find_spec(name):
                        yield _unknown(source, node, name, alias.name)


def _unknown(source: Source, node: ast.stmt, name: str, wanted: str) -> SourceFinding:
    near = difflib.get_close_matches(wanted, _names(), n=1) if wanted else []
    fix = f"write `from {RUNNER} import {near[0] if near else 'Pipeline'}`"
    if wanted and not near:
        fix = f"{RUNNER} has {', '.join(sorted(_names()))}"
    return source.finding(node, "import_unknown", "error", f"there is no {name}", fix)


def _names() -> set[str]:
    """What `livepeer.runner` has for authors."""
    import livepeer.runner

    return {*livepeer.runner.__all__, "registration", "testing"}


def no_pipeline(source: Source) -> Iterator[SourceFinding]:
    """A class that has the hooks of a pipeline, and is derived from none."""
    hooks = {"predict", "predict_batch", "process_video", "process_audio"}
    if source.classes:
        return
    for node in source.tree.body:
        if not isinstance(node, ast.ClassDef) or node.bases:
            continue  # what a base of another file is, the import tells
        own = {
            one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        if found := sorted(hooks & own):
            base = "Pipeline" if found[0].startswith("predict") else "LivePipeline"
            yield source.finding(
                node,
                "no_pipeline",
                "error",
                f"{node.name} has `{found[0]}`, and is derived from no pipeline",
                f"write `from livepeer.runner import {base}` and `class {node.name}({base}):`",
            )
