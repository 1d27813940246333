"""`livepeer check`: every planted mistake is found at its line, and its twin gives no finding."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import jsonschema
import pytest

from livepeer.runner.check import SourceFinding, check, check_source, imported
from livepeer.runner.check.findings import MOST, Findings
from livepeer.runner.check.imported import ImportResult
from livepeer.runner.packaging.load import LoadError, Reference, locate

from .mistakes import BATCH, IN_MANIFEST, MISTAKES, PREDICT, Mistake, batch, marked

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/livepeer.yaml"))


@pytest.fixture(scope="module")
def importer() -> Iterator[subprocess.Popen[str]]:
    program = str(Path(__file__).with_name("importer.py"))
    with subprocess.Popen(
        [sys.executable, "-P", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch, importer: subprocess.Popen[str]) -> None:
    """Pipelines are imported by forks, which saves half a second for each."""

    class Forked:
        def __init__(self, reference: Reference) -> None:
            self.reference = reference

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None: ...

        def result(self, seconds: float) -> ImportResult:
            assert importer.stdin is not None and importer.stdout is not None
            importer.stdin.write(f"{self.reference}\n")
            importer.stdin.flush()
            told = json.loads(importer.stdout.readline())
            return ImportResult(told["imported"], told["problem"])

    monkeypatch.setattr(imported, "Import", Forked)


def write(folder: Path, pipeline: str, files: dict[str, str] | None = None) -> Path:
    for name, text in {"pipeline.py": pipeline, **(files or {})}.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.name)
def test_a_mistake_is_found_at_its_line_and_its_twin_has_none(
    tmp_path: Path, mistake: Mistake
) -> None:
    wrong, right = tmp_path / "wrong", tmp_path / "right"
    wrong.mkdir()
    right.mkdir()
    text, places = marked(mistake.wrong)
    assert places, "the mistake is not marked"
    found = check(write(wrong, text, mistake.files)).found
    assert [(one.line, one.code) for one in found] == places
    for one in found:
        assert one.file == wrong / "pipeline.py"
        assert one.column >= 1
        assert one.message and one.fix and not one.fix.endswith(".")
    twin = check(write(right, marked(mistake.right)[0], mistake.right_files))
    assert twin.found == ()
    assert twin.imported


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(("code", "text", "line"), IN_MANIFEST)
def test_a_mistake_in_the_manifest_is_found_at_its_line(
    tmp_path: Path, code: str, text: str, line: int
) -> None:
    write(tmp_path, batch(PREDICT), {"livepeer.yaml": text})
    (one,) = check(tmp_path).found
    assert (one.code, one.line, one.file.name) == (code, line, "livepeer.yaml")
    assert one.fix
    write(tmp_path, batch(PREDICT), {"livepeer.yaml": "pipeline: pipeline:Model\n"})
    assert check(tmp_path).found == ()


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_no_example_gives_a_false_alarm(example: Path) -> None:
    findings = check(example)
    notes = [one for one in findings.found if one.level == "note"]
    assert findings.ok, findings.found
    # Where its packages are missing here, its text alone is judged, and that is said.
    assert findings.imported or [one.code for one in notes] == ["package_missing"]


def test_what_a_pipeline_prints_goes_nowhere_and_its_threads_hold_nobody_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loud = (
        "import os, threading, time, sys\n"
        "print('loud'); sys.stderr.write('loud')\n"
        "os.write(1, b'loud')\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
    )
    findings = check(write(tmp_path, batch(PREDICT, loud)))
    assert findings.imported and findings.found == ()
    assert capfd.readouterr() == ("", "")
    assert findings.seconds < 60


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("import time\nwhile True: time.sleep(1)\n", "import_hangs"),
        ("import os\nos._exit(3)\n", "import_crashes"),
    ],
)
def test_an_import_that_does_not_end_well_is_ended_and_told(
    tmp_path: Path, head: str, code: str
) -> None:
    seconds = 1.0 if code == "import_hangs" else 60.0
    findings = check(write(tmp_path, batch(PREDICT, head)), seconds=seconds)
    assert [one.code for one in findings.errors] == [code]
    assert not findings.imported


def test_a_process_that_the_import_started_does_not_stay(tmp_path: Path) -> None:
    start = (
        "import pathlib, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
    )
    assert check(write(tmp_path, batch(PREDICT, start))).imported
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 60
    # Killed, though its new parent, process 1, may not have taken its status yet.
    while (state := state_of(pid)) not in ("", "Z"):
        assert time.monotonic() < deadline, state
        time.sleep(0.01)


def state_of(pid: int) -> str:
    """As the kernel has it; empty where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_line_that_is_meant_so_is_left(tmp_path: Path) -> None:
    text = "import time\n"
    body = "async def predict(self, text: str) -> str:\n    time.sleep(1)  {}\n    return text"
    for comment, count in (
        ("# livepeer: ignore[blocking_call]", 0),
        ("# livepeer: ignore[shared_state, blocking_call]", 0),
        ("# livepeer: ignore", 0),
        ("# livepeer: ignore[shared_state]", 1),
    ):
        write(tmp_path, batch(body.format(comment), text))
        assert len(check(tmp_path, by_import=False).found) == count


