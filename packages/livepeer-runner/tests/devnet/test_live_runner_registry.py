"""The registry of live runners alone: its states against a small model, and its bounds."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from livepeer.runner.devnet.live_runners import registry as registry_module
from livepeer.runner.devnet.live_runners.announcement import heartbeat
from livepeer.runner.devnet.live_runners.registry import RunnerRegistry
from livepeer.runner.devnet.live_runners.runners_file import static_entries
from livepeer.runner.devnet.live_runners.states import (
    LETS_IN,
    TRANSITIONS,
    RunnerRefusal,
    RunnerState,
)

SECRET = "orch-secret"
IDS = ("a", "b")


class Channels:
    """Where channels would be: which are open, and what they were told."""

    def __init__(self) -> None:
        self.open: dict[str, list[tuple[str, str]]] = {}

    def create(self, name: str, channel_name: str, mime_type: str) -> dict[str, str]:
        self.open.setdefault(channel_name, [])
        return {"name": name, "channel_name": channel_name, "mime_type": mime_type}

    def create_o2r(self, channel_name: str) -> dict[str, str]:
        return self.create("o2r", channel_name, "application/json")

    def tell(self, channel_name: str, event: str, session_id: str) -> None:
        self.open[channel_name].append((event, session_id))

    def close(self, channel_name: str) -> None:
        del self.open[channel_name]


def make(**options: Any) -> tuple[RunnerRegistry, Channels]:
    channels = Channels()
    address = "https://orch.test"
    given = {"secret": SECRET, "address": address, "runner_address": address, **options}
    return RunnerRegistry(channels=channels, **given), channels


def says(runner_id: str, **more: Any) -> Any:
    document = {"runner_id": runner_id, "runner_url": "http://r.test", "app": "a/b", **more}
    return heartbeat(json.dumps(document).encode(), check_prices=False)


class Model:
    """What is known of one runner id: all that the reference's rules come to."""

    def __init__(self, ready: bool, capacity: int, now: float, secret: str) -> None:
        self.ready, self.capacity, self.seen, self.secret = ready, capacity, now, secret
        self.sessions: list[str] = []


