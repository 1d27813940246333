"""Jobs: answered, bounded by the capacity, and gone with their caller."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import aiohttp

from livepeer.runner.doctor.container import Heard
from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged
from livepeer.runner.doctor.listeners import stranger
from livepeer.runner.doctor.subject import Subject

LONG_SECONDS = 0.3
"""Jobs that are shorter never fill the places: what runs at once is not seen."""
MOST_PLACES = 32
LEAVE_SECONDS = 0.1
TRY_SECONDS = 0.25
SLACK_SECONDS = 1.0
MOST_FIELDS = 4


async def answers(subject: Subject) -> Sequence[Finding]:
    answer = await subject.first_job()
    if answer.ok:
        return []
    return [
        Finding(
            f"POST {subject.route} with a valid input answered {answer}",
            "answer a job with 200 and its result; say --input where this one is not valid",
        )
    ]


async def content_type(subject: Subject) -> Sequence[Finding]:
    answer = await subject.good_job()
    if answer.media_type or not answer.body:
        return []
    return [Finding("the answer has no Content-Type", "name the media type of every body")]


async def capacity(subject: Subject) -> Sequence[Finding]:
    places = _places(subject)
    alone = (await subject.warm_job()).seconds
    if alone < LONG_SECONDS:
        raise NotJudged(f"a job takes {alone:.2f} s: say --input with one that takes longer")
    jobs = [asyncio.create_task(subject.job()) for _ in range(places + 1)]
    try:
        results = await asyncio.gather(*jobs, return_exceptions=True)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    answered = [one for one in results if isinstance(one, Heard)]
    fix = f"refuse what is over the capacity ({places}) with 503: an orchestrator enforces nothing"
    odd = [one for one in answered if not one.ok and one.status not in (429, 503)]
    if odd:
        return [Finding(f"{places + 1} jobs at once: one was answered {odd[0]}", fix)]
    # Where the places are real, somebody is refused, or begins at another's end: a job later.
    took = sorted(one.seconds for one in answered)
    if all(one.ok for one in answered) and took[-1] - took[0] < alone / 2:
        return [Finding(f"{places + 1} jobs ran at once", fix)]
    return []


async def disconnect(subject: Subject) -> Sequence[Finding]:
    alone = (await subject.good_job()).seconds
    leavers = (subject.capacity or 4) + 1 if (subject.capacity or 4) <= MOST_PLACES else 4
    tasks = [asyncio.create_task(_leave(subject)) for _ in range(leavers)]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
    answer = await _job_in_time(subject, time.monotonic() + 2 * alone + subject.patience.gone)
    if answer.status in (429, 503):
        return [
            Finding(
                f"after {leavers} callers left, it still answers {answer.status}",
                "give the place back when the caller's connection is gone",
            )
        ]
    return []


async def _leave(subject: Subject, seconds: float = LEAVE_SECONDS) -> None:
    """A caller who goes before the answer."""
    headers = {"Content-Type": "application/json"}
    with suppress(TimeoutError, aiohttp.ClientError):
        async with (
            asyncio.timeout(seconds),
            subject.request("POST", subject.route, subject.valid_input(), headers) as answer,
        ):
            await answer.content.readany()


async def failure(subject: Subject) -> Sequence[Finding]:
    """A job that is valid and fails."""
    if subject.failing is None:
        raise NotJudged("no input is known that fails: say --failing '{...}'")
    fix = "answer a job that failed with 500 and its reason, and go on"
    answer = await subject.job(subject.failing)
    if answer.media_type.lower() == "text/event-stream":
        return []  # its status was gone already: see sse.error
    if answer.status < 400:
        return [Finding(f"a job that fails was answered {answer.status}", fix)]
    if answer.status in (401, 409):
        return [Finding(f"a job that fails was answered {answer.status}", fix)]
    if not answer.body:
        return [Finding(f"a job that fails was answered {answer.status} without a word", fix)]
    after = await subject.job()
    if after.ok:
        return []
    return [Finding(f"after a job that failed, a valid one was answered {after}", fix)]


async def timeout(subject: Subject) -> Sequence[Finding]:
    """A caller with a limit: at its end an orchestrator closes the connection, and says no more."""
    alone = (await subject.good_job()).seconds
    if alone < LONG_SECONDS:
        raise NotJudged(f"a job takes {alone:.2f} s: say --input with one that takes longer")
    if subject.capacity is None or subject.capacity > MOST_PLACES:
        raise NotJudged(f"nothing tells a capacity of at most {MOST_PLACES}: say --capacity")
    for _ in range(3):
        await asyncio.gather(*(_leave(subject, alone / 3) for _ in range(subject.capacity)))
    began = time.monotonic()
    answer = await _job_in_time(subject, began + subject.patience.gone)
    # Jobs that nobody waits for any more go first, one after the other, where they are not ended.
    if answer.ok and time.monotonic() - began < 3 * alone + SLACK_SECONDS:
        return []
    how = "late" if answer.ok else str(answer)
    return [
        Finding(
            f"after jobs that outlasted their callers' limit, the next one was answered {how}",
            "end a job, or its turn, once its connection is closed: the limit of the caller's job "
            "is kept by the orchestrator, which only hangs up",
        )
    ]


async def own_limit(subject: Subject) -> Sequence[Finding]:
    """A job that the container itself gives up, since it takes too long."""
    if subject.overlong is None:
        raise NotJudged("no input is known that outlasts its own limit: say --overlong '{...}'")
    fix = (
        "answer a job that was given up for its length with 504 and a reason, and go on: 503 says "
        "that it never ran, 4xx that its caller is to blame"
    )
    answer = await subject.job(subject.overlong)
    if answer.media_type.lower() == "text/event-stream":
        return []  # its status was gone already: see sse.error
    if answer.status < 500 or answer.status == 503:
        return [Finding(f"a job that outlasts its limit was answered {answer.status}", fix)]
    if not answer.body:
        seen = f"a job that outlasts its limit was answered {answer.status} without a word"
        return [Finding(seen, fix)]
    after = await _job_in_time(subject, time.monotonic() + subject.patience.gone)
    if after.ok:
        return []
    return [Finding(f"after a job that outlasted its limit, a valid one was answered {after}", fix)]


async def _job_in_time(subject: Subject, deadline: float) -> Heard:
    """A valid job's answer, asked for again while there is no place, up to that moment."""
    answer = await subject.job()
    while answer.status in (429, 503) and time.monotonic() < deadline:
        await asyncio.sleep(TRY_SECONDS)
        answer = await subject.job()
    return answer


