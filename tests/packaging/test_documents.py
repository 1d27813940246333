"""Every command that a document names is run by a test, or is listed here with the reason why not.

What stands on a page is run as it is printed, against a local network; only the address of the
orchestrator is the network's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from livepeer.runner import Image, LivePipeline, Pipeline, VideoFrame, create_app
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer
from livepeer.trickle.media import AudioFrame, encode

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAMS = ("livepeer ", "pip ", "python ", "pytest", "scripts/", "LIVEPEER_", "cd ", "export ")


@dataclass(frozen=True, order=True)
class Line:
    """One command of a page."""

    page: str
    text: str
    language: str


def pages() -> list[Path]:
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found += [*ROOT.glob("packages/*/README.md"), *ROOT.glob("examples/**/README.md")]
    return sorted(path for path in found if path.parent != ROOT / "docs" / "errors")


def lines() -> list[Line]:
    """Every command, without what a comment says of it."""
    found = []
    for path in pages():
        page = str(path.relative_to(ROOT))
        for language, block in FENCE.findall(path.read_text(encoding="utf-8")):
            text = block.replace("\\\n", " ")
            if language not in ("sh", "bash", "console", ""):
                continue
            if not language and not text.startswith(PROGRAMS):
                continue  # what was printed
            for line in text.splitlines():
                if language == "console" and not line.startswith("$ "):
                    continue
                command = re.sub(r"\s+#.*$", "", line.removeprefix("$ ")).strip()
                if command:
                    found.append(Line(page, command, language))
    return found


# Which test runs what a page says, as it stands there. `sh`: only blocks of this language.
RUN_BY = {
    "README.md": "tests/packaging/test_readme.py",
    "docs/tutorials/": "sh tests/packaging/test_manual.py",
    "docs/how-to/": "sh tests/packaging/test_manual.py",
    "packages/livepeer-runner/README.md": "console packages/livepeer-runner/tests/test_readme.py",
}

# Pages of which each line is run below, all of a page in one folder, one after the other.
SESSIONS = {
    "packages/livepeer-client/README.md": ("export LIVEPEER_ORCH_URL", "livepeer "),
    "packages/livepeer-trickle/README.md": ("livepeer trickle",),
    "docs/how-to/prices.md": ("livepeer ",),
    "docs/bench.md": ("livepeer bench",),
    "examples/hello_world/README.md": ("livepeer ",),
    "examples/live_tint/README.md": ("livepeer ",),
    "examples/live_grayscale/README.md": ("livepeer ",),
    "examples/audio_pitch/README.md": ("livepeer ",),
    "examples/_template/README.md": ("livepeer predict",),
}

DEV = "runs until Ctrl-C; packages/livepeer-runner/tests/cli/test_dev.py has it on pipelines alike"
MODEL = "needs a model's packages; its own test runs it, in scripts/test-examples"
IMAGE = "needs a container engine and a registry; tests/container/test_road.py goes this road"
HOST = "needs a real orchestrator's machine; tests/e2e/test_docs.py tries what of it is ours"
# Each with what its line begins with, and why it is not run here.
NOT_RUN = {
    ("packages/livepeer-client/README.md", "livepeer init hello"): "as in README.md",
    ("packages/livepeer-client/README.md", "cd hello && livepeer dev"): DEV,
    ("packages/livepeer-runner/README.md", "LIVEPEER_ORCH_URL="): HOST,
    ("packages/livepeer-runner/README.md", "livepeer serve --reload"): (
        "runs until Ctrl-C; packages/livepeer-runner/tests/cli/test_serve.py"
    ),
    ("packages/livepeer-runner/README.md", "livepeer init hello"): "as in README.md",
    ("packages/livepeer-runner/README.md", "cd hello"): "as in README.md",
    ("packages/livepeer-runner/README.md", "livepeer predict"): "as in README.md",
    ("packages/livepeer-runner/README.md", "python -m pytest"): "as in README.md",
    ("docs/bench.md", "livepeer bench me/app:1.0.0"): (
        "needs a container engine; tests/container/test_bench.py benches an image"
    ),
    ("docs/bench.md", "livepeer bench --compare"): (
        "needs two quiet measurements; packages/livepeer-runner/tests/cli/test_bench.py"
    ),
    ("docs/paying.md", "livepeer dev pipeline.py --paid"): DEV,
    ("docs/images.md", "livepeer init sentiment"): "as in README.md",
    ("docs/images.md", "livepeer "): IMAGE,
    ("docs/how-to/production.md", "livepeer check && pytest && livepeer doctor"): (
        "each of them is run by docs/tutorials/request.md"
    ),
    ("docs/how-to/production.md", "livepeer push"): IMAGE,
    ("docs/operators.md", ""): HOST,
    ("examples/_template/README.md", "livepeer dev"): DEV,
    ("examples/text_to_speech/README.md", "apt-get"): "changes the machine; .ci/run does so",
    **{
        (f"examples/{name}/README.md", "livepeer "): MODEL
        for name in (
            "embeddings",
            "image_upscale",
            "live_caption_overlay",
            "live_detect",
            "live_transcribe",
            "llm_chat",
            "ocr",
            "sentiment",
            "text_to_speech",
        )
    },
    ("examples/README.md", "livepeer "): MODEL,
}


def claims(line: Line) -> list[str]:
    """Who runs it, or says why nobody does; the first that fits of each kind."""
    if line.text.startswith("pip install"):
        return ["test_what_is_installed_is_there_to_be_installed"]
    found = []
    for page, test in RUN_BY.items():
        language, _, file = test.rpartition(" ")
        if line.page.startswith(page) and language in ("", line.language):
            found.append(file)
    reasons = [key for key in NOT_RUN if key[0] == line.page and line.text.startswith(key[1])]
    if reasons:
        found.append(NOT_RUN[reasons[0]])
    elif line.text.startswith(SESSIONS.get(line.page, ("\0",))):
        found.append("session")
    return found


def test_every_command_is_run_by_a_test_or_has_a_reason() -> None:
    every = lines()
    assert len(every) > 120
    assert [line for line in every if len(claims(line)) != 1] == []
    for page, start in NOT_RUN:
        assert any(line.page == page and line.text.startswith(start) for line in every), (
            f"{page} has no {start!r} any more: take its reason away"
        )
    not_run = [line for line in every if claims(line)[0] in NOT_RUN.values()]
    assert len(not_run) == 59, "a command more that is not run? Run it, or count it"
    for test in {*RUN_BY.values(), *NOT_RUN.values()}:
        for file in re.findall(r"[\w/-]+/test_\w+\.py", test):
            assert (ROOT / file).is_file(), file


def test_what_is_installed_is_there_to_be_installed() -> None:
    found = 0
    for line in lines():
        if not line.text.startswith("pip install"):
            continue
        found += 1
        for name, extras in re.findall(r"livepeer-(\w+)(?:\[([\w,]+)\])?", line.text):
            project = ROOT / "packages" / f"livepeer-{name}" / "pyproject.toml"
            known = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
            assert set(filter(None, extras.split(","))) <= known.keys(), line
        for file in re.findall(r"-r (\S+)", line.text):
            assert (ROOT / file).is_file() or file == "requirements.txt", line
    assert found > 8


class Answer(BaseModel):
    label: str
    score: float


class Sentiment(Pipeline):
    """Tell whether a text is positive."""

    capacity = 4

    def predict(self, text: str) -> Answer:
        return Answer(label="positive", score=0.9)


class Upscale(Pipeline):
    """Make a picture larger."""

    def predict(self, image: Image) -> Image:
        return Image.from_ndarray(image.to_ndarray().repeat(2, 0).repeat(2, 1))


class Token(BaseModel):
    token: str


class Llm(Pipeline):
    """Say something."""

    def predict(self, prompt: str) -> Iterator[Token]:
        yield Token(token="Hello")


class TintParams(BaseModel):
    u: int = 128


class LiveTint(LivePipeline):
    """Colour a video."""

    params: TintParams

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        return frame


class Radio(LivePipeline):
    """A tone."""

    def generate(self) -> Iterator[AudioFrame]:
        for number in range(100_000):
            yield AudioFrame.from_ndarray(
                np.full(960, 0.1, np.float32), rate=48_000, time=Fraction(number, 50)
            )


CLASSES: tuple[Any, ...] = (Sentiment, Upscale, Llm, LiveTint, Radio)
SOURCE = "from livepeer.runner import Pipeline\n\n\nclass Words(Pipeline):\n{}"
METHOD = "    def predict(self, text: str = 'hi') -> int:\n        return len(text)\n"


def prepared(folder: Path) -> None:
    """What the pages take for given: files of the reader's own."""
    (folder / "pipeline.py").write_text(SOURCE.format(METHOD))
    (folder / "live.py").write_text((ROOT / "examples/live_tint/pipeline.py").read_text())
    (folder / "examples").symlink_to(ROOT / "examples")
    grey = np.full((96, 160, 3), 120, np.uint8)
    (folder / "cat.png").write_bytes(Image.from_ndarray(grey).data)
    frames = [VideoFrame.from_ndarray(grey, time=Fraction(at, 30)) for at in range(60)]
    encode(frames, folder / "in.mp4", format="mp4")
    encode(frames, folder / "clip.ts", format="mpegts")


