"""The author of a pipeline: a folder, and the commands that are run in it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base_image import VERSION
from .lanes import Lane

LIMIT = 300
LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")

PIPELINE = '''
from collections.abc import AsyncIterator

from livepeer.runner import Pipeline


class Shout(Pipeline):
    """Say it louder."""

    version = "1.0.0"
    capacity = 2

    @classmethod
    def prepare_models(cls) -> None:
        (cls.model_dir / "weights").write_text("loud")

    def setup(self) -> None:
        self.mark = (self.model_dir / "weights").read_text()

    async def predict(self, text: str) -> AsyncIterator[str]:
        for word in text.split():
            yield f"{word.upper()} {self.mark}"
'''

TINT = '''
from pydantic import BaseModel, Field

from livepeer.runner import LivePipeline, VideoFrame


class TintParams(BaseModel):
    u: int = Field(128, ge=0, le=255)


class Tint(LivePipeline):
    """One colour for a live video."""

    version = "1.0.0"
    capacity = 2
    params: TintParams

    @classmethod
    def prepare_models(cls) -> None:
        (cls.model_dir / "weights").write_text("loud")

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        return frame
'''


@dataclass(frozen=True)
class Author:
    """A folder with a pipeline."""

    folder: Path
    base_image: str

    @classmethod
    def begin(cls, folder: Path, base_image: str, source: str = PIPELINE) -> Author:
        (folder / "pipeline.py").write_text(source)
        author = cls(folder, base_image)
        author.manifest()
        return author

    def manifest(self, more: str = "", *, packages: str = "", base: str | None = None) -> None:
        """Write `livepeer.yaml`, with these lines at its end."""
        name = "Tint" if "class Tint" in (self.folder / "pipeline.py").read_text() else "Shout"
        (self.folder / "livepeer.yaml").write_text(
            f"pipeline: pipeline:{name}\n"
            f"python: {{version: '{VERSION}', packages: [{packages}]}}\n"
            f"base: {base or self.base_image}\n"
            f"prepare: true\n{more}"
        )

    def change(self, old: str, new: str) -> None:
        file = self.folder / "pipeline.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def run(
        self, environ: Mapping[str, str], *arguments: str, code: int = 0, limit: float = LIMIT
    ) -> str:
        """A command of `livepeer`; what it printed, or the error where it is meant to fail."""
        command = [*LIVEPEER, *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self.folder, env=environ, stdout=pipe, stderr=pipe, text=True
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                # As Ctrl-C does: its engine ends with it.
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=LIMIT)
                raise
        status = process.returncode
        told = f"{arguments} ended with {status}: {stderr}"
        assert status == code and (code == 0 or "\nError: " in f"\n{stderr}"), told
        return stdout if code == 0 else stderr

    def build(self, lane: Lane, tag: str, *arguments: str) -> dict[str, Any]:
        command = ("build", "--engine", lane.engine, "--tag", tag, *arguments)
        told: dict[str, Any] = json.loads(self.run(lane.environ, *command))
        return told

    def push(self, lane: Lane, tag: str, *arguments: str) -> dict[str, Any]:
        command = ("push", "--engine", lane.engine, "--tag", tag, *arguments)
        told: dict[str, Any] = json.loads(self.run(lane.environ, *command))
        return told

    def refused(self, lane: Lane, *arguments: str, code: int = 1) -> str:
        """What a command said that could not do it."""
        return self.run(lane.environ, *arguments, "--engine", lane.engine, code=code)
