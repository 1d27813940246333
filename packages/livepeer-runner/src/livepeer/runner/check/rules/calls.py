"""Calls that stand in the wrong place: they block the loop, load a model again, forget `await`."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.rules.hooks import hooks_of
from livepeer.runner.check.source import Function, PipelineSource, calls, is_self, within

BLOCKING = {
    "time.sleep": "await asyncio.sleep(...)",
    "os.system": "await asyncio.create_subprocess_exec(...)",
    "input": "an input of the pipeline",
    "urllib.request.urlopen": "httpx.AsyncClient or aiohttp",
    "urllib.request.urlretrieve": "httpx.AsyncClient or aiohttp",
    "socket.create_connection": "await asyncio.open_connection(...)",
}
BLOCKING_MODULES = {
    "requests": "httpx.AsyncClient or aiohttp",
    "subprocess": "await asyncio.create_subprocess_exec(...)",
}
WORK = ("predict", "predict_batch", "process_video", "process_audio", "process_video_batch")
"""Hooks that run for every job or frame."""
_VERBS = ("get", "post", "put", "patch", "delete", "head", "request", "stream")
_SUBPROCESS = ("run", "call", "check_call", "check_output", "getoutput", "getstatusoutput")
_READS = ("read_text", "read_bytes", "write_text", "write_bytes")
DOWNLOADS = (
    "huggingface_hub.hf_hub_download",
    "huggingface_hub.snapshot_download",
    "urllib.request.urlretrieve",
    "torch.hub.load",
    "torch.hub.load_state_dict_from_url",
    "torch.hub.download_url_to_file",
    "gdown.download",
    "wget.download",
)
LOADERS = (
    "onnxruntime.InferenceSession",
    "torch.load",
    "torch.jit.load",
    "llama_cpp.Llama",
    "ultralytics.YOLO",
    "whisper.load_model",
    "faster_whisper.WhisperModel",
    "transformers.pipeline",
    "joblib.load",
    "pickle.load",
    "safetensors.torch.load_file",
    "tensorflow.keras.models.load_model",
    "keras.models.load_model",
    "rapidocr.RapidOCR",
    "easyocr.Reader",
)


def blocking_calls(cls: PipelineSource) -> Iterator[SourceFinding]:
    """What stops the event loop, and with it every other job and stream, in async hooks."""
    for hook in hooks_of(cls):
        method = cls.methods.get(hook)
        if not isinstance(method, ast.AsyncFunctionDef):
            continue
        for name, one in cls.called_from((hook,)).items():
            for call in _blocking(cls, one):
                spelt = ast.unparse(call.func)
                by = "" if name == hook else f", which async `{hook}` calls,"
                yield cls.source.finding(
                    call,
                    "blocking_call",
                    "warning",
                    f"{spelt}() in {cls.name}.{name}{by} stops the event loop: every other job "
                    f"and stream waits for it",
                    f"write {instead(cls, call)}, or `await asyncio.to_thread({spelt}, ...)`, or "
                    f"make the hook a plain `def`",
                )


def async_without_await(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Async hooks that work and never wait: all of their work is done on the event loop."""
    for name in WORK:
        method = cls.methods.get(name)
        if not isinstance(method, ast.AsyncFunctionDef):
            continue
        waits = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield)
        if any(isinstance(node, waits) for node in within(method)):
            continue
        if any(_works(cls, call) for call in calls(method)) and not any(_blocking(cls, method)):
            yield cls.source.finding(
                method,
                "async_without_await",
                "warning",
                f"{cls.name}.{name} is async and awaits nothing: while it works, every other job "
                f"and stream waits",
                f"write `def {name}`: a plain hook runs in a thread",
            )


def _works(cls: PipelineSource, call: ast.Call) -> bool:
    """Whether a call may take long: not a built-in function, nor what the SDK itself offers."""
    name = cls.source.dotted(call.func)
    if name.startswith("self.") and name.count(".") == 1:
        return name.removeprefix("self.") in cls.methods
    light = hasattr(builtins, name) or name.startswith("asyncio.")
    return bool(name) and not light and not name[name.rfind(".") + 1].isupper()