class RegistryMachine(RuleBasedStateMachine):
    """Two ids, a clock that jumps, secrets that are right, old or wrong."""

    sessions: Bundle[tuple[str, str]] = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.registry, self.channels = make(clock=lambda: self.now)
        self.model: dict[str, Model] = {}
        self.old: list[str] = ["nope"]

    def silent(self, runner_id: str) -> bool:
        return self.now - self.model[runner_id].seen > 20

    def refused(self, status: int, text: str, call: Any) -> None:
        with pytest.raises(RunnerRefusal) as refusal:
            call()
        assert (refusal.value.status, str(refusal.value)) == (status, text)

    @rule(
        runner_id=st.sampled_from(IDS),
        which=st.sampled_from(["orchestrator", "own", "old"]),
        status=st.sampled_from(["", "ready", "loading", "draining"]),
        capacity=st.integers(0, 3),
    )
    def heartbeats(self, runner_id: str, which: str, status: str, capacity: int) -> None:
        known = self.model.get(runner_id)
        shown = {
            "orchestrator": SECRET,
            "own": known.secret if known else self.old[-1],
            "old": self.old[-1],
        }[which]
        said = says(runner_id, status=status, capacity=capacity)
        ready, places = status in ("", "ready"), capacity or 1
        if known is None:
            if shown != SECRET:
                self.refused(
                    401,
                    "invalid registration authorization",
                    lambda: self.registry.heartbeat(said, shown),
                )
                return
            runner, first = self.registry.heartbeat(said, shown)
            assert first
            self.model[runner_id] = Model(ready, places, self.now, runner.heartbeat_secret)
        elif self.silent(runner_id):
            self.refused(404, "runner not found", lambda: self.registry.heartbeat(said, shown))
        elif shown != known.secret:
            self.refused(
                401,
                "invalid heartbeat authorization",
                lambda: self.registry.heartbeat(said, shown),
            )
        else:
            runner, first = self.registry.heartbeat(said, shown)
            assert not first
            assert list(runner.sessions) == known.sessions
            known.ready, known.capacity, known.seen = ready, places, self.now

    @rule(seconds=st.sampled_from([1.0, 5.0, 19.0, 21.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.registry.sweep()
        for runner_id in list(self.model):
            if self.silent(runner_id):
                self.old.append(self.model.pop(runner_id).secret)

    @rule(runner_id=st.sampled_from(IDS), right=st.booleans())
    def unregisters(self, runner_id: str, right: bool) -> None:
        known = self.model.get(runner_id)
        shown = known.secret if known and right else SECRET
        if known is None or self.silent(runner_id):
            self.refused(
                404, "runner not found", lambda: self.registry.unregister(runner_id, shown)
            )
        elif not right:
            self.refused(
                401, "invalid authorization", lambda: self.registry.unregister(runner_id, shown)
            )
        else:
            self.registry.unregister(runner_id, shown)
            self.old.append(self.model.pop(runner_id).secret)

    @rule(target=sessions, runner_id=st.sampled_from(IDS))
    def reserves(self, runner_id: str) -> tuple[str, str]:
        known = self.model.get(runner_id)
        if known is None or self.silent(runner_id) or not known.ready:
            self.refused(404, "runner not found", lambda: self.registry.reserve(runner_id))
        elif len(known.sessions) >= known.capacity:
            self.refused(
                503, "no capacity available for runner", lambda: self.registry.reserve(runner_id)
            )
        else:
            session = self.registry.reserve(runner_id)
            self.registry.open_channel(session, "out", "")
            known.sessions.append(session.id)
            return runner_id, session.id
        return runner_id, "session_never"

    @precondition(lambda self: self.model)
    @rule(session=sessions)
    def is_used(self, session: tuple[str, str]) -> None:
        runner_id, session_id = session
        known = self.model.get(runner_id)
        if known is None or self.silent(runner_id) or not known.ready:
            self.refused(
                404, "runner not found", lambda: self.registry.session(runner_id, session_id)
            )
        elif session_id not in known.sessions:
            self.refused(
                404,
                "runner session not found",
                lambda: self.registry.session(runner_id, session_id),
            )
        else:
            _, found = self.registry.session(runner_id, session_id)
            self.refused(
                401,
                "invalid authorization",
                lambda: self.registry.session(runner_id, session_id, token=SECRET),
            )
            self.registry.session(runner_id, session_id, token=found.token)

    @rule(session=sessions)
    def is_released(self, session: tuple[str, str]) -> None:
        runner_id, session_id = session
        known = self.model.get(runner_id)
        if known is None or self.silent(runner_id):
            self.refused(
                404, "runner not found", lambda: self.registry.release(runner_id, session_id)
            )
        else:
            self.registry.release(runner_id, session_id)
            if session_id in known.sessions:
                known.sessions.remove(session_id)

    @invariant()
    def there_is_what_the_model_says(self) -> None:
        found = {runner.id: runner for runner in self.registry}
        assert found.keys() == self.model.keys()
        for runner_id, runner in found.items():
            known = self.model[runner_id]
            assert list(runner.sessions) == known.sessions
            assert runner.says.capacity == known.capacity
            wanted = RunnerState.READY if known.ready else RunnerState.HIDDEN
            assert runner.state is (RunnerState.SILENT if self.silent(runner_id) else wanted)
        # One channel for each runner and each session, and none too many.
        sessions = [each for known in self.model.values() for each in known.sessions]
        assert len(self.channels.open) == len(found) + len(sessions)
        for session_id in sessions:
            assert f"{session_id}-out" in self.channels.open


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_every_state_has_its_line_in_both_tables() -> None:
    assert set(TRANSITIONS) == set(LETS_IN) == set(RunnerState)
    reached = {after for moves in TRANSITIONS.values() for after in moves.values()}
    assert reached == set(RunnerState)


def test_a_runner_hears_of_its_sessions_but_not_of_its_own_end() -> None:
    registry, channels = make()
    runner, _ = registry.heartbeat(says("a", capacity=2), SECRET)
    first, second = registry.reserve("a"), registry.reserve("a")
    registry.release("a", first.id)
    (told,) = [events for name, events in channels.open.items() if name.endswith("-o2r")]
    registry.unregister("a", runner.heartbeat_secret)
    assert told == [("reserved", first.id), ("reserved", second.id), ("released", first.id)]
    assert channels.open == {}


def test_one_missed_check_releases_every_session_of_a_static_runner() -> None:
    registry, channels = make()
    document = {
        "runners": [
            {
                "label": "static",
                "runner_url": "http://r.test/base",
                "health_url": "/ready",
                "app": "a/b",
                "capacity": 2,
                "routing": "label",
            }
        ]
    }
    (entry,) = static_entries(json.dumps(document).encode(), check_prices=False)
    assert entry.health_url == "http://r.test/base/ready"
    runner = registry.register_static(entry, healthy=True)
    session = registry.reserve("static")
    registry.open_channel(session, "out", "")
    registry.checked(runner, entry, healthy=True)
    assert list(runner.sessions) == [session.id]
    registry.checked(runner, entry, healthy=False)
    assert (runner.sessions, channels.open) == ({}, {})
    with pytest.raises(RunnerRefusal, match="runner not found"):
        registry.reserve("static")
    registry.checked(runner, entry, healthy=True)
    registry.reserve("static")
    # No secret is its own: it can neither send a heartbeat nor unregister.
    for shown, status in (("", 400), ("x", 401)):
        with pytest.raises(RunnerRefusal) as refusal:
            registry.heartbeat(says("static"), shown)
        assert refusal.value.status == status
    with pytest.raises(RunnerRefusal, match="cannot unregister"):
        registry.unregister("static", "")
    # Registered again it keeps its id and its sessions.
    assert registry.register_static(entry, healthy=True) is runner
    assert len(runner.sessions) == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"routing": "dns"}, 'routing must be "runner-id" or "label"'),
        ({"label": " x"}, "label is required and must be trimmed"),
        ({"label": ""}, "label is required and must be trimmed"),
        ({"label": "a/b", "routing": "label"}, 'label cannot contain / when routing is "label"'),
        ({"health_url": ""}, "health_url is required"),
        ({"health_url": "ftp://x/y"}, "invalid health_url"),
        ({"healthy_status_code": 99}, "healthy_status_code must be a valid HTTP status code"),
        ({"runner_url": "r.test"}, "invalid runner_url"),
        ({"app": ""}, "app must be trimmed"),
        ({"metadata": "m" * 1025}, "metadata must be at most 1024 bytes"),
    ],
)
def test_an_entry_of_a_static_file_that_is_wrong_is_named(
    change: dict[str, Any], text: str
) -> None:
    good = {"label": "l", "runner_url": "http://r.test", "health_url": "/ready", "app": "a"}
    document = {"runners": [good, {**good, "label": "m", **change}]}
    with pytest.raises(RunnerRefusal) as refusal:
        static_entries(json.dumps(document).encode(), check_prices=False)
    assert str(refusal.value) == f"runners[1]: {text}"


