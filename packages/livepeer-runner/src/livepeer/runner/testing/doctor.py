"""The doctor for authors' own tests."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from livepeer.runner.doctor.examination import Examination
from livepeer.runner.targets.hosting import OpenTarget, opened
from livepeer.runner.targets.reference import target_of
from livepeer.runner.testing.http import client

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping
    from typing import Any

    from livepeer.runner.author.pipeline import PipelineBase
    from livepeer.runner.doctor.diagnosis import Diagnosis


def doctor(
    target: type[PipelineBase] | str,
    *,
    input: Mapping[str, Any] | None = None,
    failing: Mapping[str, Any] | None = None,
    overlong: Mapping[str, Any] | None = None,
    route: str | None = None,
    capacity: int | None = None,
    token: str | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    quick: bool = True,
    attack: bool = False,
) -> Diagnosis:
    """Examine a class, served on the loopback, or whatever `livepeer doctor` takes: the URL of a
    container, an image (which is run), a file of a pipeline (in a process of its own).

        assert doctor(Sentiment).problems == []

    `input` is a valid job, by default one of the schema; `failing` one that is valid and fails,
    without which failures are not judged; `overlong` one that takes longer than the target's own
    limit, which is not judged without. `route` is the path of its jobs, `capacity` how many it
    takes at once where it does not say so, `token` what it wants as its bearer token. `only` and
    `skip` name groups or checks; `quick` leaves out what takes over ten seconds. Raises
    `CannotExamine`, and `TargetError` for what does not come up.
    """
    examination = Examination(
        route=route,
        input=None if input is None else json.dumps(input).encode(),
        failing=None if failing is None else json.dumps(failing).encode(),
        overlong=None if overlong is None else json.dumps(overlong).encode(),
        capacity=capacity,
        token=token,
        only=only,
        skip=skip,
        quick=quick,
        attack=attack,
    )
    if isinstance(target, str):
        return _alone(_started(examination, target))
    with client(target) as served:
        there = OpenTarget(str(served.base_url).rstrip("/"))
        return _alone(examination.of(there, target.__name__))


async def _started(examination: Examination, target: str) -> Diagnosis:
    async with opened(target_of(target)) as there:
        return await examination.of(there, target)


def _alone(work: Coroutine[Any, Any, Diagnosis]) -> Diagnosis:
    # In a thread: the caller may have a loop of its own that runs.
    with ThreadPoolExecutor(1, thread_name_prefix="doctor") as thread:
        return thread.submit(asyncio.run, work).result()
