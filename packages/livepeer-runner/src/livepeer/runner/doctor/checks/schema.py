"""What a container says of its input, and whether it is so."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged
from livepeer.runner.doctor.inputs import InputSchema
from livepeer.runner.doctor.subject import Subject

MOST_JOBS = 10
"""Valid inputs run the model: a few of them will do."""
JOB_SECONDS = 60.0
"""After so long no further one is sent."""
MOST_MUTANTS = 20


async def same(subject: Subject) -> Sequence[Finding]:
    posted, got = await subject.post("/schema"), await subject.get("/schema")
    if posted.status in (404, 405) and got.status in (404, 405):
        raise NotJudged("there is no /schema")
    if not (posted.ok and got.ok) or posted.json() != got.json():
        return [
            Finding(
                f"POST /schema answered {posted.status}, GET /schema {got.status}, and not alike",
                "answer both with the same document: orchestrators only POST, people GET",
            )
        ]
    return []


async def accepts(subject: Subject) -> Sequence[Finding]:
    schema, base = _described(subject)
    found = []
    deadline = time.monotonic() + JOB_SECONDS
    for sent in schema.valid(base, MOST_JOBS):
        if time.monotonic() > deadline:
            break
        answer = await subject.job(json.dumps(sent).encode())
        if answer.status >= 400 and answer.status not in (429, 503):
            seen = f"{_shown(sent)} fits the schema and was answered {answer}"
            fix = "write down what else is asked of it, or take it"
            if answer.status >= 500:
                fix = "do not fail on what fits: write down what does not work, or mend it"
            found.append(Finding(seen, fix))
    return found


async def refuses(subject: Subject) -> Sequence[Finding]:
    schema, base = _described(subject)
    found = []
    for sent in schema.mutants(base, MOST_MUTANTS):
        answer = await subject.job(json.dumps(sent).encode())
        if answer.ok or (answer.status >= 500 and answer.status != 503):
            seen = f"{_shown(sent)} does not fit the schema and was answered {answer.status}"
            found.append(Finding(seen, "answer 422 where an input does not fit"))
    return found


def _described(subject: Subject) -> tuple[InputSchema, Mapping[str, Any]]:
    document = subject.document or {}
    schema = document.get("input")
    if not isinstance(schema, Mapping):
        raise NotJudged("there is no schema of its input")
    base = None
    try:
        base = json.loads(subject.valid_input())
    except ValueError:
        pass
    if not isinstance(base, dict) or schema.get("type") != "object":
        raise NotJudged("its input is no JSON object")
    return InputSchema(schema), base


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."


CHECKS = (
    Check("schema.same", "GET and POST /schema agree", "should", "any", same),
    Check(
        "schema.accepts", "what fits the schema is taken", "should", "batch", accepts, by="caller"
    ),
    Check(
        "schema.refuses", "what does not fit is refused", "should", "batch", refuses, by="caller"
    ),
)
