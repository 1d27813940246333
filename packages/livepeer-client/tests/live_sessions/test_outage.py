"""One channel that is out of reach: what is tried again, how long, and what ends the session."""

from __future__ import annotations

import asyncio
import math

import pytest

from livepeer.client.live import outage
from livepeer.client.live.ending import Ending
from livepeer.client.live.outage import GONE, Outage
from livepeer.trickle.exceptions import CertificateError, ChannelNotFound, TrickleConnectionError

UNREACHABLE = TrickleConnectionError("refused", url="http://x/y")


def test_a_channel_out_of_reach_is_tried_again_until_it_is_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(outage.time, "monotonic", lambda: now)
    ending = Ending("t")
    tries = Outage("the events are read again", ending)
    now = 60.0
    assert not tries.lost(UNREACHABLE)
    tries.reached()
    now = 120.0
    assert not tries.lost(UNREACHABLE) and not ending.over
    now = 120.5
    assert tries.lost(UNREACHABLE)
    assert (ending.lost, ending.why) == (True, "the orchestrator was out of reach for 60 s")
    assert tries.tries == 2


def test_what_cannot_come_back_ends_the_session_at_once_with_its_reason() -> None:
    ending = Ending("t")
    tries = Outage("the input", ending, reason=lambda why: f"not sent: {why}")
    assert tries.lost(ChannelNotFound("no", url="http://x/y"))
    assert ending.why == f"not sent: {GONE}"
    assert Outage("another", ending).lost(UNREACHABLE)  # of a session that is lost nothing is left


def test_without_a_limit_only_the_end_of_the_session_is_one() -> None:
    ending = Ending("t")
    tries = Outage("the data", ending, limit=math.inf)
    assert not tries.lost(CertificateError("changed", url="http://x/y"))
    assert not ending.over


async def test_pauses_grow_and_the_end_of_the_session_cuts_one_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outage, "PAUSE", 1000.0)
    ending = Ending("t")
    tries = Outage("the data", ending)
    waiting = asyncio.create_task(tries.pause())
    await asyncio.sleep(0)
    ending.finish("it was stopped", lost=False)
    async with asyncio.timeout(20):
        await waiting
