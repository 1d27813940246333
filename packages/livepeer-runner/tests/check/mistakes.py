"""Mistakes that authors make, each beside its twin, which has none.

A line that is to be found ends in `# <-- code`; the twin is the same folder with other lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from textwrap import dedent

MARK = re.compile(r"\s*# <-- (\w+)$")

BATCH = "from livepeer.runner import Image, Pipeline\n"
LIVE = "from livepeer.runner import LivePipeline, VideoFrame\n"


@dataclass(frozen=True)
class Mistake:
    """`wrong` and `right` are the text of `pipeline.py`; `files` stand beside it."""

    name: str
    wrong: str
    right: str
    files: dict[str, str] = field(default_factory=dict)
    right_files: dict[str, str] = field(default_factory=dict)


def marked(text: str) -> tuple[str, list[tuple[int, str]]]:
    """A text without its marks, and the lines and codes of these."""
    lines, found = [], []
    for number, line in enumerate(dedent(text).splitlines(), start=1):
        if match := MARK.search(line):
            found.append((number, match[1]))
        lines.append(MARK.sub("", line))
    return "\n".join(lines) + "\n", found


def batch(body: str, head: str = "") -> str:
    return f"{BATCH}{head}\nclass Model(Pipeline):\n" + _indented(body)


def live(body: str, head: str = "") -> str:
    return f"{LIVE}{head}\nclass Model(LivePipeline):\n" + _indented(body)


def _indented(body: str) -> str:
    tail = next((one for one in (PREDICT, VIDEO) if body.endswith(one)), "")
    whole = dedent(body.removesuffix(tail)).strip("\n") + "\n\n" + tail
    return "".join(f"    {line}\n" if line else "\n" for line in whole.strip("\n").splitlines())


PREDICT = "def predict(self, text: str) -> str:\n    return text\n"
VIDEO = "def process_video(self, frame: VideoFrame) -> VideoFrame:\n    return frame\n"

MISTAKES = (
    Mistake(
        "a parameter without a type",
        batch("def predict(self, text) -> str:  # <-- type_missing\n    return text"),
        batch(PREDICT),
    ),
    Mistake(
        "a result without a type",
        batch("def predict(self, text: str):  # <-- type_missing\n    return text"),
        batch(PREDICT),
    ),
    Mistake(
        "a parameter that takes anything",
        batch("def predict(self, **given: str) -> str:  # <-- signature\n    return 'a'"),
        batch("def predict(self, given: dict[str, str]) -> str:\n    return 'a'"),
    ),
    Mistake(
        "bytes as an input",
        batch("def predict(self, image: bytes) -> int:  # <-- signature\n    return len(image)"),
        batch("def predict(self, image: Image) -> int:\n    return len(image.data)"),
    ),
    Mistake(
        "a result that has no JSON form",
        batch(
            "def predict(self, text: str) -> Lines:  # <-- signature\n    return Lines()",
            "class Lines:\n    pass\n",
        ),
        batch(
            "def predict(self, text: str) -> Lines:\n    return Lines()",
            "from dataclasses import dataclass\n\n@dataclass\nclass Lines:\n    pass\n",
        ),
    ),
    Mistake(
        "a stream that says it is a list",
        batch("def predict(self, n: int) -> list[int]:  # <-- signature\n    yield from range(n)"),
        batch(
            "def predict(self, n: int) -> Iterator[int]:\n    yield from range(n)",
            "from collections.abc import Iterator\n",
        ),
    ),
    Mistake(
        "sleeping in an async predict",
        batch(
            """
            async def predict(self, text: str) -> str:
                time.sleep(1)  # <-- blocking_call
                return text
            """,
            "import time\n",
        ),
        batch(
            """
            async def predict(self, text: str) -> str:
                await asyncio.sleep(1)
                return text
            """,
            "import asyncio\n",
        ),
    ),
    Mistake(
        "requests in what an async hook calls",
        live(
            """
            async def on_stream_start(self, params: dict) -> None:
                self.words = self._fetch()

            def _fetch(self) -> str:
                return requests.get("http://127.0.0.1/words").text  # <-- blocking_call
            """
            + VIDEO,
            "import requests\n",
        ),
        live(
            """
            def on_stream_start(self, params: dict) -> None:
                self.words = self._fetch()

            def _fetch(self) -> str:
                return requests.get("http://127.0.0.1/words").text
            """
            + VIDEO,
            "import requests\n",
        ),
        {"requests.py": ""},
        {"requests.py": ""},
    ),
    Mistake(
        "a program run in an async hook",
        batch(
            """
            async def predict(self, text: str) -> str:
                return subprocess.run(["echo", text]).args[1]  # <-- blocking_call
            """,
            "import subprocess\n",
        ),
        batch(
            """
            def predict(self, text: str) -> str:
                return subprocess.run(["echo", text]).args[1]
            """,
            "import subprocess\n",
        ),
    ),
    Mistake(
        "a file read in an async hook",
        batch(
            """
            async def predict(self, text: str) -> str:
                return open("/etc/hostname").read()  # <-- blocking_call
            """
        ),
        batch(
            """
            def setup(self) -> None:
                self.name = open("/etc/hostname").read()

            async def predict(self, text: str) -> str:
                return self.name
            """
        ),
    ),
    Mistake(
        "work on the event loop",
        batch(
            """
            async def predict(self, text: str) -> str:  # <-- async_without_await
                return json.dumps(text)
            """,
            "import json\n",
        ),
        batch("def predict(self, text: str) -> str:\n    return json.dumps(text)", "import json\n"),
    ),
    Mistake(
        "an array for a frame",
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                pixels = frame.to_ndarray("rgb24")
                pixels[:10] = 255
                return pixels  # <-- array_returned
            """
        ),
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                pixels = frame.to_ndarray("rgb24")
                pixels[:10] = 255
                return frame.replace(pixels)
            """
        ),
    ),
    Mistake(
        "an array for a picture",
        batch(
            """
            def predict(self, image: Image) -> Image:
                return np.flipud(image.to_ndarray())  # <-- array_returned
            """,
            "import numpy as np\n",
        ),
        batch(
            """
            def predict(self, image: Image) -> Image:
                return Image.from_ndarray(np.flipud(image.to_ndarray()))
            """,
            "import numpy as np\n",
        ),
    ),
    Mistake(
        "a package that only this machine has",
        batch(PREDICT, "import hypothesis  # <-- requirement_missing\n"),
        batch(PREDICT, "import hypothesis\nimport numpy as np\nfrom PIL import Image as Pil\n"),
        {"requirements.txt": "livepeer-runner>=0.1\n"},
        {"requirements.txt": "livepeer-runner>=0.1\nhypothesis>=6  # why\n"},
    ),
    Mistake(
        "a list of the class that jobs change",
        batch(
            """
            seen = []

            def predict(self, text: str) -> int:
                self.seen.append(text)  # <-- shared_state
                return len(self.seen)
            """
        ),
        batch(
            """
            words = ["good", "bad"]

            def predict(self, text: str) -> int:
                seen = []
                seen.append(text)
                return len(seen) + self.words.index("bad")
            """
        ),
    ),
    Mistake(
        "a list of setup that jobs change",
        batch(
            """
            def setup(self) -> None:
                self.said: list[str] = []

            def predict(self, text: str) -> int:
                self.said.append(text)  # <-- shared_state
                return len(self.said)
            """
        ),
        batch(
            """
            def setup(self) -> None:
                self.said: dict[str, int] = {}

            def predict(self, text: str) -> int:
                return self.said.setdefault(text, len(text))
            """
        ),
    ),
    Mistake(
        "a list of setup that streams change",
        live(
            """
            def setup(self) -> None:
                self.last = []

            def process_video(self, frame: VideoFrame) -> VideoFrame:
                self.last.append(frame)  # <-- shared_state
                return frame
            """
        ),
        live(
            """
            def on_stream_start(self, params: dict) -> None:
                self.last = []

            def process_video(self, frame: VideoFrame) -> VideoFrame:
                self.last.append(frame)
                return frame
            """
        ),
    ),
    Mistake(
        "one net in several threads",
        batch(
            """
            capacity = 4
            thread_safe = True

            def setup(self) -> None:
                self.net = cv2.dnn.readNet(self.file)

            file = "/models/net"

            def predict(self, text: str) -> str:
                return str(self.net.forward())  # <-- unsafe_in_threads
            """,
            "import cv2\n",
        ),
        batch(
            """
            capacity = 4

            def setup(self) -> None:
                self.net = cv2.dnn.readNet(self.file)

            file = "/models/net"

            def predict(self, text: str) -> str:
                return str(self.net.forward())
            """,
            "import cv2\n",
        ),
        {"cv2.py": "dnn = None\n"},
        {"cv2.py": "dnn = None\n"},
    ),
    Mistake(
        "a hook misspelt",
        live(
            "def process_vidoe(self, frame: VideoFrame) -> VideoFrame:  # <-- hook_misspelt\n"
            "    return frame"
        ),
        live(VIDEO),
    ),
    Mistake(
        "a hook as unittest spells it",
        batch("def setUp(self) -> None:  # <-- hook_misspelt\n    self.model = 1\n\n" + PREDICT),
        batch("def setup(self) -> None:\n    self.model = 1\n\n" + PREDICT),
    ),
    Mistake(
        "a hook as another framework calls it",
        live(
            "def on_start(self, params: dict) -> None:  # <-- hook_unknown\n    self.count = 0\n\n"
            + VIDEO
        ),
        live("def on_stream_start(self, params: dict) -> None:\n    self.count = 0\n\n" + VIDEO),
    ),
    Mistake(
        "a live hook in a request's class",
        batch(
            "def process_video(self, frame: Image) -> Image:  # <-- hook_of_other_kind\n"
            "    return frame"
        ),
        live(VIDEO),
    ),
    Mistake(
        "a hook that is given more than it takes",
        live(
            "def on_stream_start(self) -> None:  # <-- hook_arguments\n    self.count = 0\n\n"
            + VIDEO
        ),
        live("def on_stream_start(self, params: dict) -> None:\n    self.count = 0\n\n" + VIDEO),
    ),
    Mistake(
        "a path that forgets the frame",
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                if frame.width > 100:
                    return frame
                self.log.info("small")  # <-- frame_not_returned
            """
        ),
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame | None:
                if frame.width > 100:
                    return frame
                self.log.info("small")
                return None
            """
        ),
    ),
    Mistake(
        "a hook that returns nothing",
        live(
            """
            def process_video(self, frame):  # <-- frame_not_returned
                frame.planes[1][:] = 128
            """
        ),
        live(
            """
            def process_video(self, frame):
                frame.planes[1][:] = 128
                return frame
            """
        ),
    ),
    Mistake(
        "a path that forgets the result",
        batch(
            """
            def predict(self, text: str) -> str:
                for word in text.split():  # <-- result_not_returned
                    if word == "yes":
                        return word
            """
        ),
        batch(
            """
            def predict(self, text: str) -> str:
                for word in text.split():
                    if word == "yes":
                        return word
                raise ValueError(text)
            """
        ),
    ),
    Mistake(
        "drawing on the decoder's own picture",
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                y, u, v = frame.view()
                u[:] = 128  # <-- view_written
                return frame
            """
        ),
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                y, u, v = frame.planes
                u[:] = 128
                return frame
            """
        ),
    ),
    Mistake(
        "weights that are not there",
        batch(
            """
            def setup(self) -> None:
                self.net = load(Path(__file__).with_name("net.onnx"))  # <-- weights_missing

            """
            + PREDICT,
            "from pathlib import Path\nload = str\n",
        ),
        batch(
            """
            def setup(self) -> None:
                self.net = load(Path(__file__).with_name("net.onnx"))

            """
            + PREDICT,
            "from pathlib import Path\nload = str\n",
        ),
        {},
        {"net.onnx": "w"},
    ),
    Mistake(
        "weights that the image will not have",
        batch(
            """
            def setup(self) -> None:
                self.net = load("net.onnx")  # <-- not_in_image

            """
            + PREDICT,
            "load = str\n",
        ),
        batch(
            "def setup(self) -> None:\n    self.net = load('net.onnx')\n\n" + PREDICT,
            "load = str\n",
        ),
        {"net.onnx": "w", "livepeer.yaml": "pipeline: pipeline:Model\n"},
        {"net.onnx": "w", "livepeer.yaml": "pipeline: pipeline:Model\ninclude: [net.onnx]\n"},
    ),
    Mistake(
        "a download in setup",
        batch(
            """
            def setup(self) -> None:
                self.file = hf_hub_download("me/net", "net.onnx")  # <-- download_late

            """
            + PREDICT,
            "from huggingface_hub import hf_hub_download\n",
        ),
        batch(
            """
            @classmethod
            def prepare_models(cls) -> None:
                hf_hub_download("me/net", "net.onnx", local_dir=cls.model_dir)

            def setup(self) -> None:
                self.file = self.model_dir / "net.onnx"

            """
            + PREDICT,
            "from huggingface_hub import hf_hub_download\n",
        ),
        {"huggingface_hub.py": "def hf_hub_download(*a, **k): ...\n"},
        {"huggingface_hub.py": "def hf_hub_download(*a, **k): ...\n"},
    ),
    Mistake(
        "weights that nothing fetches",
        batch(
            "def setup(self) -> None:\n"
            "    self.file = self.model_dir / 'net.onnx'  # <-- weights_unprepared\n\n" + PREDICT
        ),
        batch(
            "@classmethod\ndef prepare_models(cls) -> None:\n"
            "    (cls.model_dir / 'net.onnx').write_bytes(b'w')\n\n"
            "def setup(self) -> None:\n    self.file = self.model_dir / 'net.onnx'\n\n" + PREDICT
        ),
    ),
    Mistake(
        "a model loaded for each frame",
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                self.net = InferenceSession(self.file)  # <-- loaded_per_call
                return frame

            file = "/models/net"
            """,
            "from onnxruntime import InferenceSession\n",
        ),
        live(
            """
            def setup(self) -> None:
                self.net = InferenceSession(self.file)

            file = "/models/net"

            """
            + VIDEO,
            "from onnxruntime import InferenceSession\n",
        ),
        {"onnxruntime.py": "InferenceSession = str\n"},
        {"onnxruntime.py": "InferenceSession = str\n"},
    ),
    Mistake(
        "prepare_models of an instance",
        batch(
            "def prepare_models(self) -> None:  # <-- prepare_not_classmethod\n    pass\n\n"
            + PREDICT
        ),
        batch("@classmethod\ndef prepare_models(cls) -> None:\n    pass\n\n" + PREDICT),
    ),
    Mistake(
        "a generator in a result",
        batch(
            """
            def predict(self, text: str) -> dict:
                return {"words": (word for word in text.split())}  # <-- output_not_json
            """
        ),
        batch(
            """
            def predict(self, text: str) -> dict:
                return {"words": [word for word in text.split()]}
            """
        ),
    ),
    Mistake(
        "a file in a record",
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                self.emit_data({"score": float("nan")})  # <-- output_not_json
                return frame
            """
        ),
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                self.emit_data({"score": None})
                return frame
            """
        ),
    ),
    Mistake(
        "an event without a type",
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                self.emit_event({"faces": 2})  # <-- event_type
                return frame
            """
        ),
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                self.emit_event({"type": "faces", "count": 2})
                return frame
            """
        ),
    ),
    Mistake(
        "a name with capitals",
        batch('pipeline_id = "My_Model!"  # <-- name_refused\n\n' + PREDICT),
        batch('pipeline_id = "my-model"\n\n' + PREDICT),
    ),
    Mistake(
        "metadata misspelt",
        batch("capactiy = 4  # <-- metadata_unknown\n\n" + PREDICT),
        batch("capacity = 4\nlabels = ('good', 'bad')\n\n" + PREDICT),
    ),
    Mistake(
        "metadata that is none",
        batch("capacity = 0  # <-- metadata\n\n" + PREDICT),
        batch("capacity = 1\n\n" + PREDICT),
    ),
    Mistake(
        "parameters that nobody typed",
        live(
            """
            def process_video(self, frame: VideoFrame) -> VideoFrame:
                frame.planes[1][:] = self.params.u  # <-- params_untyped
                return frame
            """
        ),
        live(
            """
            params: Params

            def process_video(self, frame: VideoFrame) -> VideoFrame:
                frame.planes[1][:] = self.params.u
                return frame
            """,
            "from pydantic import BaseModel\n\nclass Params(BaseModel):\n    u: int = 128\n",
        ),
    ),
    Mistake(
        "a parameter misspelt",
        live(
            """
            params: Params

            def process_video(self, frame: VideoFrame) -> VideoFrame:
                frame.planes[1][:] = self.params.strenght  # <-- params_unknown
                return frame
            """,
            "from pydantic import BaseModel\n\nclass Params(BaseModel):\n    strength: int = 1\n",
        ),
        live(
            """
            params: Params

            def process_video(self, frame: VideoFrame) -> VideoFrame:
                frame.planes[1][:] = self.params.strength * len(self.params.model_dump())
                return frame
            """,
            "from pydantic import BaseModel\n\nclass Params(BaseModel):\n    strength: int = 1\n",
        ),
    ),
    Mistake(
        "a name that the SDK has not",
        batch(PREDICT, "from livepeer.runner import Pipelines  # <-- import_unknown\n"),
        batch(PREDICT, "from livepeer.runner import errors, testing\n"),
    ),
    Mistake(
        "the SDK under another name",
        batch(PREDICT, "from livepeer_runner import Video  # <-- import_unknown\n"),
        batch(PREDICT, "from livepeer.runner import Video\n"),
    ),
    Mistake(
        "a constructor that wants a model",
        batch(
            "def __init__(self, net: str) -> None:  # <-- hook_arguments\n    self.net = net\n\n"
            + PREDICT
        ),
        batch('def __init__(self, net: str = "a") -> None:\n    self.net = net\n\n' + PREDICT),
    ),
    Mistake(
        "a coroutine that nobody awaits",
        batch(
            """
            async def predict(self, text: str) -> str:
                asyncio.sleep(1)  # <-- not_awaited
                return text
            """,
            "import asyncio\n",
        ),
        batch(
            """
            async def predict(self, text: str) -> str:
                await asyncio.sleep(1)
                return text
            """,
            "import asyncio\n",
        ),
    ),
    Mistake(
        "a server that starts at import",
        batch(PREDICT, "from livepeer.runner import serve\n")
        + "\nserve(Model)  # <-- runs_at_import\n",
        batch(PREDICT, "from livepeer.runner import serve\n")
        + '\nif __name__ == "__main__":\n    serve(Model)\n',
    ),
    Mistake(
        "a secret in the log",
        batch(
            """
            def setup(self) -> None:
                print("token", os.environ["HF_TOKEN"])  # <-- secret_shown

            """
            + PREDICT,
            "import os\n",
        ),
        batch(
            """
            def setup(self) -> None:
                print("token", bool(os.environ.get("HF")), "tokens", 12)

            """
            + PREDICT,
            "import os\n",
        ),
    ),
    Mistake(
        "a class that is no pipeline",
        "class Model:  # <-- no_pipeline\n    def predict(self, text: str) -> str:\n"
        "        return text\n",
        batch(PREDICT),
    ),
    Mistake(
        "no Python",
        batch("def predict(self, text: str) -> str\n    return text").replace(
            "-> str\n", "-> str  # <-- syntax\n"
        ),
        batch(PREDICT),
    ),
    Mistake(
        "a module that fails",
        batch(PREDICT, "RATE = int('a')  # <-- import_fails\n"),
        batch(PREDICT, "RATE = int('1')\n"),
    ),
    Mistake(
        "a package that is missing",
        batch(PREDICT, "import no_such_package_here  # <-- package_missing\n"),
        batch(PREDICT, "import json\n"),
    ),
)
"""Each with the line that is to be found, on the text as it is."""

IN_MANIFEST = (
    ("manifest", "pipeline: pipeline:Model\nprepares: true\n", 2),
    ("manifest", "pipeline: pipeline:Modle\n", 1),
    ("manifest", "pipeline: pipeline:Model\nprepare: true\n", 2),
    ("manifest", "pipeline: pipeline:Model\ninclude: [weights/]\n", 2),
    ("name_refused", "pipeline: pipeline:Model\nimage: docker.io/Me/Model\n", 2),
)
"""Mistakes in `livepeer.yaml`: code, text, line. The twin has the first line alone, well spelt."""