@pytest.mark.parametrize(
    ("price_info", "text"),
    [
        ({}, "price_info.price is required"),
        ({"price": 0}, "price_info.price must be a positive decimal"),
        ({"price": "-1"}, "price_info.price must be a positive decimal"),
        ({"price": 1, "currency": "eur"}, "price_info.currency must be usd"),
        ({"price": 1, "unit": "minute"}, "price_info.unit must be hour, 720p, or fixed"),
    ],
)
def test_a_price_is_checked_on_a_chain_and_nowhere_else(
    price_info: dict[str, Any], text: str
) -> None:
    document = {"runner_url": "http://r.test", "app": "a", "price_info": price_info}
    body = json.dumps(document).encode()
    heartbeat(body, check_prices=False)
    with pytest.raises(RunnerRefusal) as refusal:
        heartbeat(body, check_prices=True)
    assert (refusal.value.status, str(refusal.value)) == (400, text)
    good = {**document, "price_info": {"price": "0.5", "currency": " USD "}}
    checked = heartbeat(json.dumps(good).encode(), check_prices=True).price_info
    assert (checked.price, checked.currency, checked.unit) == ("0.5", "usd", "hour")


def test_an_orchestrator_without_a_secret_lets_nobody_register() -> None:
    registry, _ = make(secret="")
    with pytest.raises(RunnerRefusal) as refusal:
        registry.heartbeat(says("a"), "")
    assert (refusal.value.status, str(refusal.value)) == (
        404,
        "dynamic live runner registration is disabled",
    )


def test_there_is_a_bound_on_all_that_a_peer_can_make_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry_module, "MOST_RUNNERS", 2)
    monkeypatch.setattr(registry_module, "MOST_SESSIONS", 3)
    monkeypatch.setattr(registry_module, "MOST_CHANNELS", 2)
    registry, channels = make()
    runner, _ = registry.heartbeat(says("a", capacity=1 << 40), SECRET)
    registry.heartbeat(says("b"), SECRET)
    for refused in (says("c"), says("x" * 200)):
        with pytest.raises(RunnerRefusal):
            registry.heartbeat(refused, SECRET)
    sessions = [registry.reserve("a") for _ in range(3)]
    for route in ("a", "b"):
        with pytest.raises(RunnerRefusal, match="no capacity"):
            registry.reserve(route)
    for name in ("one", "two"):
        registry.open_channel(sessions[0], name, "")
        registry.open_proxy(runner, sessions[0], "")
    for full in (
        lambda: registry.open_channel(sessions[0], "three", ""),
        lambda: registry.open_proxy(runner, sessions[0], ""),
    ):
        with pytest.raises(RunnerRefusal) as refusal:
            full()
        assert refusal.value.status == 429
    registry.open_channel(sessions[0], "one", "text/plain")  # it is there already
    assert len(channels.open) == 4


