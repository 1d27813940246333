"""Every recorded scenario of the reference server, replayed against ours over raw sockets."""

import asyncio
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from livepeer.trickle.server import TrickleServer

from .replay.trickle_server import Scenario, Step, load_scenarios, replay
from .replay.trickle_targets import EmbeddedTarget

FIXTURE = Path(__file__).parents[2] / "specs" / "fixtures" / "trickle" / "server.json"
SCENARIOS = {scenario.name: scenario for scenario in load_scenarios(FIXTURE)}
AT_ONCE = 40

VIDEO = "video/MP2T"


def told(conn: str, status: int, headers: dict[str, Any] | None = None, **expect: Any) -> Step:
    """A whole short answer on a connection that stays."""
    answer = {"status": status, "headers": headers or {}, "ended": True, "closed": False}
    return {"conn": conn, "expect": {**answer, **expect}}


def next_is(conn: str, number: int) -> Step:
    return told(conn, 200, {"Lp-Trickle-Latest": str(number)}, pieces=[str(number)])


def segment(conn: str, seq: int, text: str, *, latest: int | None, **expect: Any) -> Step:
    headers = {"Content-Type": VIDEO, "Lp-Trickle-Seq": str(seq)}
    if latest is not None:
        headers["Lp-Trickle-Latest"] = str(latest)
    return told(conn, 200, headers, pieces=[text], **expect)


def feed(conn: str, seq: int, added: str, *, latest: int | None) -> Step:
    entry = segment(conn, seq, f'{{"added":["{added}"]}}', latest=latest)
    entry["expect"]["headers"]["Content-Type"] = "application/json"
    return entry


def ended(conn: str, text: str) -> Step:
    """The rest of a segment that was begun before."""
    return {"conn": conn, "expect": {"pieces": [text], "ended": True, "closed": False}}


def refused(conn: str, status: int, **headers: str) -> Step:
    """A POST that is told to go away: what it still sends finds a closed connection."""
    answer = {"status": status, "headers": {"Connection": "close", **headers}, "ended": True}
    return {"conn": conn, "expect": answer}


BAD = [told("c", 400)]
CLOSED = {"headers": {}, "ended": True, "closed": True}
NOTHING: list[Step] = []
"""In place of a step: it is left out."""

