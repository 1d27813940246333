"""Answers that are server-sent events, as go-livepeer reads them: line by line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from livepeer.runner.doctor.container import MOST_BYTES, Heard, named
from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged, SubjectLost
from livepeer.runner.doctor.subject import Subject

LONGEST_LINE = 65_535
DONE = b"data: [DONE]"
CLOSE_SECONDS = 3.0
TYPE = "text/event-stream"


async def content_type(subject: Subject) -> Sequence[Finding]:
    answer = await subject.once(_events)
    if answer.headers.get("Content-Type", "").startswith(TYPE):
        return []
    given = answer.headers.get("Content-Type", "")
    fix = f"send Content-Type: {TYPE}, in small letters: anything else is read as one answer"
    return [Finding(f"events come as {given!r}", fix)]


async def done(subject: Subject) -> Sequence[Finding]:
    body = (await subject.once(_events)).body.replace(b"\r\n", b"\n")
    fix = (
        "end with the bare event `data: [DONE]`, once, also after an error; write [DONE] within a "
        r"payload as \u005bDONE]"
    )
    lines = [line for line in body.split(b"\n") if line]
    marks = [line for line in lines if b"[DONE]" in line]
    if not marks:
        return [Finding("the events end without [DONE]: an orchestrator holds the place", fix)]
    if any(line.rstrip() not in (DONE, b"data:[DONE]") for line in marks):
        return [Finding("[DONE] stands within a payload: callers are cut off there", fix)]
    if len(marks) > 1 or lines[-1] is not marks[-1]:
        return [Finding("[DONE] is not the last line, or comes more than once", fix)]
    last = body.rstrip(b"\n").split(b"\n\n")[-1]
    if b"\n" in last:
        return [Finding("[DONE] shares its event with other lines", fix)]
    return []


async def line_length(subject: Subject) -> Sequence[Finding]:
    longest = max(map(len, (await subject.once(_events)).body.split(b"\n")))
    if longest <= LONGEST_LINE:
        return []
    return [
        Finding(
            f"a line has {longest} bytes",
            f"fold data over lines of at most {LONGEST_LINE} bytes: nothing from a longer one on "
            "arrives",
        )
    ]


async def closes(subject: Subject) -> Sequence[Finding]:
    answer = await subject.once(_events)
    if answer.seconds <= CLOSE_SECONDS or b"[DONE]" not in answer.body:
        return []
    return [
        Finding(
            f"the body stays open for over {CLOSE_SECONDS:g} s after [DONE]",
            "end the answer right after [DONE]: an orchestrator holds the place until it ends",
        )
    ]


async def error(subject: Subject) -> Sequence[Finding]:
    if subject.failing is None:
        raise NotJudged("no input is known that fails amid its events: say --failing '{...}'")
    body = (await _asked(subject, subject.failing)).body.replace(b"\r\n", b"\n")
    fix = (
        "write a failure after the headers as `event: error` with its reason as JSON, and then "
        "`data: [DONE]`: the status is gone, and a caller takes what ends without a word for whole"
    )
    if b"\nevent: error\n" not in b"\n" + body and b"\nevent:error\n" not in b"\n" + body:
        return [Finding("events that fail end without an event that says so", fix)]
    if body.rstrip(b"\n").split(b"\n")[-1].rstrip() not in (DONE, b"data:[DONE]"):
        return [Finding("events that fail end without [DONE]", fix)]
    return []


async def _events(subject: Subject) -> Heard:
    return await _asked(subject, subject.valid_input())


async def _asked(subject: Subject, sent: bytes) -> Heard:
    """The events of a job; `seconds` is what passed from [DONE] to the end. Raises
    `NotJudged` where it answers none."""
    headers = {"Content-Type": "application/json"}
    body, marked, began = bytearray(), 0.0, time.monotonic()
    try:
        async with (
            asyncio.timeout(subject.patience.job),
            subject.request("POST", subject.route, sent, headers) as answer,
        ):
            while len(body) < MOST_BYTES:
                waits = CLOSE_SECONDS + 0.5 - (time.monotonic() - marked) if marked else None
                try:
                    async with asyncio.timeout(waits):
                        chunk = await answer.content.readany()
                except TimeoutError:
                    if not marked:
                        raise
                    break
                if not chunk:
                    break
                body += chunk
                if not marked and b"[DONE]" in body[-len(chunk) - 8 :]:
                    marked = time.monotonic()
    except (aiohttp.ClientError, OSError) as error_:
        raise SubjectLost(f"its events ended with {named(error_)}") from None
    except TimeoutError:
        spent = time.monotonic() - began
        raise SubjectLost(f"its events had no end within {spent:.0f} s") from None
    given = answer.headers.get("Content-Type", "")
    streams = given.lower().startswith(TYPE) or body.startswith((b"data:", b"event:", b": "))
    if not streams or not 200 <= answer.status < 300:
        raise NotJudged("its answer is no stream of events")
    late = time.monotonic() - marked if marked else 0.0
    return Heard(answer.status, answer.headers, bytes(body), late)


CHECKS = (
    Check(
        "sse.content-type",
        "events are text/event-stream",
        "must",
        "batch",
        content_type,
        by="caller",
    ),
    Check("sse.done", "[DONE] is last and alone", "must", "batch", done, by="caller"),
    Check("sse.line-length", "lines are short enough", "must", "batch", line_length, by="caller"),
    Check("sse.closes", "the answer ends after [DONE]", "must", "batch", closes),
    Check("sse.error", "a failure is an event", "must", "batch", error, by="caller"),
)
