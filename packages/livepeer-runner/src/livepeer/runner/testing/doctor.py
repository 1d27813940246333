"""The doctor for authors' own tests."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from livepeer.runner.doctor.examination import Examination
from livepeer.runner.targets.hosting import OpenTarget
from livepeer.runner.testing.http import client

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from livepeer.runner.author.pipeline import PipelineBase
    from livepeer.runner.doctor.diagnosis import Diagnosis


def doctor(
    target: type[PipelineBase] | str,
    *,
    input: Mapping[str, Any] | None = None,
    failing: Mapping[str, Any] | None = None,
    route: str | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    quick: bool = True,
    attack: bool = False,
) -> Diagnosis:
    """Examine a class, served on the loopback, or a container at its URL, as `livepeer doctor`.

        assert doctor(Sentiment).problems == []

    `input` is a valid job, by default one of the schema; `failing` one that is valid and fails, by
    default none is known; `only` and `skip` name groups or checks;
    `quick` leaves out what takes over ten seconds. Raises `CannotExamine`.
    """
    examination = Examination(
        route=route,
        input=None if input is None else json.dumps(input).encode(),
        failing=None if failing is None else json.dumps(failing).encode(),
        only=only,
        skip=skip,
        quick=quick,
        attack=attack,
    )
    if isinstance(target, str):
        return _examined(examination, target, target)
    with client(target) as served:
        return _examined(examination, str(served.base_url).rstrip("/"), target.__name__)


def _examined(examination: Examination, url: str, name: str) -> Diagnosis:
    # In a thread: the caller may have a loop of its own that runs.
    with ThreadPoolExecutor(1, thread_name_prefix="doctor") as thread:
        return thread.submit(asyncio.run, examination.of(OpenTarget(url), name)).result()
