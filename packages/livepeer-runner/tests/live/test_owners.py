"""Whose a stream is, what names it, and where its channels may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.environment import Secret
from livepeer.runner.live.request import LONGEST_ID, Allowed, label, problem
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings


class Echo(LivePipeline):
    capacity = 4
    queue_size = 0

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


@pytest.fixture
async def two() -> AsyncIterator[list[LocalOrchestrator]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(LocalOrchestrator()) for _ in range(2)]


def at(orchestrators: list[LocalOrchestrator]) -> RegistrationSettings:
    return RegistrationSettings(
        tuple(OrchestratorAddress(one.url, Secret(one.secret)) for one in orchestrators)
    )


class Asks:
    """What one orchestrator, by its token, asks of the container."""

    def __init__(self, s: Any, number: int) -> None:
        self._http = s.http
        caller = list(s.service.registration.callers)[number]
        self.url = caller.url
        self._token = caller.token.reveal()

    async def __call__(self, route: str, stream: str | None, body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token or '-'}"}
        if stream is not None:
            headers["X-Stream-Id"] = stream
        answer: httpx.Response = await self._http.post(
            f"/stream/{route}", headers=headers, json=body
        )
        return answer


async def test_another_orchestrator_cannot_change_replace_or_stop_a_stream(
    served: Any, two: list[LocalOrchestrator]
) -> None:
    async with served(Echo, registration=at(two)) as s:
        first, second = Asks(s, 0), Asks(s, 1)
        assert (await first("start", "s", {"params": {"mine": 1}})).status_code == 200
        (mine,) = s.service.work.sessions.running
        assert (await second("params", "s", {"theirs": 1})).status_code == 404
        assert (await second("stop", "s")).status_code == 200
        assert not mine.ending
        assert (await second("start", "s", {"params": {"theirs": 1}})).status_code == 200
        assert len(s.service.work.sessions.running) == 2, "it has one of its own, of that name"
        assert (await second("stop", "s")).status_code == 200
        assert not mine.ending
        assert mine.params == {"mine": 1}
        assert (await first("params", "s", {"more": 2})).status_code == 200
        assert (await first("stop", "s")).status_code == 200
        assert s.slots_taken == 0


async def test_a_stream_has_channels_at_its_own_orchestrator_only(
    served: Any, two: list[LocalOrchestrator]
) -> None:
    async with served(Echo, registration=at(two)) as s:
        first, second = Asks(s, 0), Asks(s, 1)
        theirs = {"events_url": f"{first.url}/ai/trickle/s-events"}
        refused = await second("start", "s", theirs)
        assert refused.status_code == 422
        assert "not the orchestrator of this stream" in refused.text
        assert (await first("start", "s", theirs)).status_code == 200
        await first("stop", "s")


@pytest.mark.parametrize("registered", [True, False])
async def test_an_id_in_a_body_names_a_stream_and_never_takes_one_over(
    served: Any, two: list[LocalOrchestrator], registered: bool
) -> None:
    async with served(Echo, registration=at(two) if registered else None) as s:
        ask = Asks(s, 0) if registered else Open(s)
        await ask("start", "victim", {})
        (victim,) = s.service.work.sessions.running
        for key in ("gateway_request_id", "stream_id"):
            other = await ask("start", None, {key: "victim"})
            assert other.status_code == 200
            assert other.json()["stream_id"] != "victim"
        assert not victim.ending
        assert (await ask("start", "other", {"gateway_request_id": "victim"})).json()[
            "stream_id"
        ] == "other"
        assert not victim.ending
        assert (await ask("start", None, {"gateway_request_id": "victim"})).status_code == 503
        assert not victim.ending


class Open(Asks):
    def __init__(self, s: Any) -> None:
        self._http = s.http
        self._token = ""


HERE = Allowed.at("https://orch:8935", ("elsewhere", "third:99"))


@pytest.mark.parametrize(
    "url",
    [
        "https://orch:8935/ai/trickle/a",
        "https://ORCH:8935/ai/trickle/a",
        "https://elsewhere/a",
        "https://third:99/a",
    ],
)
def test_channels_that_are_taken(url: str) -> None:
    assert problem(url, HERE) is None


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://orch:8935/a", "is http, where the orchestrator of this stream is https"),
        ("http://elsewhere/a", "is http, where"),
        ("https://orch:8936/a", "not the orchestrator"),
        ("https://orch/a", "not the orchestrator"),
        ("https://third/a", "not the orchestrator"),
        ("https://orch:8935@evil/a", "has a user"),
        ("https://user:pass@orch:8935/a", "has a user"),
        ("https://@orch:8935/a", "has a user"),
        ("https://orch:8935/a\r\nX: y", "control characters"),
        ("https://orch:8935/a b", "spaces"),
        ("https://orch:8935/" + "a" * 5000, "letters"),
        ("https://orch:99999/a", "is no URL"),
        ("https://[::1/a", "is no URL"),
        ("file:///etc/passwd", "not an http"),
        ("https://orch:8935/", "names no channel"),
        ({"url": 1}, "not dict"),
    ],
)
def test_channels_that_are_refused(url: Any, wrong: str) -> None:
    told = problem(url, HERE)
    assert told is not None
    assert wrong in told
    assert "user:pass" not in told


async def test_one_channel_cannot_be_two_of_a_stream(served: Any) -> None:
    async with served(Echo) as s:
        url = "http://127.0.0.1:9/ai/trickle/a"
        body = {"subscribe_url": url, "publish_url": f"{url}/"}
        refused = await Open(s)("start", "s", body)
        assert refused.status_code == 422
        assert refused.json()["error"]["fields"][0]["name"] == "publish_url"


async def test_an_id_is_bounded_and_in_one_line_of_the_log(
    served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with served(Echo) as s:
        ask = Open(s)
        assert (await ask("start", "x" * (LONGEST_ID + 1), {})).status_code == 422
        forged = "a\n12:00:00 ERROR forged\x1b[31m"
        started = await ask("start", None, {"gateway_request_id": forged})
        assert started.json()["stream_id"] == forged
    assert r"stream a\n12:00:00 ERROR forged\x1b[31m has started" in caplog.text
    assert len(label("é" * 300)) < 80


async def test_a_stop_whose_body_cannot_be_read_stops(served: Any) -> None:
    async with served(Echo) as s:
        for body in (b"[" * 400_000, b"\xff" * 100, b"[{},{}]" * 100_000):
            assert (await Open(s)("start", "s", {})).status_code == 200
            stopped = await s.http.post("/stream/stop", headers={"X-Stream-Id": "s"}, content=body)
            assert stopped.status_code == 200
            assert s.slots_taken == 0


class One(Echo):
    capacity = 1
    queue_size = 8
    queue_timeout = 30.0


async def test_a_start_that_is_stopped_before_its_turn_never_begins(served: Any) -> None:
    async with served(One) as s:
        ask = Open(s)
        assert (await ask("start", "first", {})).status_code == 200
        waiting = asyncio.create_task(ask("start", "second", {}))
        await s.until(lambda: s.service.lifecycle.slots.waiting == 1)
        assert (await ask("stop", "second")).status_code == 200
        refused = await waiting
        assert refused.status_code == 404
        assert "stopped before it could begin" in refused.text
        await ask("stop", "first")
        assert s.slots_taken == 0
