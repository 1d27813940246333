"""Files that a pipeline reads: whether they are there, and whether its image will have them."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.rules.hooks import hooks_of
from livepeer.runner.check.source import PipelineSource, calls, within

WEIGHTS = (
    *(".bin", ".ckpt", ".engine", ".gguf", ".ggml", ".h5", ".joblib", ".keras", ".npz", ".onnx"),
    *(".pb", ".pkl", ".pt", ".pth", ".safetensors", ".tflite", ".xml"),
)


def missing_files(cls: PipelineSource, in_image: Callable[[Path], bool]) -> Iterator[SourceFinding]:
    """Files beside the pipeline that are loaded at its start: not there, or not in its image, by
    their paths below the folder."""
    folder = cls.source.path.parent
    fetched = _texts(cls, ("prepare_models",))
    for name, method in cls.called_from(("__init__", "setup")).items():
        for node in within(method):
            found = _beside(cls, node) if isinstance(node, ast.expr) else None
            if found is None:
                continue
            path = folder / found
            if not path.exists() and not Path(found).exists():
                if any(PurePosixPath(found).name in text for text in fetched):
                    continue
                yield cls.source.finding(
                    node,
                    "weights_missing",
                    "warning",
                    f"{cls.name}.{name} loads {found!r}, which is not beside "
                    f"{cls.source.path.name}",
                    "put it there; or fetch it in `@classmethod def prepare_models(cls)` into "
                    "`cls.model_dir`, and load it from `self.model_dir`",
                )
            elif path.is_file() and not in_image(Path(found)):
                yield cls.source.finding(
                    node,
                    "not_in_image",
                    "warning",
                    f"{cls.name}.{name} loads {found!r}, which the image will not have",
                    f"write `include: [{found}]` in livepeer.yaml",
                )


def _beside(cls: PipelineSource, node: ast.expr) -> str | None:
    """The name of a file in the pipeline's folder, where an expression means one."""
    match node:
        # Path(__file__).with_name("x"), Path(__file__).parent / "x" / "y"
        case ast.Call(
            func=ast.Attribute(value=place, attr="with_name"), args=[ast.Constant(value=str(name))]
        ) if _is_file(cls, place):
            return name
        case ast.BinOp(op=ast.Div()):
            parts: list[str] = []
            one: ast.expr = node
            while isinstance(one, ast.BinOp) and isinstance(one.op, ast.Div):
                if not (isinstance(one.right, ast.Constant) and isinstance(one.right.value, str)):
                    return None
                parts.insert(0, one.right.value)
                one = one.left
            if isinstance(one, ast.Attribute) and one.attr == "parent" and _is_file(cls, one.value):
                return "/".join(parts)
            return None
        # open("x"), Model("x.onnx"), torch.load("x.pt")
        case ast.Call(args=[ast.Constant(value=str(name)), *_]):
            opened = cls.source.dotted(node.func) == "open" and not _writes(node)
            weights = name.lower().endswith(WEIGHTS) and "://" not in name
            if (opened or weights) and name and not os.path.isabs(name) and " " not in name:
                return name
            return None
        case _:
            return None


def _is_file(cls: PipelineSource, node: ast.expr) -> bool:
    """`Path(__file__)`, also where it is made absolute."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr not in ("resolve", "absolute"):
            break
        node = node.func.value
    return (
        isinstance(node, ast.Call)
        and cls.source.dotted(node.func) == "pathlib.Path"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id == "__file__"
    )


def _writes(call: ast.Call) -> bool:
    mode = call.args[1] if len(call.args) > 1 else None
    for keyword in call.keywords:
        mode = keyword.value if keyword.arg == "mode" else mode
    return isinstance(mode, ast.Constant) and any(letter in str(mode.value) for letter in "wax+")


def _texts(cls: PipelineSource, hooks: tuple[str, ...]) -> list[str]:
    """Every text that the hooks, what they call, and the module's constants contain."""
    nodes: list[ast.AST] = [*cls.called_from(hooks).values()]
    if nodes:
        nodes += [one for one in cls.source.tree.body if isinstance(one, ast.Assign)]
        nodes += [statement for statement, _ in cls.attributes.values()]
    return [
        one.value
        for node in nodes
        for one in ast.walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]


def unprepared(cls: PipelineSource, prepares: bool | None) -> Iterator[SourceFinding]:
    """Weights of `model_dir` that nothing fetches, or that the image is built without.

    `prepares`: what `prepare` in livepeer.yaml says; None where there is no such file.
    """
    if "prepare_models" in cls.methods or not cls.whole:
        return
    for name, method in cls.called_from(("__init__", "setup")).items():
        for node in within(method):
            if isinstance(node, ast.Attribute) and cls.source.dotted(node) == "self.model_dir":
                if prepares:
                    told = "livepeer.yaml says `prepare: true`, but "
                else:
                    told = ""
                yield cls.source.finding(
                    node,
                    "weights_unprepared",
                    "warning",
                    f"{cls.name}.{name} loads from self.model_dir: {told}nothing fetches it there",
                    "write `@classmethod def prepare_models(cls) -> None:`, which fetches it into "
                    "`cls.model_dir`",
                )
                return


def secrets_shown(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Secrets of the environment that are printed or logged."""
    hooks = ("__init__", *hooks_of(cls))
    for name, method in cls.called_from(hooks).items():
        for call in calls(method):
            spelt = cls.source.dotted(call.func)
            logs = spelt == "print" or spelt.rpartition(".")[0].endswith(
                ("log", "logger", "logging")
            )
            if not logs:
                continue
            for argument in ast.walk(call):
                word = ""
                if isinstance(argument, ast.Name):
                    word = argument.id
                elif isinstance(argument, ast.Attribute):
                    word = argument.attr
                elif isinstance(argument, ast.Subscript | ast.Call):
                    word = _variable(cls, argument)
                if _is_secret(word):
                    yield cls.source.finding(
                        argument,
                        "secret_shown",
                        "warning",
                        f"{cls.name}.{name} writes {word} into the log",
                        "leave it out, or log whether it is set: `bool(...)`",
                    )
                    break


def _variable(cls: PipelineSource, node: ast.Subscript | ast.Call) -> str:
    """`HF_TOKEN` of `os.environ["HF_TOKEN"]` and `os.getenv("HF_TOKEN")`."""
    if isinstance(node, ast.Subscript):
        place, key = cls.source.dotted(node.value), node.slice
        known = place == "os.environ"
    else:
        place, key = cls.source.dotted(node.func), node.args[0] if node.args else node
        known = place in ("os.getenv", "os.environ.get")
    return str(getattr(key, "value", "")) if known else ""


def _is_secret(word: str) -> bool:
    parts = word.lower().split("_")
    key = "key" in parts and bool({"api", "secret", "private", "access"} & set(parts))
    one = parts[-1] in ("secret", "password", "passwd", "apikey")
    token = parts[-1] == "token" and (word.isupper() or parts[0] in ("api", "auth", "access"))
    return key or one or token