# The one list of what we do otherwise than go-livepeer: the reason, and for each step that differs
# the steps that happen here instead. Each entry is checked both ways: it happens as listed, and
# not as recorded. `specs/trickle.md` says more about the reasons.
DIFFERENCES: dict[str, tuple[str, dict[int, list[Step]]]] = {
    "post_next_overlap": (
        "two writers of one segment: the later one takes over, the earlier one is told 409",
        {
            10: [refused("p1", 409, **{"Lp-Trickle-Seq": "0"})],
            11: [{"conn": "sub", "blocks": True}],
            14: [told("p2", 200, {"Lp-Trickle-Seq": "0"}), ended("sub", "c")],
        },
    ),
    "post_same_while_open": (
        "two writers of one segment: the later one takes over, the earlier one is told 409",
        {
            7: [refused("p1", 409, **{"Lp-Trickle-Seq": "0"}), {"conn": "sub", "blocks": True}],
            11: NOTHING,
            12: NOTHING,
            13: NOTHING,
            15: [segment("sub2", 0, "ab", latest=1)],
        },
    ),
    "delete_segment_open_post": (
        "bytes after a segment was closed are dropped",
        {11: [segment("r0", 0, "a", latest=1)]},
    ),
    "ring_read_replaces_open_segment": (
        "a GET that takes the slot of an open segment ends its readers, as a POST does",
        {
            14: [{"conn": "r5", "blocks": True}, ended("r0", "")],
            19: NOTHING,
            23: NOTHING,
            26: NOTHING,
        },
    ),
    "ring_overwrite_idle_post": (
        "an idle POST that lost its slot does not move the next write back",
        {15: [next_is("n", 5)]},
    ),
    "reset_moves_next_back": (
        "an idle POST that a reset ended does not move the next write back",
        {
            13: [next_is("n", 4)],
            15: [{"conn": "w", "blocks": True}],
            17: [told("p4", 200, {"Lp-Trickle-Seq": "4"}), segment("w", 4, "s4", latest=None)],
        },
    ),
    "delete_segment_negative": (
        "a negative number is a missing segment; the channel stays as it was",
        {
            5: [told("ctl", 400)],
            9: [segment("sub", 0, "a", latest=1)],
            11: [told("pub", 200, {"Lp-Trickle-Seq": "1"})],
            13: [told("del", 200)],
        },
    ),
    "get_negative": (
        "numbers below -2 are 400, not a dropped connection or a 470",
        {4: BAD, 6: BAD, 8: BAD, 10: BAD, 12: BAD, 14: BAD},
    ),
    "post_negative": (
        "numbers below -1 are 400, not a dropped connection or a write",
        {
            4: BAD,
            6: BAD,
            8: BAD,
            12: BAD,
            14: [next_is("n", 1)],
            16: [{"conn": "m", "blocks": True}],
            18: [told("m5", 400)],
            20: [segment("m2", 0, "a", latest=1)],
        },
    ),
    "post_huge": (
        "2^63-1 is 400: there is no next write after it",
        {
            10: [told("pub", 400)],
            12: [next_is("n", 2**63 - 1)],
            14: [{"conn": "m", "blocks": True}],
        },
    ),
    "idle_preconnect_http_1_0": ("HTTP/1.0 knows no provisional answers", {3: NOTHING}),
    "sweep_long_segment": (
        "every byte keeps a channel, not only the first of a segment",
        {
            9: [{"conn": "r", "blocks": True}],
            11: [told("pub", 200, {"Lp-Trickle-Seq": "0"}), ended("r", "c")],
            13: [next_is("n", 1)],
        },
    ),
    "changes_deleted": (
        "the change feed is the server's: clients can't end it",
        {
            5: [told("c", 403)],
            6: [{"conn": "w", "blocks": True}],
            8: [next_is("sub", 2)],
            10: [feed("g0", 0, "_changes", latest=2)],
            12: [feed("g1", 1, "cam", latest=2)],
            14: [{"conn": "g2", "blocks": True}],
            16: [told("g3", 470, {"Lp-Trickle-Latest": "2", "Lp-Trickle-Seq": "3"})],
            18: [told("g4", 470, {"Lp-Trickle-Latest": "2", "Lp-Trickle-Seq": "4"})],
            20: [told("g5", 470, {"Lp-Trickle-Latest": "2", "Lp-Trickle-Seq": "5"})],
        },
    ),
    "changes_posted": (
        "the change feed is the server's: clients can't write it",
        {
            1: [refused("evil", 403)],
            3: [{"conn": "sub", "blocks": True}],
            5: [told("c", 200), feed("sub", 1, "cam", latest=None)],
            9: [{"conn": "w", "blocks": True}],
            11: [told("c", 200), feed("w", 2, "cam2", latest=None)],
        },
    ),
    "methods_on_segment": (
        "aiohttp's parser refuses methods that no standard knows, and ends the connection",
        {14: [{"conn": "c", "expect": {"status": 400, "version": "HTTP/1.0", **CLOSED}}]},
    ),
}


def amended(scenario: Scenario) -> Scenario:
    """The scenario as it happens on our server."""
    _, changes = DIFFERENCES.get(scenario.name, ("", {}))
    steps = [new for i, step in enumerate(scenario.steps) for new in changes.get(i, [step])]
    return replace(scenario, steps=tuple(steps))


async def replay_all(
    scenarios: Iterable[Scenario], target: type[EmbeddedTarget] = EmbeddedTarget
) -> dict[str, list[str]]:
    """Replay many at once: they mostly wait for silence."""
    running = asyncio.Semaphore(AT_ONCE)

    async def one(scenario: Scenario) -> tuple[str, list[str]]:
        async with running:
            return scenario.name, await replay(scenario, target())

    return dict(await asyncio.gather(*map(one, scenarios)))


def failures(results: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: differences for name, differences in results.items() if differences}


@pytest.fixture(scope="module")
def results() -> dict[str, list[str]]:
    return asyncio.run(replay_all(amended(s) for s in SCENARIOS.values() if not s.slow))


def test_the_transcripts_are_all_there() -> None:
    assert len(SCENARIOS) == 110
    assert set(DIFFERENCES) < set(SCENARIOS)


