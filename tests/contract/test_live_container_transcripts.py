"""A served live pipeline against what an orchestrator was recorded to send it (replayer 2)."""

from __future__ import annotations

import asyncio

from .replay.live_container import replay, trickle_server
from .replay.transcript import Mismatch, Scenario, load, told

_STATUS = "Stream answers are 200, 404, 422, 500 or 503; a stop is always 200."
_WHOLE = "Every request gets one whole answer, and none is a redirect."
_404 = "Parameters for a stream that does not run are 404: nobody would ever see them."
_JSON = "Parameters are a JSON object: anything else is 422."

#: Every scenario that a served pipeline does not reproduce, and why. One that passes must leave.
DIFFERENCES = {
    "start_url_with_path": "Routes are at the root; a proxy in front may take a prefix away.",
    **dict.fromkeys(
        (
            "start_status_201",
            "start_status_204",
            "start_status_304",
            "start_status_400",
            "start_status_401",
            "start_status_402",
            "start_status_403",
            "start_status_404",
            "start_status_409",
            "start_status_429",
            "update_status_201",
            "update_status_204",
            "update_status_400",
            "update_status_401",
            "update_status_404",
            "update_status_503",
            "stop_status_204",
            "stop_status_400",
            "stop_status_401",
            "stop_status_404",
            "stop_status_500",
        ),
        _STATUS,
    ),
    **dict.fromkeys(("start_answer_cut", "start_redirect", "start_closes"), _WHOLE),
    "capacity_streams": "Capacity is enforced: with one slot the second stream is 503.",
    "capacity_mixed": "A live pipeline has no batch jobs: any other route is 404.",
    **dict.fromkeys(("update_text", "update_large"), _JSON),
    **dict.fromkeys(
        ("update_unknown_stream", "update_no_stream_id", "update_get", "update_after_stop"), _404
    ),
}


SCENARIOS = [
    scenario
    for scenario in load("stream").scenarios
    if any("container" in step and step.get("receives") for step in scenario.steps)
]
SAME = [one.name for one in SCENARIOS if one.name not in DIFFERENCES]


Outcome = dict[str, Mismatch | None]


async def play(scenarios: list[Scenario]) -> Outcome:
    """Replays them all, many at once, each against a container of its own."""
    room = asyncio.Semaphore(16)

    async with trickle_server() as trickle:

        async def attempt(scenario: Scenario) -> Mismatch | None:
            async with room:
                try:
                    await replay(scenario, trickle)
                except Mismatch as mismatch:
                    return mismatch
                return None

        results = await asyncio.gather(*(attempt(scenario) for scenario in scenarios))
    return {one.name: result for one, result in zip(scenarios, results, strict=True)}


def test_a_served_live_pipeline_answers_as_was_recorded() -> None:
    assert told(asyncio.run(play([one for one in SCENARIOS if one.name in SAME]))) == ""


def test_every_listed_difference_is_still_one() -> None:
    outcome = asyncio.run(play([one for one in SCENARIOS if one.name in DIFFERENCES]))
    assert [name for name, mismatch in outcome.items() if mismatch is None] == []


def test_the_counts_are_what_the_specification_says() -> None:
    assert (len(SAME), len(DIFFERENCES)) == (69, 33)