async def private_urls(subject: Subject) -> Sequence[Finding]:
    """A file named by a URL of this machine, which no caller of the network may reach."""
    try:
        base = json.loads(subject.valid_input())
    except ValueError:
        base = None
    schema = (subject.document or {}).get("input")
    fields = schema.get("properties") if isinstance(schema, Mapping) else None
    named = [
        name
        for name, field in (fields or {}).items()
        if isinstance(field, Mapping) and field.get("format") in ("file", "uri")
    ]
    if not named or not isinstance(base, dict):
        raise NotJudged("its input has no file and no URL at its top")
    found = []
    for name in named[:MOST_FIELDS]:
        async with stranger(subject.host or "127.0.0.1") as other:
            asked = asyncio.create_task(
                subject.job(json.dumps({**base, name: f"{other.url}/doctor"}).encode())
            )
            came = asyncio.create_task(other.connected.wait())
            try:
                await asyncio.wait((asked, came), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (asked, came):
                    task.cancel()
                await asyncio.wait((asked, came))
            if other.connected.is_set():
                seen = f"{name} with a URL of a private address made it connect there"
                fix = "fetch from public addresses only, after each redirect too"
                found.append(Finding(seen, fix))
    return found


def _places(subject: Subject) -> int:
    if subject.capacity is None:
        raise NotJudged("nothing tells the capacity: say --capacity")
    if subject.capacity > MOST_PLACES:
        raise NotJudged(f"the capacity is {subject.capacity}: more than the doctor fills")
    return subject.capacity


CHECKS = (
    Check("batch.answers", "a valid job is answered", "must", "batch", answers, by="caller"),
    Check(
        "batch.content-type",
        "the answer names its type",
        "should",
        "batch",
        content_type,
        by="caller",
    ),
    Check("batch.failure", "a failure is told", "should", "batch", failure, by="caller"),
    Check("batch.capacity", "what is over the capacity is refused", "must", "batch", capacity),
    Check("batch.disconnect", "who leaves frees his place", "must", "batch", disconnect),
    Check("batch.timeout", "a caller's limit ends his job", "should", "batch", timeout),
    Check("batch.own-limit", "its own limit is told", "should", "batch", own_limit, by="caller"),
    Check("batch.private-urls", "it fetches nothing from within", "should", "batch", private_urls),
)
