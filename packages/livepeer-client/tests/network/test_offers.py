"""The road by which an orchestrator's offer is found, and for how long that is remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import NoOrchestratorError, Offer
from livepeer.client.http.deadline import Deadline
from livepeer.client.network.jobs import RunningJob
from livepeer.client.network.offers import Offers
from livepeer.client.network.roads import Road

PLACE = "http://orch"
HTTP: Any = None  # these roads ask nobody


class Registry:
    """A road that knows some capabilities."""

    gateway = False

    def __init__(self, name: str, *known: str) -> None:
        self.name, self.known, self.asked = name, known, 0

    async def offer(self, http: Any, place: str, capability: str, deadline: Any) -> Offer | None:
        self.asked += 1
        return Offer(place, capability, 1) if capability in self.known else None

    async def send(self, *_: Any, **__: Any) -> RunningJob:
        raise NotImplementedError


def ask(offers: Offers, capability: str) -> Any:
    fits: Callable[[Offer], bool] = lambda offer: True  # noqa: E731
    return offers.ask(HTTP, capability, [PLACE], Deadline(9), fits)


async def test_the_first_road_that_knows_a_capability_is_taken_and_kept() -> None:
    newer, older = Registry("newer", "a"), Registry("older", "a", "b")
    roads: list[Road] = [newer, older]
    offers = Offers(roads)
    for capability, road in (("a", newer), ("b", older)):
        for _ in range(2):
            ((offer, found),), failed = await ask(offers, capability)
            assert (offer.capability, found, failed) == (capability, road, [])
    assert (newer.asked, older.asked) == (2, 2)  # at once, and once for each capability
    offers.forget(PLACE, "b")
    await ask(offers, "b")
    assert (newer.asked, older.asked) == (3, 3)


async def test_what_no_road_knows_is_nobodys_and_says_so() -> None:
    found, (attempt,) = await ask(Offers([Registry("newer")]), "a")
    assert not found and isinstance(attempt.error, NoOrchestratorError)
    assert attempt.rejection.orchestrator == PLACE
    with pytest.raises(NoOrchestratorError, match="is not listed there"):
        raise attempt.error


class Slow(Registry):
    """One that takes its time to say what it has."""

    seconds = 30.0
    left = False

    async def offer(self, http: Any, place: str, capability: str, deadline: Any) -> Offer | None:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.left = True
            raise
        return await super().offer(http, place, capability, deadline)


async def test_a_road_that_hangs_costs_a_later_one_that_fits_no_wait() -> None:
    slow, older = Slow("newer", "a"), Registry("older", "a")
    begun = time.monotonic()
    ((_, found),), _ = await ask(Offers([slow, older]), "a")
    assert found is older and slow.left
    assert time.monotonic() - begun < 5


async def test_a_road_that_is_slow_is_waited_for_where_no_other_has_room() -> None:
    slow, older = Slow("newer", "a"), Registry("older")
    slow.seconds = 0.3
    ((_, found),), _ = await ask(Offers([slow, older]), "a")
    assert found is slow
