"""Messages of a caller's own on the control channel: to `on_control`, or refused in words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.live import control, status
from livepeer.runner.live.control import WAITING
from livepeer.runner.live.hooks import Hooks


class Params(BaseModel):
    u: int = 0


class Commanded(LivePipeline):
    params: Params

    def on_control(self, message: dict[str, Any]) -> None:
        self.emit_event({"type": "heard", "message": message})

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class CommandedAsync(Commanded):
    async def on_control(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.emit_event({"type": "heard", "message": message})


class Deaf(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


def message(content: Any) -> dict[str, Any]:
    return {"type": "control", "message": content}


def of_type(wanted: str) -> Any:
    return lambda one: one["type"] == wanted


@pytest.mark.parametrize("cls", [Commanded, CommandedAsync])
async def test_control_messages_come_to_on_control_in_order(
    stage: Any, cls: type[LivePipeline]
) -> None:
    async with stage(cls) as it:
        await it.start()
        events = asyncio.create_task(it.records("s-events"))
        async with it.control("s") as control:
            for number in range(5):
                await control.write(message({"number": number, "keep": 1}))
            session = it.server.service.work.sessions["s"]
            await it.until(lambda: session.stream.events.posted == 5)
        await it.post("stop", "s")
        heard = [one["message"]["number"] for one in await events if one["type"] == "heard"]
        assert heard == list(range(5))
        assert session.params == Params()


async def test_what_was_said_before_the_container_listens_is_heard(stage: Any) -> None:
    async with stage(Commanded) as it:
        body = it.channels("s")
        async with it.control("s") as control:
            await control.write({"u": 3})  # as a gateway does that has changed the orchestrator
            await control.write(message({"early": True}))
            await it.post("start", "s", body)
            session = it.server.service.work.sessions["s"]
            await it.until(lambda: session.stream.events.posted == 1)
            assert session.params == Params(u=3)


async def test_a_class_without_on_control_says_so(stage: Any) -> None:
    async with stage(Deaf) as it:
        await it.start()
        async with it.control("s") as control:
            await control.write(message({"reset": True}))
            event = await it.event("s", of_type("error"))
        assert event["hook"] == "on_control"
        assert event["error"]["type"] == "no_control_hook"
        assert "Deaf takes no control messages" in event["error"]["message"]
        session = it.server.service.work.sessions["s"]
        assert session.params == {}, "it was taken for parameters"
        assert session.status.errors == 0


async def test_a_control_message_that_is_no_object_is_refused(stage: Any) -> None:
    async with stage(Commanded) as it:
        await it.start()
        async with it.control("s") as control:
            await control.write(message("reset"))
            event = await it.event("s", of_type("error"))
        assert event["error"]["message"] == "a control message is a JSON object, not str"


@pytest.mark.parametrize(
    "record",
    [
        {"type": "control"},
        {"type": "control", "message": {}, "u": 3},
        {"type": "other", "message": {}},
        {"message": {}},
    ],
)
async def test_all_that_is_no_message_to_the_letter_is_parameters(
    stage: Any, record: dict[str, Any]
) -> None:
    async with stage(Deaf) as it:
        await it.start()
        session = it.server.service.work.sessions["s"]
        async with it.control("s") as control:
            await control.write(record)
            await it.until(lambda: session.params == record)


class FailsToStart(Commanded):
    async def on_stream_start(self, params: Params) -> None:
        await asyncio.sleep(0.3)
        raise RuntimeError("no")


async def test_no_message_comes_to_a_stream_that_did_not_start(stage: Any) -> None:
    async with stage(FailsToStart) as it:
        await it.start()
        session = it.server.service.work.sessions["s"]
        it.loop.call_soon_threadsafe(session.messages.put, {"early": True})
        await it.until(lambda: session.over)
        assert session.stream.events.posted == 0


class Slow(Commanded):
    hook_timeout = 30.0
    go = asyncio.Event()

    async def on_control(self, message: dict[str, Any]) -> None:
        await self.go.wait()


async def test_messages_that_wait_are_bounded_and_a_flood_of_refusals_is_counted(
    stage: Any,
) -> None:
    async with stage(Slow) as it:
        await it.start()
        session = it.server.service.work.sessions["s"]
        events = asyncio.create_task(it.records("s-events"))
        await it.event("s", lambda one: one.get("state") == "ONLINE")

        def flood() -> None:
            for number in range(WAITING + 501):
                session.messages.put({"number": number})

        it.loop.call_soon_threadsafe(flood)
        await it.event("s", of_type("error"))
        it.loop.call_soon_threadsafe(session.cut)
        errors = [one for one in await events if one["type"] == "error"]
        assert 1 <= len(errors) <= 11
        assert all("the oldest is left out" in one["error"]["message"] for one in errors)
        assert session.messages.waiting <= WAITING


def test_on_control_without_its_argument_is_refused_at_start() -> None:
    class Wrong(LivePipeline):
        def on_control(self) -> None: ...

    with pytest.raises(SignatureError, match=r"write `def on_control\(self, message\)`"):
        Hooks.of(Wrong)


async def test_the_schema_says_whether_messages_are_taken(stage: Any) -> None:
    for cls, taken in ((Commanded, True), (Deaf, False)):
        async with stage(cls) as it:
            assert (await it.http.post("/schema")).json()["control"] is taken


# --- the caller's signs of life ------------------------------------------------------------------


async def test_a_caller_that_never_comes_frees_the_place_long_before_idle_timeout(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "FIRST_SIGN_SECONDS", 0.5)
    async with stage(Deaf) as it:
        await it.start()
        ended = await it.event("s", of_type("stream_ended"))
        assert ended["reason"].startswith("the caller never came: no input and no keepalive")
        await it.until(lambda: it.free == 1)


class Patient(Deaf):
    idle_timeout = 2.0


async def test_a_caller_that_came_once_has_all_of_idle_timeout(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(Patient) as it:
        await it.start()
        session = it.server.service.work.sessions["s"]
        async with it.control("s") as channel:
            await channel.write({"keep": "alive"})
            await it.until(lambda: session.watch.came)
            monkeypatch.setattr(control, "FIRST_SIGN_SECONDS", 0.01)
            ended = await it.event("s", of_type("stream_ended"))
        assert ended["reason"] == "the caller has gone: no input and no keepalive for 2 s"


class Cold(Deaf):
    async def on_stream_start(self, params: dict[str, Any]) -> None:
        await asyncio.sleep(2)


async def test_a_cold_start_is_no_silence_of_the_caller(
    stage: Any, monkeypatch: pytest.MonkeyPatch, make_clip: Any
) -> None:
    monkeypatch.setattr(control, "FIRST_SIGN_SECONDS", 1.0)
    async with stage(Cold) as it:
        await it.start()
        session = it.server.service.work.sessions["s"]
        feeding = asyncio.create_task(it.feed("s", make_clip(500)))
        await it.until(lambda: session.status.output.count > 0)
        assert not session.ending
        feeding.cancel()
        await asyncio.wait([feeding])


class SlowToStop(Deaf):
    async def on_stream_stop(self) -> None:
        await asyncio.sleep(1.5)


async def test_the_heart_beats_while_a_stream_ends(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "BEAT_SECONDS", 0.55)
    async with stage(SlowToStop) as it:
        await it.start()
        events = asyncio.create_task(it.records("s-events"))
        await it.event("s", lambda one: one.get("state") == "ONLINE")
        await it.post("stop", "s")
        told = await events
        offline = [one for one in told if one.get("state") == "OFFLINE"]
        assert len(offline) >= 3, "only the last status: silent for as long as the hook ran"