def _blocking(cls: PipelineSource, function: Function) -> Iterator[ast.Call]:
    awaited = {id(node.value) for node in within(function) if isinstance(node, ast.Await)}
    for call in calls(function):
        if id(call) not in awaited and instead(cls, call):
            yield call


def instead(cls: PipelineSource, call: ast.Call) -> str:
    """What to write for a call that blocks; empty for one that does not."""
    name = cls.source.dotted(call.func)
    module, _, last = name.rpartition(".")
    if name in BLOCKING:
        return BLOCKING[name]
    if module == "requests" and last in _VERBS:
        return BLOCKING_MODULES["requests"]
    if module == "httpx" and last in _VERBS:
        return "httpx.AsyncClient"
    if module == "subprocess" and last in _SUBPROCESS:
        return BLOCKING_MODULES["subprocess"]
    if isinstance(call.func, ast.Attribute):
        inner = call.func.value
        if call.func.attr in _READS:
            return "a read in `setup`"
        if call.func.attr == "read" and isinstance(inner, ast.Call):
            return "a read in `setup`" if cls.source.dotted(inner.func) == "open" else ""
    return ""


def downloads(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Weights that are fetched at the start of every container, or in a job."""
    hooks = tuple(hook for hook in hooks_of(cls) if hook != "prepare_models")
    for name, method in cls.called_from(("__init__", *hooks)).items():
        for call in calls(method):
            if not _downloads(cls, call):
                continue
            spelt = ast.unparse(call.func)
            when = "every start of a container" if name in ("setup", "__init__") else "a job"
            yield cls.source.finding(
                call,
                "download_late",
                "warning",
                f"{spelt}() in {cls.name}.{name} fetches weights at {when}: that is slow, and "
                f"fails without the network",
                "fetch them in `@classmethod def prepare_models(cls)` into `cls.model_dir`, and "
                "load them from there in `setup`",
            )


def _downloads(cls: PipelineSource, call: ast.Call) -> bool:
    name = cls.source.dotted(call.func)
    if name in DOWNLOADS:
        return not any(
            one.arg == "local_files_only" and getattr(one.value, "value", None) is True
            for one in call.keywords
        )
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained"):
        return False
    first = call.args[0] if call.args else None
    local = any(one.arg in ("local_files_only", "cache_dir") for one in call.keywords)
    hub = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return hub and not local


def loaded_per_call(cls: PipelineSource) -> Iterator[SourceFinding]:
    """A model that is loaded again for each job or frame."""
    for name in WORK:
        method = cls.methods.get(name)
        if method is None:
            continue
        for call in calls(method):
            if _loads(cls, call):
                spelt = ast.unparse(call.func)
                yield cls.source.finding(
                    call,
                    "loaded_per_call",
                    "warning",
                    f"{spelt}() in {cls.name}.{name} loads a model for every call of it",
                    f"write `self.model = {spelt}(...)` in `setup`, and use self.model here",
                )


def _loads(cls: PipelineSource, call: ast.Call) -> bool:
    name = cls.source.dotted(call.func)
    last = name.rpartition(".")[2] or getattr(call.func, "attr", "")
    return name in LOADERS or last == "from_pretrained" or name.startswith("cv2.dnn.readNet")


def not_awaited(cls: PipelineSource) -> Iterator[SourceFinding]:
    """Coroutines that are made and dropped: what is in them never runs."""
    for method in cls.methods.values():
        for node in within(method):
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
                continue
            function = node.value.func
            own = cls.methods.get(function.attr) if is_self(function) else None
            never = isinstance(own, ast.AsyncFunctionDef) and not _yields(own)
            if never or cls.source.dotted(function) == "asyncio.sleep":
                spelt = ast.unparse(function)
                made = isinstance(method, ast.AsyncFunctionDef)
                yield cls.source.finding(
                    node,
                    "not_awaited",
                    "warning",
                    f"{spelt}() is not awaited in {cls.name}.{method.name}: it never runs",
                    f"write `await {spelt}(...)`" + ("" if made else " in an `async def`"),
                )


def _yields(function: ast.AST) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in within(function))