@pytest.mark.packaging
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", SESSIONS)
async def test_the_commands_of_a_page_do_what_they_say(
    page: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    prepared(tmp_path)
    steps = [line.text for line in lines() if line.page == page and claims(line) == ["session"]]
    assert steps
    with ExitStack() as stack:
        async with LocalOrchestrator() as orchestrator:
            if "client" in page or "prices" in page:
                for cls in CLASSES:
                    server = stack.enter_context(
                        LocalServer(create_app(cls, Settings(host="127.0.0.1")))
                    )
                    await asyncio.to_thread(server.wait_settled, 30)
                    body = {"name": cls.pipeline_id, "url": server.url, "capacity": 4}
                    orchestrator.capabilities.register(
                        json.dumps({**body, "price_scaling": 1}).encode()
                    )
            script = "\n".join(steps)
            if page == "docs/bench.md":  # what it measures is not what is tried here
                script = re.sub(r"$", " --duration 1 --warmup 0", script, flags=re.MULTILINE)
                script = script.replace("1..8", "1..2").replace("5,10,20", "5,10")
            script = re.sub(r"https://(orch|orchestrator):8935", orchestrator.url, script)
            script = script.replace("8080", str(unused_tcp_port))
            if "&\n" in script:
                script += "\nkill %1; wait"
            done = await asyncio.to_thread(shell, script, tmp_path, orchestrator.url)
            await asyncio.to_thread(stack.close)
    assert done.returncode == 0, done.stdout
    expected = printed(page)
    for shown in expected:
        assert re.search(shown, done.stdout), (shown, done.stdout)


def printed(page: str) -> list[str]:
    """What the page shows below its commands, as patterns: its figures and names may differ."""
    found = []
    for language, block in FENCE.findall((ROOT / page).read_text(encoding="utf-8")):
        if language != "console" or not page.startswith("examples/"):
            continue
        shown = [line for line in block.splitlines() if not line.startswith("$ ")]
        found += [
            re.sub(r"\d+(?:\\\.\d+)?", r"[\\d.]+", re.escape(line))
            for line in shown
            if line.strip(". ")
        ]
    return found


def shell(script: str, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    beside = os.path.dirname(sys.executable)
    return subprocess.run(
        ["bash", "-mexo" if "kill %1" in script else "-exo", "pipefail", "-c", script],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{beside}:{os.environ['PATH']}",
            "LIVEPEER_TLS": "pin",
            "LIVEPEER_PINS": str(folder / "pins.json"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
