"""`livepeer bench` on a class that it serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import psutil
import pytest

from livepeer.runner.bench.report import BenchReport

if TYPE_CHECKING:
    from conftest import Folder

SCHEMA = Path(__file__).parents[4] / "specs" / "schemas" / "bench.json"
PIPELINE = """
from livepeer.runner import Pipeline
class Shout(Pipeline):
    def predict(self, text: str) -> str:
        return text.upper()
"""


def test_a_class_is_served_measured_and_ended(folder: Folder) -> None:
    folder.write(pipeline=PIPELINE)
    arguments = ("--rate", "30", "--duration", "0.6", "--warmup", "0.2", "--json", "out.json")
    done = folder.livepeer("bench", "-i", "text=hello", *arguments)
    assert done.returncode == 0, done.stderr
    report = BenchReport.model_validate_json(done.stdout)
    assert BenchReport.model_validate_json((folder.path / "out.json").read_text()) == report
    (load,) = report.loads
    assert load.loop == "open" and load.outcomes == {"ok": load.calls}
    assert report.cold is not None and 0 < report.cold.ready <= report.cold.first_result
    assert load.usage is not None and load.usage.memory_mb > 20
    assert report.pipeline == "shout" and "shout" in report.paste
    jsonschema.validate(json.loads(done.stdout), json.loads(SCHEMA.read_text()))
    left = [each for each in psutil.process_iter(["cmdline"]) if str(folder.path) in str(each.info)]
    assert not left


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--rate", "fast"], 2, "'fast' is no number above 0"),
        (["--find-max", "p42<1s"], 2, "is not an aim like"),
        (["http://user:secret@h"], 2, "without user"),
        (["nothing.py"], 1, "there is no file nothing.py"),
        (["-i", "text=1", "-i", "more=2", "--rate", "1"], 1, "the first call did not succeed (422"),
        (["--compare", "none.json"], 2, "none.json cannot be read"),
        (["--compare", "pipeline.py"], 2, "pipeline.py is no report of"),
        (["--streams", "8..1"], 2, "the first number of a range is the lower one"),
        (["--streams", "2", "--find-max", "fps<3"], 2, "is not an aim for streams"),
        (["--size", "big"], 2, "a size is WIDTHxHEIGHT"),
        (["--orch", "https://h"], 2, "with the name of an app or a capability"),
    ],
)
def test_what_cannot_be_measured_is_told(
    folder: Folder, arguments: list[str], code: int, says: str
) -> None:
    folder.write(pipeline=PIPELINE)
    done = folder.livepeer("bench", *arguments)
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == code and "Traceback" not in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_the_schema_of_reports_is_that_of_the_model() -> None:
    """Mended by `python -m livepeer.runner.bench.report`."""
    assert json.loads(SCHEMA.read_text()) == BenchReport.model_json_schema()


LIVE = """
from livepeer.runner import LivePipeline
class Darker(LivePipeline):
    def process_video(self, frame):
        frame.planes[0][:] //= 2
        return frame
"""


@pytest.mark.slow
def test_a_live_class_is_measured_beside_one_that_does_nothing(folder: Folder) -> None:
    folder.write(pipeline=LIVE)
    size = ("--size", "320x180", "--fps", "15", "--duration", "2", "--warmup", "0.5")
    done = folder.livepeer(
        "bench", "--streams", "1..2", "--find-max", "p50<900ms", *size, "--html", "page.html"
    )
    assert done.returncode == 0, done.stderr
    report = BenchReport.model_validate_json(done.stdout)
    jsonschema.validate(json.loads(done.stdout), json.loads(SCHEMA.read_text()))
    assert report.live is not None and report.live.null is not None and report.live.max is not None
    assert report.live.picture == "320x180@15" and report.live.steps[0].each[0].sent == 30
    assert report.live.steps[0].each[0].matched_by == "number"
    assert report.cold is not None and report.cold.answers is not None
    assert 0 < report.cold.answers <= report.cold.ready < report.cold.first_result
    assert "darker" in (folder.path / "page.html").read_text()
    left = [each for each in psutil.process_iter(["cmdline"]) if str(folder.path) in str(each.info)]
    assert not left
