"""Every example that needs no model of others is what the network needs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from livepeer.runner.doctor.examination import Examination
from livepeer.runner.targets.hosting import opened
from livepeer.runner.targets.reference import target_of

EXAMPLES = Path(__file__).parents[4] / "examples"
PLAIN = ("hello_world", "live_grayscale", "live_tint")


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
async def test_an_example_is_clean(name: str) -> None:
    async with asyncio.timeout(240), opened(target_of(str(EXAMPLES / name))) as target:
        diagnosis = await Examination(quick=True, attack=True).of(target, name)
    assert diagnosis.problems == []
    assert diagnosis.count("passed") > 10