def test_credentials_are_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    registry, _ = make()
    said = says("a", runner_url="http://r.test/r/secret-path")
    runner, _ = registry.heartbeat(said, SECRET)
    session = registry.reserve("a")
    proxy_id = registry.open_proxy(runner, session, "")
    registry.release("a", session.id)
    registry.unregister("a", runner.heartbeat_secret)
    assert runner.o2r is not None
    shown = caplog.text + repr((said, runner, session, registry))
    for secret in (
        "secret-path",
        SECRET,
        runner.heartbeat_secret,
        session.id,
        session.token,
        proxy_id,
        runner.o2r["channel_name"],
    ):
        assert secret not in shown


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[]", "json: cannot unmarshal array into Go value of type"),
        (b'{"proxy": 1}', "LiveRunnerHeartbeatRequest.proxy of type bool"),
        (b'{"gpu": "x"}', "into Go struct field LiveRunnerHeartbeatRequest.gpu of type runner."),
        (b'{"gpu": {"id": 1}}', "number into Go struct field LiveRunnerHeartbeatRequest.gpu.id of"),
        (b'{"gpu": 1.5}', "json: cannot unmarshal number into Go struct field"),
        (
            b'{"price_info": {"price": {}}}',
            "object into Go struct field LiveRunnerPriceInfo.price_info.price of type json.Number",
        ),
        (b'{"app": "a" "b"}', "invalid character '\"' after object key:value pair"),
        (b'{"price_info": 1}', "price_info of type runner.LiveRunnerPriceInfo"),
        (b'{"session_ids": [1]}', "session_ids of type string"),
        (b'{"session_ids": {}}', "session_ids of type []string"),
        (b'{"capacity": 99999999999999999999}', "cannot unmarshal number 99999999999999999999"),
        (b"9" * 9000, "json: cannot unmarshal number into Go value of type"),
        (b"[" * 9000, "exceeded max depth"),
        (b" \n", "EOF"),
        (b'{"metadata": "\\ud800", "runner_url": "http://x", "app": "a"}', "U+FFFD"),
        (b'{"metadata": "\xff", "runner_url": "http://x", "app": "a"}', "U+FFFD"),
        (b'{"runner_url": "http://a b/", "app": "a"}', "invalid runner_url"),
        (b'{"runner_url": "http://x:1x/", "app": "a"}', "invalid runner_url"),
        (b'{"runner_url": "http:///x", "app": "a"}', "invalid runner_url"),
    ],
)
def test_a_heartbeat_that_is_wrong_is_400_in_the_words_of_the_reference(
    body: bytes, text: str
) -> None:
    with pytest.raises(RunnerRefusal) as refusal:
        heartbeat(body, check_prices=False)
    assert refusal.value.status == 400
    assert text in str(refusal.value)


def test_what_follows_the_first_value_of_a_heartbeat_does_not_matter() -> None:
    said = heartbeat(b'{"runner_url": "http://x", "APP": "a"} garbage', check_prices=False)
    assert said.app == "a"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = (
    "runner_id label proxy runner_url version metadata status mode gpu app capacity price_info "
    "session_ids price currency unit routing health_url healthy_status_code runners"
).split()


@settings(max_examples=300, deadline=None)
@given(
    document=st.dictionaries(st.sampled_from(FIELDS), VALUES),
    sound=st.booleans(),
    check_prices=st.booleans(),
)
def test_any_document_is_an_announcement_or_refused(
    document: dict[str, Any], sound: bool, check_prices: bool
) -> None:
    if sound:
        document = {**document, "runner_url": "http://r.test/x", "app": "a"}
    body = json.dumps(document).encode()
    for read in (heartbeat, static_entries):
        try:
            read(body, check_prices=check_prices)
        except RunnerRefusal as refusal:
            assert refusal.status == 400
            assert str(refusal)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_refused_in_words(body: bytes) -> None:
    with pytest.raises(RunnerRefusal):
        heartbeat(body, check_prices=False)
