"""The registration half of the recorded live runners (replayer 2), and the parts by themselves.

The transcripts are `specs/fixtures/byoc/live-runner.json`, recorded from go-livepeer.
"""

import asyncio
import json
from typing import Any

import pytest

from livepeer.runner.attach.client import RegistryAnswer
from livepeer.runner.attach.live_runner import answers
from livepeer.runner.attach.live_runner.record import metadata
from livepeer.runner.registration import Capability, Registration, Timing

from .runner_registry import SCENARIOS, RunnerRegistry, exchanges

LIMIT = 60.0
QUICK = Timing(request=5.0, unregister=5.0, retry_first=0.02, retry_most=0.1)


def heartbeats(*groups: str) -> list[Any]:
    """Each recorded heartbeat with its answer, and whether the orchestrator's secret came along."""
    return [
        pytest.param(sent, received, id=f"{name}-{number}")
        for name, scenario in SCENARIOS.items()
        if scenario["group"] in groups
        for number, (sent, received) in enumerate(exchanges(name, "/runners/heartbeat"))
    ]


@pytest.mark.parametrize(("sent", "received"), heartbeats("heartbeat", "unregister", "session"))
def test_the_answer_to_a_heartbeat_is_understood(
    sent: dict[str, Any], received: dict[str, Any]
) -> None:
    """What the reference took is a lease or goes on; what it refused is told the operator."""
    bootstrap = not sent["headers"].get("Authorization", "").startswith("${heartbeat_secret")
    if received["status"] == 200:
        text = json.dumps(received["json"])
        assert answers.sessions(text) == frozenset(received["json"]["session_ids"])
        if "heartbeat_secret" in received["json"]:
            lease = answers.lease(text, "mine")
            assert (lease.interval, lease.ttl) == (5.0, 20.0)
            assert lease.events_url
            assert "heartbeat_secret" not in repr(lease) and lease.events_url not in repr(lease)
        return
    answer = RegistryAnswer(received["status"], received["body"])
    reason, verdict = (answers.first if bootstrap else answers.later)(answer)
    assert str(received["status"]) in reason
    text = received["body"].strip()
    if not bootstrap:
        assert verdict == "again"
    elif text in ("runner not found", "invalid heartbeat authorization"):
        assert verdict == "passing"
    else:
        assert verdict == "final"
    if bootstrap and text == "invalid registration authorization":
        assert "LIVEPEER_ORCH_SECRET" in reason


#: What the operator is told of each text, by what it answers. Those below the line were read in the
#: source (`ai/runner/live_runner.go`, `server/ai_http.go`) and are in no recording.
TOLD = {
    "heartbeat": {
        "unexpected EOF": "did not reach it whole",
        "EOF": "did not reach it whole",
        "invalid runner_url": "set LIVEPEER_CAPABILITY_URL",
        "app must be trimmed": "set LIVEPEER_APP",
        "status must be lowercase and trimmed": "update livepeer-runner",
        'mode must be "persistent" or "single-shot"': "update go-livepeer",
        "capacity must be >= 0": "set LIVEPEER_CAPACITY",
        "json: cannot unmarshal string into Go struct field LiveRunnerHeartbeatRequest.capacity "
        "of type int": "update livepeer-runner, or go-livepeer",
        "metadata must be at most 1024 bytes": "shorten it",
        "metadata must not contain Unicode replacement character U+FFFD": "no clean text",
        'json: invalid number literal, trying to unmarshal "\\"x\\"" into Number': "no number",
        "invalid registration authorization": "set LIVEPEER_ORCH_SECRET",
        "invalid heartbeat authorization": "another runner has this id",
        "runner not found": "an earlier runner of this id",
        # ---
        "live runners are not supported": "start it with -useLiveRunners",
        "dynamic live runner registration is disabled": "start it with -orchSecret",
        "static runner cannot heartbeat": "listed as a static runner",
        "price_info.price is required": "set LIVEPEER_APP_PRICE",
        "price_info.price must be a positive decimal": "above 0",
        "price_info.currency must be usd": "in USD only",
        "price_info.unit must be hour, 720p, or fixed": "set LIVEPEER_APP_PRICE_UNIT",
    },
    "unregister": {
        "invalid authorization": "another runner has this id",
        "Method Not Allowed": "it answered 405",
        # ---
        "static runner cannot unregister with heartbeat credentials": "take it off that list",
    },
    "session": {
        "channels is required": "update livepeer-runner",
        "channels cannot contain more than 25 entries": "update livepeer-runner",
        "json: cannot unmarshal string into Go struct field liveRunnerTrickleChannelsRequest."
        "channels of type server.liveRunnerTrickleChannelRequest": "update livepeer-runner",
        "trickle channel name is required": "update livepeer-runner",
        "trickle channel name may only contain alphanumerics, underscores, or hyphens": "update",
        "unexpected EOF": "did not reach it whole",
        "invalid authorization": "reserve another",
        "runner session not found": "the session is over",
        "trickle channel not found": "the channel has ended",
        # ---
        "runner not found": "registers anew",
    },
}


def recorded_texts() -> set[tuple[str, int, str]]:
    """What runners were refused with, and what they had asked for."""
    found = set()
    for scenario in SCENARIOS.values():
        path = ""
        for step in scenario["steps"]:
            path = step.get("send", {}).get("path", path)
            received = step.get("receives") or {}
            if "caller" in step and received.get("status", 200) >= 400:
                text = received.get("body", "").strip()
                if path.endswith("/heartbeat"):
                    found.add(("heartbeat", received["status"], text))
                elif path.endswith("/unregister"):
                    found.add(("unregister", received["status"], text))
                elif path.startswith("/runner/") and not path.endswith("/proxy"):
                    found.add(("session", received["status"], text))
    return found - {("unregister", 404, "runner not found")}  # that is what was wanted


