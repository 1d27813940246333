"""What a whole module does when it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.source import Source


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
