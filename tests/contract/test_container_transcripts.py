"""A served pipeline against what an orchestrator was recorded to send a container (replayer 2).

Only what the container's side of a scenario shows is replayed. A recorded answer is given by a
`predict` that returns, raises or yields it; where no `predict` can, the scenario is in the table of
differences below, with the reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from livepeer.runner import Pipeline

from .replay.container import Anything, answer_to, replay, served
from .replay.transcript import Mismatch, Scenario, load, told

FILES = ("batch", "sse")

_ROUTE = "A container of ours has one job, /predict; any other route is 404 and names it."
_TYPED = "An input is typed: a body that is no JSON of it is 422, whatever its Content-Type."
_200 = "A job that succeeds is 200; an orchestrator makes 200 of all that is below 400 anyway."
_HEADERS = "A pipeline sets no headers; an orchestrator would drop them."
_PLAIN = "Answers are not compressed; between a container and its orchestrator it costs more."
_WHOLE = "Every request gets one whole answer: a connection without one drops the capability."
_401 = "A pipeline cannot answer 401, which drops the capability: its caller gets 500."
_DONE = "A stream always ends with a bare `data: [DONE]` event."
_EVENTS = "The SDK makes the events: JSON data, `progress`, `error`, heartbeats, no other lines."

#: Every scenario that a served pipeline does not reproduce, and why. One that passes must leave.
DIFFERENCES = {
    "batch": {
        **dict.fromkeys(
            (
                "path_two_pieces",
                "path_three_pieces",
                "path_empty",
                "path_escaped_blank",
                "path_escaped_slash",
                "path_escaped_question",
                "path_escaped_hash",
                "path_utf8",
            ),
            _ROUTE,
        ),
        **dict.fromkeys(("body_text", "body_binary", "body_5mb"), _TYPED),
        **dict.fromkeys(
            (
                "status_201",
                "status_202",
                "status_204",
                "status_206",
                "status_304",
                "status_399",
                "status_301",
                "status_301_no_location",
                "status_307",
                "status_101",
                "provisional",
            ),
            _200,
        ),
        **dict.fromkeys(("answer_metadata", "answer_header_case"), _HEADERS),
        **dict.fromkeys(("answer_gzip", "answer_deflate"), _PLAIN),
        **dict.fromkeys(
            (
                "answer_early",
                "closes_unanswered",
                "closes_mid_body",
                "closes_mid_chunked",
                "closes_mid_error",
                "not_http",
            ),
            _WHOLE,
        ),
        "closes_idle_connection": "Idle connections are kept for 75 s, longer than theirs live.",
        "answer_no_type": "Every answer has a Content-Type.",
        "answer_empty": "An empty body is no JSON: a result of type None is `null`.",
        "caller_leaves_mid_answer": "A result leaves in one piece, so there is no middle of it.",
        "status_401": _401,
        "status_401_stays_away": _401,
        "over_capacity": "Capacity is enforced: with one slot the others wait for it.",
    },
    "sse": {
        **dict.fromkeys(
            (
                "event_id_retry",
                "comment",
                "multi_line_data",
                "crlf",
                "cr",
                "bom_utf8",
                "blank_runs",
                "done_without_data",
                "done_no_blank",
                "done_in_comment",
                "done_lower",
                "headers_wait_for_line",
                "container_dies_mid_line",
                "pings",
                "event_of_many_lines",
            ),
            _EVENTS,
        ),
        **dict.fromkeys(("line_65535", "line_65536", "line_100000"), _EVENTS + " Long ones fold."),
        **dict.fromkeys(("done_absent", "done_without_newline", "empty_stream"), _DONE),
        "after_done": "Nothing comes after the end.",
        "container_dies": _WHOLE,
        **dict.fromkeys(
            ("type_charset", "type_capitals"),
            "The type is `text/event-stream` as an orchestrator wants it.",
        ),
        "other_headers": _HEADERS,
        "gzip_stream": _PLAIN,
        "status_201": _200,
        "status_401": _401,
    },
}


def replayed(*, different: bool) -> list[tuple[str, Scenario]]:
    """The scenarios in which a request reaches the container."""
    return [
        (file, scenario)
        for file in FILES
        for scenario in load(file).scenarios
        if any("container" in step and step.get("receives") for step in scenario.steps)
        and (scenario.name in DIFFERENCES[file]) is different
    ]


def ids(pairs: Iterable[tuple[str, Scenario]]) -> list[str]:
    return [f"{file}-{scenario.name}" for file, scenario in pairs]


SAME, DIFFERENT = replayed(different=False), replayed(different=True)


Outcome = dict[str, Mismatch | None]


async def play(pairs: list[tuple[str, Scenario]]) -> Outcome:
    """Replays them all, many at once, each against a container of its own."""
    room = asyncio.Semaphore(16)

    async def attempt(scenario: Scenario) -> Mismatch | None:
        async with room:
            try:
                await replay(scenario)
            except Mismatch as mismatch:
                return mismatch
            return None

    results = await asyncio.gather(*(attempt(scenario) for _, scenario in pairs))
    return dict(zip(ids(pairs), results, strict=True))


def test_a_served_pipeline_answers_as_was_recorded() -> None:
    assert told(asyncio.run(play(SAME))) == ""


def test_every_listed_difference_is_still_one() -> None:
    outcome = asyncio.run(play(DIFFERENT))
    assert [name for name, mismatch in outcome.items() if mismatch is None] == []


def test_the_counts_and_the_table_are_what_the_specification_says() -> None:
    listed = {(file, name) for file, names in DIFFERENCES.items() for name in names}
    assert listed == {(file, scenario.name) for file, scenario in DIFFERENT}
    assert (len(SAME), len(DIFFERENT)) == (80, 68)


class Open(Pipeline):
    capacity = 4

    async def predict(self, request: Anything) -> dict[str, bool]:
        return {"ok": True}


async def test_every_recorded_request_gets_one_whole_answer_that_keeps_the_capability() -> None:
    """A lost connection or a 401 would drop it, a redirect would carry the bearer token away."""
    count = 0
    async with served(Open, 4) as (service, port):
        for _, scenario in SAME + DIFFERENT:
            for step in scenario.steps:
                if "container" in step and (recorded := step.get("receives")):
                    answer = await answer_to(port, recorded)
                    assert answer.ended and not answer.broken, scenario.name
                    assert answer.status in (200, 404, 405, 422), scenario.name
                    if answer.status != 200:
                        assert json.loads(answer.body)["error"]["message"]
                    count += 1
        assert service.lifecycle.slots.taken == 0
    assert count == 157
