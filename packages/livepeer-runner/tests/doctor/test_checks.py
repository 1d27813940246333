"""Each check has a fault that trips it, and a twin that does not."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import jsonschema
import pytest

from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.doctor.container import Patience
from livepeer.runner.doctor.diagnosis import GROUPS
from livepeer.runner.doctor.examination import CHECKS, CannotExamine, Examination
from livepeer.runner.local.http import listening
from livepeer.runner.serving.app import create_app
from livepeer.runner.settings import Settings
from livepeer.runner.targets.hosting import OpenTarget

from . import faults

SPECS = Path(__file__).parents[4] / "specs"
HURRIED = Patience(health=0.5, idle=1.0, event=6.0, output=3.0, gone=3.0)

FAULTS: dict[str, tuple[type[PipelineBase], faults.Fault]] = {
    "http.health": (faults.Reverse, faults.status("/health", 404)),
    "http.ready": (faults.Reverse, faults.status("/ready", 500)),
    "http.busy": (faults.Reverse, faults.blocked_by_a_job),
    "http.no-401": (faults.Reverse, faults.half_json(401)),
    "http.no-redirect": (faults.Reverse, faults.slash_redirected),
    "http.client-errors": (faults.Reverse, faults.half_json(500)),
    "http.keep-alive": (faults.Reverse, faults.connections_closed),
    "batch.answers": (faults.Reverse, faults.status("/predict", 500)),
    "batch.content-type": (faults.Reverse, faults.untyped),
    "batch.capacity": (faults.Reverse, faults.unbounded),
    "batch.disconnect": (faults.Reverse, faults.leaking),
    "schema.same": (faults.Reverse, faults.status("/schema", 404, "GET")),
    "schema.accepts": (faults.Reverse, faults.loud_refused),
    "schema.refuses": (faults.Reverse, faults.all_taken),
    "sse.content-type": (
        faults.Count,
        faults.events(b"data: 1\n\ndata: [DONE]\n\n", "Text/Event-Stream"),
    ),
    "sse.done": (faults.Count, faults.events(b"data: 1\n\ndata: [DONE]\n\ndata: 2\n\n")),
    "sse.line-length": (
        faults.Count,
        faults.events(b"data: " + b"a" * 65_530 + b"\n\ndata: [DONE]\n\n"),
    ),
    "sse.closes": (faults.Count, faults.events(b"data: [DONE]\n\n", open_seconds=20)),
    "live.starts": (faults.Through, faults.wants_all_urls),
    "live.events": (faults.Through, faults.started_by_name_only),
    "live.starts-twice": (faults.Through, faults.second_start_fails),
    "live.stops": (faults.Through, faults.second_stop_fails),
    "live.stop-frees": (faults.Through, faults.places_lost),
    "live.unknown-params": (faults.Through, faults.status("/stream/params", 200)),
    "live.bad-params": (faults.Through, faults.half_json(500)),
    "live.outputs": (faults.Through, faults.output_forgotten),
    "live.input-end": (faults.Dawdling, faults.none),
    "live.capacity": (faults.Through, faults.status("/stream/start", 200)),
    "attack.deep-json": (faults.Reverse, faults.status("/predict", 500)),
}


async def examined(
    cls: type[PipelineBase], fault: faults.Fault, *ids: str, capacity: int = 1
) -> dict[str, str]:
    settings = dataclasses.replace(Settings.from_env({}), capacity=capacity)
    app = create_app(cls, settings)
    app.add_middleware(faults.Planted, fault=fault)
    examination = Examination(only=ids, patience=HURRIED, attack=True)
    async with listening(app) as url:
        await app.state.service.lifecycle.wait_settled()
        diagnosis = await examination.of(OpenTarget(url))
    return {one.check.id: one.outcome for one in diagnosis.examined}


@pytest.mark.parametrize("check", FAULTS)
async def test_a_planted_fault_trips_its_check(check: str) -> None:
    cls, fault = FAULTS[check]
    assert await examined(cls, fault, check) == {check: "problem"}


@pytest.mark.parametrize("cls", [faults.Reverse, faults.Count, faults.Through])
async def test_the_same_container_without_a_fault_is_clean(cls: type[PipelineBase]) -> None:
    ids = [id for id, (planted, _) in FAULTS.items() if planted is cls]
    if cls is faults.Through:
        ids.append("live.input-end")
    assert await examined(cls, faults.none, *ids) == dict.fromkeys(ids, "passed")


@pytest.mark.slow
async def test_a_stop_that_ends_other_streams_is_found() -> None:
    check = "live.isolated"
    found = await examined(faults.Through, faults.stopped_together, check, capacity=2)
    assert found == {check: "problem"}
    assert await examined(faults.Through, faults.none, check, capacity=2) == {check: "passed"}


def test_every_check_stands_for_a_clause_of_its_level() -> None:
    page = (SPECS / "conformance.md").read_text()
    clauses = re.findall(r"^### (\S+)\n(must|should)\b", page, re.M)
    assert clauses == [(check.id, check.level) for check in sorted(CHECKS, key=_place)]
    for check in CHECKS:
        name, anchor = check.clause.split("#")
        headings = re.findall(r"^#+ (.+)$", (SPECS / name).read_text(), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", one.lower()) for one in headings}


def _place(check: object) -> int:
    order = ("http", "batch", "schema", "sse", "live", "process", "attack")
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
    assert document["summary"] == {"passed": 5, "must": 0, "should": 0, "not_judged": 1}


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