def test_what_a_base_of_another_file_brings_is_left_to_the_import(tmp_path: Path) -> None:
    write(
        tmp_path,
        "from base import Base\n\nclass Model(Base):\n    def predict(self, text: str) -> str:\n"
        "        return self.params.x\n",
        {"base.py": "Base = object\n", "livepeer.yaml": "pipeline: pipeline:Model\n"},
    )
    assert check(tmp_path, by_import=False).found == ()
    write(
        tmp_path,
        f"{batch(PREDICT)}\nfrom base import Other\n",
        {"base.py": "Other = object\n", "livepeer.yaml": "pipeline: pipeline:Other\n"},
    )
    assert check(tmp_path, by_import=False).found == ()


def test_a_neighbour_that_it_imports_is_read_too(tmp_path: Path) -> None:
    base = batch("async def warm(self): ...\nnet = []\n" + PREDICT).replace("Model", "Base")
    write(
        tmp_path,
        f"{BATCH}from base import Base\n\nclass Model(Base):\n    pass\n",
        {"base.py": base.replace("return text", "self.net.append(text)\n        return text")},
    )
    (one,) = check(tmp_path, by_import=False).found
    assert (one.file.name, one.code) == ("base.py", "shared_state")


def test_hostile_source_gives_findings_and_never_a_crash(tmp_path: Path) -> None:
    for text in (
        b"(" * 5000,
        b"\0",
        b"x = " + b"-" * 200_000 + b"1",
        b"a" * (2 << 20),
        b"\xff\xfe",
    ):
        (tmp_path / "pipeline.py").write_bytes(text)
        found = check(tmp_path, by_import=False).found
        assert [one.code for one in found] == ["syntax"], text[:10]


def test_findings_are_bounded_and_errors_come_first() -> None:
    place = Path("pipeline.py")
    many = [SourceFinding("a", "warning", place, line, 1, "m", "f") for line in range(1000)]
    findings = Findings.of("x", [*many, *many, SourceFinding("b", "error", place, 7, 1, "m", "f")])
    assert len(findings.found) == MOST
    assert findings.found[0].code == "b"


def test_what_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no file") as caught:
        check(tmp_path / "nothing.py")
    assert caught.value.usage


def test_a_secret_in_a_file_of_the_image_is_found(tmp_path: Path) -> None:
    token = "hf_" + "a" * 34
    write(
        tmp_path,
        batch(PREDICT),
        {
            "livepeer.yaml": "pipeline: pipeline:Model\ninclude: [settings.json]\n",
            "settings.json": f'{{\n"token": "{token}"}}\n',
        },
    )
    (one,) = check(tmp_path, by_import=False).found
    assert (one.code, one.file.name, one.line) == ("secret_in_file", "settings.json", 2)
    assert token not in one.message + one.fix
    # `serve` opens no file for it: an image has many, and was looked through when it was built.
    assert check_source(locate(str(tmp_path))).ok


def test_what_only_a_build_needs_keeps_nobody_from_serving(tmp_path: Path) -> None:
    text = "pipeline: pipeline:Model\nimage: docker.io/Me/Model\ninclude: [tests/]\n"
    write(tmp_path, batch(PREDICT), {"livepeer.yaml": text})
    assert [one.line for one in check(tmp_path, by_import=False).errors] == [2, 3]
    assert check_source(locate(str(tmp_path))).found == ()


def test_the_text_alone_is_read_without_importing_anything_of_the_author(tmp_path: Path) -> None:
    write(tmp_path, batch(PREDICT, "raise SystemExit('imported')\n"))
    assert check_source(locate(str(tmp_path))).ok


def test_the_document_is_what_its_schema_says(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "specs" / "schemas" / "check.json").read_text())
    write(tmp_path, batch("capactiy = 4\n\n" + PREDICT))
    for findings in (check(tmp_path, by_import=False), check(EXAMPLES[0], by_import=False)):
        jsonschema.validate(findings.as_json(), schema)
