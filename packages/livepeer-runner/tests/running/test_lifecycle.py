"""The health state machine and its slots."""

from __future__ import annotations

import asyncio

import pytest

from livepeer.runner.errors import NotReady, OverCapacity
from livepeer.runner.running.lifecycle import (
    TRANSITIONS,
    Event,
    IllegalTransition,
    Lifecycle,
    State,
)


def ready(capacity: int = 1) -> Lifecycle:
    lifecycle = Lifecycle(capacity)
    lifecycle.loaded()
    return lifecycle


def test_it_is_loading_until_it_is_loaded_and_idle_then() -> None:
    lifecycle = Lifecycle(1)
    assert lifecycle.health == "LOADING"
    lifecycle.loaded()
    assert lifecycle.health == "IDLE"


def test_it_is_ok_while_any_slot_is_taken() -> None:
    lifecycle = ready(2)
    first, second = lifecycle.acquire(), lifecycle.acquire()
    assert lifecycle.health == "OK"
    first.release()
    assert lifecycle.health == "OK"
    second.release()
    assert lifecycle.health == "IDLE"


def test_a_slot_given_back_twice_counts_once() -> None:
    lifecycle = ready(2)
    slot = lifecycle.acquire()
    lifecycle.acquire()
    slot.release()
    slot.release()
    assert lifecycle.slots.taken == 1


def test_over_capacity_is_refused_with_a_wait() -> None:
    lifecycle = ready(1)
    lifecycle.acquire()
    with pytest.raises(OverCapacity) as caught:
        lifecycle.acquire()
    assert caught.value.retry_after == 1
    assert lifecycle.slots.taken == 1


def test_the_wait_grows_with_the_length_of_recent_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("livepeer.runner.running.slots.time.monotonic", lambda: now)
    lifecycle = ready(1)
    for _ in range(30):
        slot = lifecycle.acquire()
        now += 20
        slot.release()
    lifecycle.acquire()
    refusal = lifecycle.refusal()
    assert refusal is not None and refusal.retry_after == 20


@pytest.mark.parametrize("state", [State.LOADING, State.ERROR, State.DRAINING])
def test_no_slot_is_given_unless_it_is_ready(state: State) -> None:
    lifecycle = Lifecycle(1)
    if state is State.ERROR:
        lifecycle.fail("no weights")
    if state is State.DRAINING:
        lifecycle.drain()
    with pytest.raises(NotReady):
        lifecycle.acquire()
    assert lifecycle.slots.taken == 0


def test_an_error_keeps_its_reason() -> None:
    lifecycle = Lifecycle(1)
    lifecycle.fail("no weights")
    assert (lifecycle.health, lifecycle.reason) == ("ERROR", "no weights")


def test_draining_is_never_reported_as_idle() -> None:
    lifecycle = ready(1)
    slot = lifecycle.acquire()
    lifecycle.drain()
    assert lifecycle.health == "OK"
    slot.release()
    assert lifecycle.health == "OK" and lifecycle.draining


def test_draining_is_final() -> None:
    assert {after for (before, _), after in TRANSITIONS.items() if before is State.DRAINING} == {
        State.DRAINING
    }
    lifecycle = ready()
    lifecycle.drain()
    lifecycle.drain()
    assert lifecycle.state is State.DRAINING


def test_every_state_can_drain() -> None:
    assert {before for before, event in TRANSITIONS if event is Event.DRAIN} == set(State) - {
        State.DRAINING
    }


def test_an_event_that_a_state_does_not_know_is_a_defect_and_changes_nothing() -> None:
    lifecycle = ready()
    with pytest.raises(IllegalTransition, match="loaded in state IDLE"):
        lifecycle.loaded()
    assert lifecycle.state is State.IDLE


async def test_waiting_for_empty_ends_with_the_last_release() -> None:
    lifecycle = ready(2)
    slots = [lifecycle.acquire(), lifecycle.acquire()]
    waiting = asyncio.create_task(lifecycle.wait_empty())
    slots[0].release()
    await asyncio.sleep(0)
    assert not waiting.done()
    slots[1].release()
    async with asyncio.timeout(5):
        await waiting


def test_a_slot_whose_job_overran_for_long_is_no_longer_taken_for_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("livepeer.runner.running.slots.time.monotonic", lambda: now)
    lifecycle = ready(2)
    first, second = lifecycle.acquire(), lifecycle.acquire()
    first.limit(10)
    now = 1000.0
    assert isinstance(lifecycle.refusal(), OverCapacity)  # the other one has no limit
    second.limit(10)
    now += 12
    assert isinstance(lifecycle.refusal(), OverCapacity)  # over, but not for long
    now += 10
    refusal = lifecycle.refusal()
    assert isinstance(refusal, NotReady) and "overran" in str(refusal)
    assert lifecycle.health == "OK"
    now += 60
    assert lifecycle.health == "ERROR"
    assert "overran" in (lifecycle.reason or "")
    first.release()
    assert lifecycle.health == "OK" and lifecycle.reason is None
    assert lifecycle.refusal() is None


def test_threads_that_are_lost_for_good_are_an_error_once_they_are_many() -> None:
    lost = 3
    lifecycle = Lifecycle(1, lost_threads=lambda: lost)
    lifecycle.loaded()
    assert lifecycle.refusal() is None
    lost = 4
    assert isinstance(lifecycle.refusal(), NotReady)
    assert (lifecycle.health, lifecycle.ready) == ("ERROR", True)
    lifecycle.drain()
    assert lifecycle.health == "OK" and lifecycle.reason is None
