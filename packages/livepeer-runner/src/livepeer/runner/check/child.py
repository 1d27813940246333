"""`python -m livepeer.runner.check.child FD PIPELINE`: imports a pipeline and judges its class.

One JSON document goes to the descriptor: `{"imported", "problem"}`, where a problem has a `code`
and a `message`, and what is known of its place.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from livepeer.runner.exceptions import SignatureError
from livepeer.runner.packaging.load import LoadError, Reference, load, locate

_ATTRIBUTE = re.compile(r"(\w+)\.(\w+) is ")


def main() -> None:
    """Check the pipeline and write what was found to the descriptor, as JSON."""
    told = {"imported": False, "problem": None} | examined(sys.argv[2])
    with os.fdopen(int(sys.argv[1]), "wb") as channel:
        channel.write(json.dumps(told).encode())
    os._exit(0)  # threads of the author's are not waited for


def examined(target: str) -> dict[str, Any]:
    """What the document says of a pipeline."""
    reference = locate(target)
    try:
        cls = load(reference)
    except LoadError as error:
        return {"problem": _not_loaded(error, reference)}
    try:
        _judge(cls)
    except SignatureError as error:
        return {"imported": True, "problem": {"code": "signature", "message": str(error)}}
    return {"imported": True}


def _judge(cls: type[Any]) -> None:
    """Raises `SignatureError` for a class that cannot be served."""
    from livepeer.runner.author.live_pipeline import LivePipeline
    from livepeer.runner.author.pipeline import Pipeline

    if issubclass(cls, Pipeline):
        from livepeer.runner.batch.predictor import Predictor
        from livepeer.runner.running.threads import WorkerThreads

        Predictor(cls, WorkerThreads(1, "check"))
    elif issubclass(cls, LivePipeline):
        from livepeer.runner.live.hooks import Hooks
        from livepeer.runner.live.params import ParamsType

        Hooks.of(cls)
        ParamsType.of(cls)
    else:
        raise SignatureError(
            f"{cls.__name__} is of no kind that can be served: derive it from Pipeline or "
            f"LivePipeline"
        )


def _not_loaded(error: LoadError, reference: Reference) -> dict[str, Any]:
    cause = error.__cause__
    if cause is None:
        return {"code": "no_pipeline", "message": str(error)}
    place = _place(cause, reference)
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        return place | {
            "code": "package_missing",
            "module": cause.name,
            "message": f"it imports {cause.name!r}, which is not installed here",
            "fix": _to_install(reference, cause.name),
        }
    if isinstance(cause, SignatureError):
        return {"code": "signature", "message": str(cause)}
    if isinstance(cause, ValueError) and (match := _ATTRIBUTE.match(str(cause))):
        return {"code": "metadata", "message": str(cause), "attribute": match[2]}
    kind = type(cause).__name__
    message = f"it cannot be imported: {kind}: {cause}" if str(cause) else f"it raises {kind}"
    return place | {
        "code": "import_fails",
        "message": message,
        "fix": "mend the line; what needs a model, a file or the network belongs in `setup`",
    }


def _place(error: BaseException, reference: Reference) -> dict[str, Any]:
    """The last line of the author's own files that it went through."""
    if isinstance(error, SyntaxError):
        return {"file": error.filename, "line": error.lineno}
    folder = reference.folder.resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_absolute() and path.resolve().is_relative_to(folder):
            if "site-packages" not in path.parts:
                return {"file": str(path), "line": frame.lineno}
    return {}


def _to_install(reference: Reference, module: str) -> str:
    place = reference.folder if reference.file is None else reference.file.parent
    if (found := place / "requirements.txt").is_file():
        return f"pip install -r {found}; where that does not bring it, add a line for it"
    return f"pip install what brings {module!r}, and name it in requirements.txt beside the file"


if __name__ == "__main__":
    main()
