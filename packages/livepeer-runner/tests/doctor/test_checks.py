"""Each check has a fault that trips it, and a twin that does not."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.doctor.container import Force, Patience
from livepeer.runner.doctor.diagnosis import GROUPS
from livepeer.runner.doctor.examination import CHECKS, CannotExamine, Examination
from livepeer.runner.local.http import listening
from livepeer.runner.serving.app import create_app
from livepeer.runner.settings import Settings
from livepeer.runner.targets.hosting import OpenTarget

from . import faults
from .image_faults import CONTAINER_FAULTS, IMAGE_FAULTS
from .instances import Ending, open_target

SPECS = Path(__file__).parents[4] / "specs"
HURRIED = Patience(health=0.5, idle=1.0, event=6.0, output=3.0, gone=3.0, stop=10.0)
IMPATIENT = dataclasses.replace(HURRIED, call=0.5, event=1.0, gone=0.5)
GENTLE = Force(body=4 << 20, rounds=12)
FAILS = b'{"fail": true}'
OVERLONG = b'{"seconds": 60}'


@dataclass(frozen=True)
class Row:
    """A fault that trips a check, and its twin, which does not."""

    cls: type[PipelineBase]
    fault: faults.Fault = faults.none
    twin: faults.Fault = faults.none
    twin_cls: type[PipelineBase] | None = None
    patience: Patience = HURRIED
    capacity: int = 1
    failing: bytes | None = None
    overlong: bytes | None = None
    ending: Ending = Ending()  # noqa: RUF009 — frozen

    @property
    def twins(self) -> tuple[object, ...]:
        """Rows that are alike in this share a server for their twins."""
        cls = self.twin_cls or self.cls
        return cls, self.twin, self.patience, self.capacity, self.failing, self.overlong


def status(path: str, code: int, method: str = "") -> faults.Fault:
    return faults.status(path, code, method)


ROWS: dict[str, Row] = {
    "http.health": Row(faults.Reverse, status("/health", 404)),
    "http.ready": Row(faults.Reverse, status("/ready", 500)),
    "http.loading": Row(faults.Slow, faults.ready_at_once),
    "http.busy": Row(faults.Reverse, faults.blocked_by_a_job),
    "http.no-401": Row(faults.Reverse, faults.half_json(401)),
    "http.no-redirect": Row(faults.Reverse, faults.slash_redirected),
    "http.client-errors": Row(faults.Reverse, faults.half_json(500)),
    "http.keep-alive": Row(faults.Reverse, faults.connections_closed),
    "batch.answers": Row(faults.Reverse, status("/predict", 500)),
    "batch.content-type": Row(faults.Reverse, faults.untyped),
    "batch.failure": Row(faults.Double, faults.where(b"fail", 200), failing=FAILS),
    "batch.capacity": Row(faults.Reverse, faults.unbounded),
    "batch.disconnect": Row(faults.Reverse, faults.leaking),
    "batch.timeout": Row(faults.Reverse, faults.leaking),
    "batch.own-limit": Row(faults.Limited, faults.where(b"60", 503, b"busy"), overlong=OVERLONG),
    "batch.private-urls": Row(faults.Look, faults.fetches_anything),
    "schema.same": Row(faults.Reverse, status("/schema", 404, "GET")),
    "schema.accepts": Row(faults.Reverse, faults.loud_refused),
    "schema.refuses": Row(faults.Reverse, faults.all_taken),
    "sse.content-type": Row(
        faults.Count, faults.events(b"data: 1\n\ndata: [DONE]\n\n", "Text/Event-Stream")
    ),
    "sse.done": Row(faults.Count, faults.events(b"data: 1\n\ndata: [DONE]\n\ndata: 2\n\n")),
    "sse.line-length": Row(
        faults.Count, faults.events(b"data: " + b"a" * 65_530 + b"\n\ndata: [DONE]\n\n")
    ),
    "sse.closes": Row(faults.Count, faults.events(b"data: [DONE]\n\n", open_seconds=20)),
    "sse.error": Row(faults.Telling, faults.events(b"data: 1\n\ndata: [DONE]\n\n"), failing=FAILS),
    "live.starts": Row(faults.Through, faults.wants_all_urls),
    "live.events": Row(faults.Through, faults.started_by_name_only),
    "live.repeats": Row(
        faults.Through, faults.speaks(1, 0), faults.speaks(8, 0.3), patience=IMPATIENT
    ),
    "live.starts-twice": Row(faults.Through, faults.second_start_fails),
    "live.stops": Row(faults.Through, faults.second_stop_fails),
    "live.stop-frees": Row(faults.Through, faults.places_lost),
    "live.unknown-params": Row(faults.Through, status("/stream/params", 200)),
    "live.bad-params": Row(faults.Through, faults.half_json(500)),
    "live.outputs": Row(faults.Through, faults.output_forgotten),
    "live.input-end": Row(faults.Dawdling, twin_cls=faults.Through),
    "live.control-end": Row(faults.Through, faults.until_a_stop),
    "live.capacity": Row(faults.Through, status("/stream/start", 200)),
    "live.isolated": Row(faults.Through, faults.stopped_together, capacity=2),
    "registration.token": Row(faults.Double, faults.any_token),
    "registration.apps": Row(faults.Double, faults.nothing_below_a_path),
    "registration.foreign-hosts": Row(faults.Through, faults.fetches_anything),
    "registration.unregisters": Row(faults.Double, ending=Ending(stays=True)),
    "process.sigterm-busy": Row(faults.Through, ending=Ending(code=3)),
    "process.files": Row(faults.Double, faults.keeps_files),
    "process.memory": Row(faults.Double, faults.keeps_memory),
    "process.sigterm-loading": Row(faults.Slow, ending=Ending(code=143)),
    "process.sigterm": Row(faults.Double, ending=Ending(code=3)),
    "attack.large-body": Row(faults.Double, faults.read_first, patience=IMPATIENT),
    "attack.endless-body": Row(faults.Double, faults.read_first),
    "attack.short-body": Row(faults.Double, faults.one_body_at_a_time, patience=IMPATIENT),
    "attack.deep-json": Row(faults.Double, status("/predict", 500)),
    "attack.odd-json": Row(faults.Double, status("/predict", 500)),
    "attack.slow-readers": Row(
        faults.Count, faults.so_many("/predict", 6, 503), patience=IMPATIENT
    ),
    "attack.files": Row(faults.Look, status("/predict", 500)),
    "attack.garbage-stream": Row(faults.Through, faults.so_many("/stream/start", 1, 500)),
    "attack.odd-pictures": Row(faults.Through, faults.so_many("/stream/start", 1, 500)),
}
BARE = {"attack.slow-heads": True, "attack.large-head": False, "attack.lengths": False}
"""Faults below any app: a careless server, which may serve one after the other."""
SLOW = {"live.isolated", "live.input-end", "attack.odd-pictures"}
"""Over five seconds."""
SILENT = {
    *("batch.disconnect", "batch.timeout", "live.events", "live.stop-frees", "live.outputs"),
    *("live.control-end", "live.input-end"),
}
"""Faults that are seen by waiting in vain: a second is as good as ten."""


async def examined(row: Row, fault: faults.Fault, *ids: str, twin: bool = False) -> dict[str, str]:
    examination = Examination(
        only=ids,
        patience=row.patience,
        attack=True,
        failing=row.failing,
        overlong=row.overlong,
        force=GENTLE,
    )
    cls = (row.twin_cls or row.cls) if twin else row.cls
    ending = Ending() if twin else row.ending
    async with open_target(cls, fault, capacity=row.capacity, ending=ending) as target:
        diagnosis = await examination.of(target)
    return {one.check.id: one.outcome for one in diagnosis.examined}


def marked(ids: Iterable[str]) -> list[Any]:
    return [pytest.param(id, marks=pytest.mark.slow if id in SLOW else ()) for id in ids]


@pytest.mark.parametrize("check", marked(ROWS))
async def test_a_planted_fault_trips_its_check(check: str) -> None:
    row = ROWS[check]
    if check in SILENT:
        brief = dataclasses.replace(row.patience, event=1.0, output=1.0, gone=1.0)
        row = dataclasses.replace(row, patience=brief)
    assert await examined(row, row.fault, check) == {check: "problem"}


def _twins() -> list[list[str]]:
    found: dict[object, list[str]] = {}
    for id, row in ROWS.items():
        found.setdefault((id in SLOW, row.twins), []).append(id)
    return list(found.values())


TWINS = _twins()


@pytest.mark.parametrize(
    "ids", [pytest.param(ids, marks=pytest.mark.slow if ids[0] in SLOW else ()) for ids in TWINS]
)
async def test_a_twin_without_the_fault_passes(ids: list[str]) -> None:
    row = ROWS[ids[0]]
    assert await examined(row, row.twin, *ids, twin=True) == dict.fromkeys(ids, "passed")


@pytest.mark.parametrize("check", BARE)
async def test_a_careless_server_trips_what_is_below_an_app(check: str) -> None:
    examination = Examination(
        route="x", input=b"{}", only=[check], attack=True, patience=HURRIED, capacity=1
    )
    async with faults.careless(one_by_one=BARE[check]) as url:
        diagnosis = await examination.of(OpenTarget(url))
    assert [one.outcome for one in diagnosis.examined] == ["problem"]


async def test_a_careful_server_passes_what_is_below_an_app() -> None:
    assert await examined(Row(faults.Double), faults.none, *BARE) == dict.fromkeys(BARE, "passed")


async def test_a_slow_first_job_is_not_taken_for_a_capacity_that_nobody_keeps() -> None:
    found = await examined(Row(faults.Cold), faults.none, "batch.capacity")
    assert found == {"batch.capacity": "passed"}


async def test_a_limit_that_blames_the_caller_or_says_nothing_is_found() -> None:
    row = ROWS["batch.own-limit"]
    for status, body in ((200, b"{}"), (408, b"too long"), (504, b"")):
        fault = faults.where(b"60", status, body)
        assert await examined(row, fault, "batch.own-limit") == {"batch.own-limit": "problem"}


def test_every_check_has_a_fault_and_a_twin() -> None:
    planted = {*ROWS, *BARE, *IMAGE_FAULTS, *CONTAINER_FAULTS}
    assert planted == {check.id for check in CHECKS}


def test_every_check_stands_for_a_clause_of_its_level() -> None:
    page = (SPECS / "conformance.md").read_text()
    clauses = re.findall(r"^### (\S+)\n(must|should)\b", page, re.M)
    assert clauses == [(check.id, check.level) for check in sorted(CHECKS, key=_place)]
    for check in CHECKS:
        name, anchor = check.clause.split("#")
        headings = re.findall(r"^#+ (.+)$", (SPECS / name).read_text(), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", one.lower()) for one in headings}


def _place(check: object) -> int:
    order = ("http", "batch", "schema", "sse", "live", "registration", "image", "process", "attack")
    assert set(order) == set(GROUPS)
    return order.index(check.group)  # type: ignore[attr-defined]


async def test_the_document_for_machines_is_that_of_the_schema() -> None:
    app = create_app(faults.Count, Settings.from_env({}))
    async with listening(app) as url:
        await app.state.service.lifecycle.wait_settled()
        diagnosis = await Examination(only=["sse", "http.ready", "batch.capacity"]).of(
            OpenTarget(url), "here"
        )
    document = diagnosis.as_json()
    jsonschema.validate(document, json.loads((SPECS / "schemas" / "doctor.json").read_text()))
    assert document["summary"] == {"passed": 5, "must": 0, "should": 0, "not_judged": 2}


@pytest.mark.parametrize(
    ("examination", "url", "why"),
    [
        (Examination(only=["htpp"]), "http://127.0.0.1:1", "htpp: no such group"),
        (Examination(attack=True), "http://192.0.2.1", "for containers on loopback"),
        (Examination(), "http://127.0.0.1:1", "cannot be examined"),
    ],
)
async def test_what_cannot_be_examined_says_why(
    examination: Examination, url: str, why: str
) -> None:
    with pytest.raises(CannotExamine, match=why):
        await examination.of(OpenTarget(url))
