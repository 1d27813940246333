"""The recorded scenarios against any trickle server that makes channels on request:

    LIVEPEER_INTEROP_TRICKLE_URL=http://127.0.0.1:2939 scripts/test -m interop tests/interop

A URL with a path names the server's base path. Without the variable nothing runs. Scenarios that
need a fresh server, another configuration or the server's own code are skipped with the reason.
"""

import asyncio
import os
from pathlib import Path

import pytest

from tests.contract.replay.trickle_server import load_scenarios, replay
from tests.contract.replay.trickle_targets import RemoteTarget, for_remote

FIXTURE = Path(__file__).parents[2] / "specs" / "fixtures" / "trickle" / "server.json"
SCENARIOS = {scenario.name: scenario for scenario in load_scenarios(FIXTURE)}
URL = os.environ.get("LIVEPEER_INTEROP_TRICKLE_URL", "")
AT_ONCE = 16

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not URL, reason="not run: LIVEPEER_INTEROP_TRICKLE_URL names no server"),
]


@pytest.fixture(scope="module")
def results() -> dict[str, list[str]]:
    """What differs, by scenario; all run at once because they mostly wait."""

    async def replay_all() -> dict[str, list[str]]:
        running = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> tuple[str, list[str]]:
            scenario = for_remote(SCENARIOS[name], URL)
            if isinstance(scenario, str):
                return name, [scenario]
            async with running:
                return name, await replay(scenario, RemoteTarget(URL))

        return dict(await asyncio.gather(*map(one, SCENARIOS)))

    return asyncio.run(replay_all())


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_server_does_what_the_reference_does(name: str, results: dict[str, list[str]]) -> None:
    reason = for_remote(SCENARIOS[name], URL)
    if isinstance(reason, str):
        pytest.skip(reason)
    assert results[name] == [], SCENARIOS[name].about
