"""Jobs: answered, bounded by the capacity, and gone with their caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import aiohttp

from livepeer.runner.doctor.container import Heard
from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged
from livepeer.runner.doctor.subject import Subject

LONG_SECONDS = 0.3
"""Jobs that are shorter never fill the places: what runs at once is not seen."""
MOST_PLACES = 32
LEAVE_SECONDS = 0.1
TRY_SECONDS = 0.25


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
    alone = (await subject.good_job()).seconds
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
    # Where the places are real, somebody waits for another's end, or is refused.
    if all(one.ok for one in answered) and max(one.seconds for one in answered) < 1.5 * alone:
        return [Finding(f"{places + 1} jobs ran at once", fix)]
    return []


async def disconnect(subject: Subject) -> Sequence[Finding]:
    alone = (await subject.good_job()).seconds
    leavers = (subject.capacity or 4) + 1 if (subject.capacity or 4) <= MOST_PLACES else 4
    tasks = [asyncio.create_task(_leave(subject)) for _ in range(leavers)]
    await asyncio.wait(tasks)
    deadline = time.monotonic() + 2 * alone + subject.patience.gone
    answer = await subject.job()
    while answer.status in (429, 503) and time.monotonic() < deadline:
        await asyncio.sleep(TRY_SECONDS)
        answer = await subject.job()
    if answer.status in (429, 503):
        return [
            Finding(
                f"after {leavers} callers left, it still answers {answer.status}",
                "give the place back when the caller's connection is gone",
            )
        ]
    return []


async def _leave(subject: Subject) -> None:
    """A caller who goes before the answer."""
    headers = {"Content-Type": "application/json"}
    with suppress(TimeoutError, aiohttp.ClientError):
        async with (
            asyncio.timeout(LEAVE_SECONDS),
            subject.request("POST", subject.route, subject.valid_input(), headers) as answer,
        ):
            await answer.content.readany()


def _places(subject: Subject) -> int:
    if subject.capacity is None:
        raise NotJudged("nothing tells the capacity: say --capacity")
    if subject.capacity > MOST_PLACES:
        raise NotJudged(f"the capacity is {subject.capacity}: more than the doctor fills")
    return subject.capacity


CHECKS = (
    Check("batch.answers", "a valid job is answered", "must", "batch", answers),
    Check("batch.content-type", "the answer names its type", "should", "batch", content_type),
    Check("batch.capacity", "what is over the capacity is refused", "must", "batch", capacity),
    Check("batch.disconnect", "who leaves frees his place", "must", "batch", disconnect),
)