@pytest.mark.parametrize("name", [name for name, s in SCENARIOS.items() if not s.slow])
def test_our_server_does_what_the_reference_does(name: str, results: dict[str, list[str]]) -> None:
    assert results[name] == [], SCENARIOS[name].about


class MountedTarget(EmbeddedTarget):
    """The server inside somebody's aiohttp application."""

    async def start(self, config: Mapping[str, Any]) -> str:
        self._server = TrickleServer(
            base_path=config["base_path"],
            autocreate=config["autocreate"],
            changefeed=config["changefeed"],
        )
        app = web.Application()
        self._server.mount(app, url="http://application.test")
        self._runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, shutdown_timeout=1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()


THE_APPLICATION_DECIDES = {
    "options_star",  # `*` is no path below the base path
    "publisher_bad_chunk",  # aiohttp tells a handler nothing of it
    "publisher_half_closes",  # aiohttp hangs up
    "publisher_short_body",
}


async def test_mounted_in_an_application_it_does_the_same() -> None:
    fast = [amended(scenario) for scenario in SCENARIOS.values() if not scenario.slow]
    results = await replay_all(fast, MountedTarget)
    assert set(failures(results)) == THE_APPLICATION_DECIDES


async def test_every_listed_difference_really_differs() -> None:
    listed = [SCENARIOS[name] for name in DIFFERENCES if not SCENARIOS[name].slow]
    results = await replay_all(listed)
    assert [name for name, differences in results.items() if not differences] == []


def test_every_recorded_defect_of_the_reference_is_listed() -> None:
    assert {name for name, s in SCENARIOS.items() if s.reference_bug} <= set(DIFFERENCES)


@pytest.mark.slow
async def test_slow_scenarios_happen_as_recorded_or_listed() -> None:
    slow = [scenario for scenario in SCENARIOS.values() if scenario.slow]
    as_recorded = [s for s in slow if s.name in DIFFERENCES]
    now, recorded = await asyncio.gather(replay_all(map(amended, slow)), replay_all(as_recorded))
    assert failures(now) == {}
    assert set(failures(recorded)) == {s.name for s in as_recorded}


def corrupt(scenario: Scenario, index: int, change: dict[str, Any]) -> Scenario:
    steps = list(deepcopy(scenario.steps))
    if "expect" in change:
        steps[index] = {"conn": steps[index]["conn"], **change}
    else:
        steps[index]["expect"].update(change)
    return replace(scenario, name=f"{scenario.name} {index} {change}", steps=tuple(steps))


async def test_the_replay_notices_changed_expectations() -> None:
    wrong: list[Scenario] = []
    for name in (
        "publish_then_read",
        "read_while_writing",
        "empty_posts",
        "ring",
        "http_1_0_reader",
    ):
        scenario = SCENARIOS[name]
        for index, step in enumerate(scenario.steps):
            expect = step.get("expect", {})
            if "ended" in expect:
                wrong.append(corrupt(scenario, index, {"ended": not expect["ended"]}))
            if expect.get("closed"):
                wrong.append(corrupt(scenario, index, {"closed": False}))
            if "status" in expect:
                wrong.append(corrupt(scenario, index, {"status": 201}))
                headers = expect["headers"]
                for header in headers:
                    changed = {**headers, header: headers[header] + "0"}
                    if header != "Content-Length" or expect["status"] < 400:
                        wrong.append(corrupt(scenario, index, {"headers": changed}))
                    if header.startswith("Lp-Trickle-"):
                        fewer = {k: v for k, v in headers.items() if k != header}
                        wrong.append(corrupt(scenario, index, {"headers": fewer}))
            if "pieces" in expect and expect.get("status", 200) < 300:
                wrong.append(corrupt(scenario, index, {"pieces": [*expect["pieces"], "x"]}))
                if expect["pieces"]:
                    wrong.append(corrupt(scenario, index, {"pieces": ["other"]}))
            if step.get("blocks"):
                answer = {"expect": {"status": 200, "headers": {}}}
                wrong.append(corrupt(scenario, index, answer))
    wrong = wrong[::3]
    assert len(wrong) > 40
    results = await replay_all(wrong)
    assert [name for name, differences in results.items() if not differences] == []
