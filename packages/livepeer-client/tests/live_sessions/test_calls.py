"""Starting, changing and ending live streams: requests, failures, and what is told to stop."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    Gateway,
    InvalidInputError,
    NoCapacityError,
    ProtocolError,
    SessionEndedError,
)
from livepeer.client.network import candidates, selection
from livepeer.client.testing import CUT, HANG, reply
from livepeer.trickle import TrickleServer

from .scripts import answers, asked, channels_at

Start = Callable[..., Any]


async def test_a_stream_is_started_changed_and_stopped_as_go_livepeer_wants_it(
    start: Start,
) -> None:
    async with TrickleServer() as channels:
        orch = await start(other=channels_at(channels))
        async with (
            Gateway(orch_url=orch.url, trickle_hosts="127.0.0.1") as gw,
            gw.live("tint", params={"u": 9}, model="m", data=False) as session,
        ):
            assert session.orchestrator == orch.url
            assert await session.update({"u": 1}) == {"ok": True}
    (begun,) = asked(orch, "start")
    assert begun.json() == {"params": {"u": 9}}
    assert begun.job["id"] == session.stream_id and begun.job["capability"] == "tint"
    assert json.loads(begun.job["parameters"]) == {
        "enable_video_ingress": True,
        "enable_video_egress": True,
    }
    assert json.loads(begun.job["request"]) == {"model": "m"}
    (changed,) = asked(orch, "update")
    assert changed.path == "/ai/stream/update" and changed.json() == {"u": 1}
    assert json.loads(changed.job["request"]) == {"stream_id": session.stream_id}
    (stopped,) = asked(orch, "stop")
    assert json.loads(stopped.job["request"]) == {"stream_id": session.stream_id}
    assert stopped.json()["linger"] == 0  # nobody here reads any more: specs/live.md


async def test_by_a_gateway_the_urls_are_built_from_the_id(start: Start) -> None:
    claimed = {
        "stream_id": "cam-1",
        "whip_url": "https://wrong/whip",
        "whep_url": "http://media:8889/cam-1/whep",
        "rtmp_url": "",
        "data_url": "https://wrong/data",
        "stop_url": "https://wrong/stop",
    }
    gateway = await start(other=answers(start=reply(claimed), stop=reply("{}"), status=reply("{}")))
    async with Gateway(gateway_url=gateway.url) as gw:
        async with gw.live("tint", params={"u": 9}) as session:
            assert session.stream_id == "cam-1" and await session.status() == {}
            assert session.urls == {
                "whip_url": f"{gateway.url}/process/stream/cam-1/whip",
                "whep_url": "http://media:8889/cam-1/whep",
            }
            with pytest.raises(SessionEndedError, match="never started"):
                await session.update({})
            assert session.ended
    (begun,) = asked(gateway, "start")
    assert begun.path == "/process/stream/start" and "sender" not in begun.job
    assert json.loads(begun.json()["params"]) == {"u": 9}
    assert [each.path for each in asked(gateway, "stop")] == ["/process/stream/cam-1/stop"]


@pytest.mark.parametrize(
    ("answer", "kind", "stops"),
    [
        (reply('{"detail":"x"}\n', 422, "text/plain"), InvalidInputError, 0),
        (
            reply("No capacity available for capability\n", 400, "text/plain"),
            NoCapacityError,
            0,
        ),
        (reply("full\n", 503, "text/plain"), NoCapacityError, 0),
        ([CUT], ConnectionFailedError, 1),
        ([HANG], CallTimeoutError, 1),
        (reply(b""), ProtocolError, 1),
    ],
    ids=["422", "400", "503", "cut", "hang", "no channels"],
)
async def test_a_start_that_fails_says_why_and_one_that_may_have_worked_is_stopped(
    start: Start, answer: list[Any], kind: type[Exception], stops: int
) -> None:
    orch = await start(other=answers(start=answer))
    async with Gateway(orch_url=orch.url, max_retries=0) as gw:
        with pytest.raises(kind):
            async with gw.live("tint", timeout=2.0):
                raise AssertionError("it has not started")
    # The first start is sent unasked; whoever has no room is asked for an offer, and then again.
    starts = 2 if kind is NoCapacityError else 1
    assert (len(asked(orch, "start")), len(asked(orch, "stop"))) == (starts, stops)
    if stops:
        stopped = asked(orch, "stop")[0].job
        assert json.loads(stopped["request"]) == {"stream_id": asked(orch, "start")[0].job["id"]}


async def test_a_full_orchestrator_is_passed_over_for_the_next(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The emptier one is asked first, however late a busy machine lets it answer.
    monkeypatch.setattr(selection, "LATENCY_STEP", 100.0)
    monkeypatch.setattr(candidates, "TOKEN_GRACE", 60.0)
    monkeypatch.setattr(candidates, "TOKEN_PATIENCE", 60.0)
    full = await start(other=answers(start=reply("full\n", 503, "text/plain")), capacity=9)
    free = await start(other=answers())
    async with Gateway(orch_url=[full.url, free.url]) as gw:
        async with gw.live("tint") as session:
            assert session.orchestrator == free.url
    assert (len(asked(full, "start")), len(asked(full, "stop"))) == (1, 0)
    assert (len(asked(free, "start")), len(asked(free, "stop"))) == (1, 1)


async def test_without_the_channels_of_an_orchestrator_the_session_ends_and_says_so(
    start: Start,
) -> None:
    orch = await start(other=answers())
    async with Gateway(orch_url=orch.url) as gw, gw.live("tint") as session:
        why = await session.wait()
        assert "no longer has the stream" in why and why in repr(session)
        for call in (session.update, session.control):
            with pytest.raises(SessionEndedError, match="no longer has the stream"):
                await call({"u": 1})
        with pytest.raises(SessionEndedError):
            session.publish_segments([b""])


async def test_frames_without_pyav_say_what_to_install(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    orch = await start(other=answers())
    async with Gateway(orch_url=orch.url) as gw, gw.live("tint") as session:
        for use in (session.subscribe, lambda: session.publish([])):
            with pytest.raises(ConfigurationError, match=r"livepeer-client\[media\]"):
                use()