def texts() -> list[tuple[str, int, str]]:
    recorded = recorded_texts()
    known = {(kind, text) for kind, _, text in recorded}
    more = {
        (kind, 404 if text.startswith(("live", "dynamic", "runner")) else 400, text)
        for kind, table in TOLD.items()
        for text in table
        if (kind, text) not in known
    }
    return sorted(recorded | more)


@pytest.mark.parametrize(("kind", "status", "text"), texts())
def test_every_text_of_the_reference_is_a_sentence_for_the_operator(
    kind: str, status: int, text: str
) -> None:
    answer = RegistryAnswer(status, f"{text}\n")
    match kind:
        case "heartbeat":
            sentence, _ = answers.first(answer)
        case "unregister":
            sentence = answers.unregistering(answer) or ""
        case _:
            sentence = answers.of_session(answer)
    assert TOLD[kind][text] in sentence
    assert f"{status} {text}"[:200] in sentence  # what they said stays findable


def test_our_heartbeat_has_only_fields_and_types_that_the_reference_took() -> None:
    known: dict[str, set[type]] = {}
    for name, scenario in SCENARIOS.items():
        if scenario["group"] == "heartbeat" and name != "unknown_fields":
            for sent, received in exchanges(name, "/runners/heartbeat"):
                if received["status"] == 200:
                    for key, value in sent["body"]["json"].items():
                        known.setdefault(key, set()).add(type(value))

    async def ours() -> dict[str, Any]:
        capability = Capability(
            name="echo", url="http://h:1", app="org/echo", app_version="1", price_usd=0.5
        )
        async with RunnerRegistry() as registry:
            kept = Registration(
                registry.url,
                registry.secret,
                capability=capability,
                kind="live-runner",
                timing=QUICK,
                metadata=lambda: {"sdk": "x"},
            )
            async with kept, asyncio.timeout(LIMIT):
                await kept.settled()
                return registry.one.record

    told = asyncio.run(ours())
    for key, value in told.items():
        assert type(value) in known[key], key
    assert set(told) <= set(known)
    recorded = SCENARIOS["first_full"]["steps"][0]["send"]["body"]["json"]["price_info"]
    assert set(told["price_info"]) == set(recorded)


class Scripted(RunnerRegistry):
    """Answers what was recorded, one heartbeat after the other, and then as it would itself."""

    def play(self, name: str) -> None:
        for _, received in exchanges(name, "/runners/heartbeat"):
            text = received.get("body") or json.dumps(received["json"])
            self.script.append((received["status"], text))


@pytest.mark.parametrize("name", ["expiry", "expiry_404", "restart_same_id", "second"])
async def test_a_recorded_course_of_heartbeats_ends_registered(name: str) -> None:
    """Whatever was refused on the way: we come back by ourselves, each time under a new id."""
    async with Scripted(interval="50ms") as registry:
        registry.play(name)
        steps = len(registry.script)
        kept = Registration(
            registry.url,
            registry.secret,
            capability=Capability(name="echo", url="http://h:1"),
            kind="live-runner",
            timing=QUICK,
        )
        # The recorded interval is 5 s, which nobody has to wait for.
        registry.script = [
            None if step is None else (step[0], step[1].replace('"5s"', '"50ms"'))
            for step in registry.script
        ]
        async with kept, asyncio.timeout(LIMIT):
            while registry.script or not registry.runners:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while kept.state[0].status != "registered":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        first = [each.body["runner_id"] for each in registry.heartbeats(registry.secret)]
        assert len(set(first)) == len(first)
        assert len(registry.heartbeats()) > steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", 5.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("", 7.0),
        ("5", 7.0),
        ("s", 7.0),
        ("5s x", 7.0),
        (None, 7.0),
        (5, 7.0),
        ("9" * 1000 + "s", 7.0),
    ],
)
def test_durations_are_read_as_go_writes_them(text: object, expected: float) -> None:
    assert answers.seconds(text, 7.0) == expected


@pytest.mark.parametrize(
    "text",
    ["", "[]", "[" * 100_000, "{}", '{"heartbeat_secret": 1}', '{"heartbeat_secret": ""}'],
)
def test_what_is_no_lease_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="its answer"):
        answers.lease(text, "mine")


def test_a_lease_has_bounds_whatever_the_orchestrator_says() -> None:
    for interval, ttl in (("0s", "0s"), ("9999h", "9999h"), ("1ns", "1h")):
        told = {"heartbeat_secret": "s", "heartbeat_interval": interval, "heartbeat_ttl": ttl}
        lease = answers.lease(json.dumps(told), "mine")
        assert 0.05 <= lease.interval <= lease.ttl / 2 <= 1800


class TestMetadata:
    def test_it_is_compact_json(self) -> None:
        assert metadata({"sdk": "a/1", "type": "live"}) == '{"sdk":"a/1","type":"live"}'
        assert metadata({}) == ""

    def test_what_comes_last_is_left_out_where_it_is_too_long(self) -> None:
        told = {"sdk": "a", "schema_url": "b" * 600, "image": "c" * 600}
        assert json.loads(metadata(told)) == {"sdk": "a", "schema_url": "b" * 600}

    def test_a_character_that_the_registry_refuses_is_replaced(self) -> None:
        text = metadata({"sdk": "a\ufffdb", "image": "ü" * 300})
        assert "\ufffd" not in text
        assert len(text.encode()) <= 1024
