"""What a class says, and that what authors write type-checks."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from livepeer.runner import Pipeline
from livepeer.runner.author.pipeline import kebab_case
from livepeer.runner.job import Job, current_job


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Sentiment", "sentiment"),
        ("TextToImage", "text-to-image"),
        ("HTTPEcho", "http-echo"),
        ("SDXL", "sdxl"),
        ("Whisper3Large", "whisper3-large"),
        ("tiny_model", "tiny-model"),
    ],
)
def test_the_id_of_a_pipeline_is_its_class_name_in_kebab_case(name: str, expected: str) -> None:
    assert kebab_case(name) == expected
    assert type(name, (Pipeline,), {}).pipeline_id == expected  # type: ignore[attr-defined]


def test_what_the_class_says_wins_over_the_defaults() -> None:
    class Named(Pipeline):
        """A docstring.

        With a body.
        """

        pipeline_id = "another-name"

    assert Named.pipeline_id == "another-name"
    assert Named.description == "A docstring.\n\nWith a body."


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("pipeline_id", "Not An Id", "small letters"),
        ("capacity", 0, "1 or more"),
        ("capacity", 2.0, "whole number"),
        ("capacity", True, "whole number"),
        ("timeout", -1, "seconds above 0"),
        ("timeout", float("nan"), "seconds above 0"),
        ("version", "", "such as '1.0.0'"),
        ("max_batch_size", 0, "1 or more"),
        ("max_batch_wait_ms", -1, "0 or more"),
        ("min_vram_gb", -1, "0 or more"),
    ],
)
def test_bad_metadata_is_refused_when_the_class_is_made(
    name: str, value: object, says: str
) -> None:
    with pytest.raises(ValueError, match=rf"Bad\.{name} is .*{says}"):
        type("Bad", (Pipeline,), {name: value})


def test_no_timeout_is_a_timeout_of_none() -> None:
    assert type("Endless", (Pipeline,), {"timeout": None}).timeout is None  # type: ignore[attr-defined]


def test_the_model_directory_is_known_to_the_class_and_its_instances(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LIVEPEER_MODEL_DIR", str(tmp_path))
    assert Pipeline.model_dir == tmp_path
    assert Pipeline().model_dir == tmp_path


def test_the_log_carries_the_id_of_the_running_job(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = type("Logs", (Pipeline,), {})()
    caplog.set_level(logging.INFO)
    token = current_job.set(Job("job-7"))
    pipeline.log.info("inside")
    current_job.reset(token)
    pipeline.log.info("outside")
    assert [record.job_id for record in caplog.records] == ["job-7", ""]  # type: ignore[attr-defined]


def test_progress_goes_to_the_running_job_and_outside_of_one_nowhere() -> None:
    seen: list[tuple[float, str]] = []
    pipeline = Pipeline()
    pipeline.progress(0.1)
    token = current_job.set(Job("x", on_progress=lambda done, text: seen.append((done, text))))
    pipeline.progress(0.4, "decoding")
    current_job.reset(token)
    assert seen == [(0.4, "decoding")]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_progress_is_a_fraction(fraction: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Pipeline().progress(fraction)


AUTHORS = """
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal
from pydantic import BaseModel, Field
from livepeer.runner import Image, Pipeline, create_app, errors, serve

class In(BaseModel):
    text: str

class Reply(BaseModel):
    label: Literal["positive", "negative"]

class Bare(Pipeline):
    capacity = 4
    timeout = None
    min_vram_gb = 8

    @classmethod
    def prepare_models(cls) -> None:
        (cls.model_dir / "weights").touch()

    def setup(self) -> None:
        self.weights = self.model_dir / "weights"

    def predict(self, text: Annotated[str, Field(max_length=2000)], *, top: int = 1) -> Reply:
        self.progress(0.5)
        self.log.info("working")
        if not text:
            raise errors.InvalidInput("empty", field="text")
        return Reply(label="positive")

class Model(Pipeline):
    async def setup(self) -> None: ...
    async def predict(self, inputs: In) -> Image:
        return Image(b"")
    async def teardown(self) -> None: ...

class Stream(Pipeline):
    def predict(self, n: int) -> Iterator[str]:
        yield "a"

class AsyncStream(Pipeline):
    async def predict(self, n: int) -> AsyncIterator[Reply]:
        yield Reply(label="negative")

class Gathered(Pipeline):
    max_batch_size = 16
    def predict_batch(self, inputs: list[In]) -> list[Reply | Exception]:
        return [Reply(label="positive") for _ in inputs]

app = create_app(Bare)
if __name__ == "__main__":
    serve(Gathered)
"""


@pytest.mark.slow
def test_what_authors_write_type_checks_under_mypy_strict(tmp_path: Path) -> None:
    module = tmp_path / "authors.py"
    module.write_text(AUTHORS)
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml"), str(module)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_authors_write_can_be_served(tmp_path: Path) -> None:
    (tmp_path / "authors.py").write_text(AUTHORS)
    done = subprocess.run(
        [sys.executable, "-c", "import authors; print(authors.app.title)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout == "bare\n", done.stderr
