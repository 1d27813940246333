"""The life of a stream over real HTTP and a real trickle server: its start, changes and end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, Field

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.errors import InvalidInput
from livepeer.runner.live.control import ParamUpdates
from livepeer.runner.live.session import Session


class TintParams(BaseModel):
    u: int = Field(128, ge=0, le=255)
    v: int = Field(128, ge=0, le=255)


class Tint(LivePipeline):
    params: TintParams
    capacity = 2

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        _, u, v = frame.planes
        u[:], v[:] = self.params.u, self.params.v
        return frame

    def on_stream_stop(self) -> None:
        self.emit_data({"stopped": self.stream_id})


async def test_a_stream_with_all_channels_runs_to_the_end_of_its_input(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Tint) as it:
        assert (await it.start(params={"u": 90})).status_code == 200
        assert it.free == 1
        output = asyncio.create_task(it.output("s"))
        data = asyncio.create_task(it.records("s-data"))
        events = asyncio.create_task(it.records("s-events"))
        await it.feed("s", make_clip(25), speed=None)
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        assert len(frames) == 25
        assert abs(frames[-1].view()[1].mean() - 90) < 2
        assert await data == [{"stopped": "s"}]
        told = await events
        assert told[0]["type"] == "status"
        assert told[-1] == {**told[-1], "type": "stream_ended", "reason": "the input ended"}
        await it.until(lambda: it.free == 2)


@pytest.mark.parametrize(
    "without",
    [
        ("data_url",),
        ("publish_url",),
        ("events_url", "control_url"),
        ("subscribe_url",),
        ("subscribe_url", "publish_url", "data_url"),
        ("subscribe_url", "publish_url", "data_url", "control_url", "events_url"),
    ],
)
async def test_any_subset_of_channels_is_a_stream(
    stage: Any, make_clip: Any, without: tuple[str, ...]
) -> None:
    async with stage(Tint) as it:
        assert (await it.start(without=without)).status_code == 200
        if "subscribe_url" not in without:
            await it.feed("s", make_clip(10), speed=None)
        assert (await it.post("stop", "s")).status_code == 200
        assert it.free == 2


async def test_stopping_ends_the_stream_in_order_and_again_is_fine(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Tint) as it:
        await it.start()
        output = asyncio.create_task(it.output("s"))
        data = asyncio.create_task(it.records("s-data"))
        feeding = asyncio.create_task(it.feed("s", make_clip(500)))
        await it.event("s", lambda one: one["type"] == "status" and one["state"] == "ONLINE")
        answers = [await it.post("stop", "s", {"why": n}) for n in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert it.free == 2
        assert await data == [{"stopped": "s"}]
        await output
        feeding.cancel()
        await asyncio.wait([feeding])


async def test_stopping_an_unknown_stream_is_fine_and_its_parameters_are_404(stage: Any) -> None:
    async with stage(Tint) as it:
        assert (await it.post("stop", "nobody")).status_code == 200
        assert (await it.post("stop")).status_code == 200
        refused = await it.post("params", "nobody", {"u": 1})
        assert refused.status_code == 404
        assert refused.json()["error"]["type"] == "not_found"


async def test_parameters_of_an_ended_stream_are_404(stage: Any) -> None:
    async with stage(Tint) as it:
        await it.start()
        await it.post("stop", "s")
        assert (await it.post("params", "s", {"u": 1})).status_code == 404


async def test_the_end_of_the_control_channel_ends_the_stream(stage: Any) -> None:
    async with stage(Tint) as it:
        await it.start()
        ended = asyncio.create_task(it.event("s", lambda one: one["type"] == "stream_ended"))
        await it.trickle.close_channel("s-control")
        assert (await ended)["reason"] == "the control channel ended"
        await it.until(lambda: it.free == 2)


async def test_a_control_message_without_keep_is_parameters(stage: Any) -> None:
    async with stage(Tint) as it:
        await it.start()
        async with it.control("s") as control:
            await control.write({"keep": "alive"})
            await control.write({"u": 33})
            status = await it.event(
                "s",
                lambda one: (
                    one["type"] == "status" and one["inference_status"]["last_params"]["u"] == 33
                ),
            )
        assert status["inference_status"]["last_params"] == {"u": 33, "v": 128}


class Impatient(Tint):
    idle_timeout = 0.5


async def test_a_caller_that_vanished_ends_the_stream(stage: Any) -> None:
    async with stage(Impatient) as it:
        await it.start()
        ended = await it.event("s", lambda one: one["type"] == "stream_ended")
        assert "the caller has gone" in ended["reason"]
        await it.until(lambda: it.free == 2)


async def test_keepalives_keep_a_stream_without_input(stage: Any) -> None:
    async with stage(Impatient) as it:
        await it.start()
        async with it.control("s") as control:
            for _ in range(12):
                await control.write({"keep": "alive"})
                await asyncio.sleep(0.1)
            assert it.free == 1


async def test_starting_a_running_id_again_ends_the_old_one_and_keeps_the_slot(
    stage: Any, make_clip: Any
) -> None:
    class One(Tint):
        capacity = 1

    async with stage(One) as it:
        await it.start(params={"u": 10})
        first = it.server.service.work.sessions["s"]
        assert (await it.start(params={"u": 200})).status_code == 200
        second = it.server.service.work.sessions["s"]
        assert second is not first
        assert it.free == 0
        await it.until(lambda: first.over)
        assert first.reason == "the stream was started again"
        output = asyncio.create_task(it.output("s"))
        await it.feed("s", make_clip(10), speed=None)
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        assert abs(frames[-1].view()[1].mean() - 200) < 2
        await it.post("stop", "s")
        assert it.free == 1


async def test_over_capacity_is_503_with_a_wait_and_takes_nothing(stage: Any) -> None:
    class Impatient(Tint):
        queue_timeout = 0

    async with stage(Impatient) as it:
        for name in ("a", "b"):
            assert (await it.start(name)).status_code == 200
        refused = await it.start("c")
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "over_capacity"
        assert refused.json()["error"]["retry_after"] >= 1
        await it.post("stop", "a")
        assert (await it.start("d")).status_code == 200


async def test_a_start_waits_for_the_slot_of_a_stream_that_is_just_ending(stage: Any) -> None:
    class Patient(Tint):
        queue_timeout = 60.0

    async with stage(Patient) as it:
        for name in ("a", "b"):
            assert (await it.start(name)).status_code == 200
        slots = it.server.service.lifecycle.slots
        waiting = [asyncio.create_task(it.start("c")) for _ in range(2)]
        await it.until(lambda: slots.waiting == 2)
        wrong = await it.start("d", params={"u": 300})
        assert wrong.status_code == 422, "what is wrong need not wait"
        for name in ("a", "b"):
            await it.post("stop", name)
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]
        await it.until(lambda: slots.taken == 1)  # the second start of `c` took the first one's
        await it.post("stop", "c")
        assert it.free == 2


async def test_invalid_parameters_are_422_at_start_and_take_no_slot(stage: Any) -> None:
    async with stage(Tint) as it:
        refused = await it.start(params={"u": 300, "v": "x"})
        assert refused.status_code == 422
        fields = {field["name"] for field in refused.json()["error"]["fields"]}
        assert fields == {"u", "v"}
        assert it.free == 2


async def test_a_stream_that_cannot_be_made_gives_its_slot_back(stage: Any) -> None:
    class Refusing(Tint):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "_stream":
                raise RuntimeError("no copy of this one")
            super().__setattr__(name, value)

    async with stage(Refusing) as it:
        for _ in range(3):  # one more than it has slots
            assert (await it.start()).status_code == 500
            assert it.free == 2
        assert not it.server.service.work.sessions


@pytest.mark.parametrize("part", ["frames", "beside them"])
async def test_a_defect_of_ours_ends_its_stream_by_its_kind_and_frees_the_slot(
    stage: Any, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Its text may quote what no caller may read."""

    async def breaks(*_: object) -> None:
        raise LookupError("https://user:secret@internal")

    if part == "frames":
        monkeypatch.setattr(Session, "_frames", breaks)
    else:
        monkeypatch.setattr(ParamUpdates, "run", breaks)
    async with stage(Tint) as it:
        ended = asyncio.create_task(it.event("s", lambda one: one["type"] == "stream_ended"))
        assert (await it.start()).status_code == 200
        assert (await ended)["reason"] == "an internal error ended the stream: LookupError"
        await it.until(lambda: it.free == 2)


async def test_a_bad_update_is_422_an_event_and_changes_nothing(stage: Any) -> None:
    async with stage(Tint) as it:
        await it.start(params={"u": 7})
        told = asyncio.create_task(it.event("s", lambda one: one["type"] == "error"))
        await asyncio.sleep(0)
        refused = await it.post("params", "s", {"u": -1})
        assert refused.status_code == 422
        assert (await told)["error"]["fields"][0]["name"] == "u"
        assert it.server.service.work.sessions["s"].params == TintParams(u=7)


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"\xff"])
async def test_a_body_that_is_no_object_is_422(stage: Any, body: bytes) -> None:
    async with stage(Tint) as it:
        refused = await it.http.post("/stream/start", content=body)
        assert refused.status_code == 422
        assert it.free == 2


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "nothing", 7, "http://", "http://host", "http://h:x/y"]
)
async def test_a_url_that_is_none_is_named(stage: Any, url: Any) -> None:
    async with stage(Tint) as it:
        refused = await it.post("start", "s", {"publish_url": url})
        assert refused.status_code == 422
        assert refused.json()["error"]["fields"][0]["name"] == "publish_url"


class SlowToStart(LivePipeline):
    async def on_stream_start(self, params: dict[str, Any]) -> None:
        await asyncio.sleep(5)

    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


async def test_start_answers_at_once_when_the_model_is_cold_and_the_heart_beats(
    stage: Any,
) -> None:
    async with stage(SlowToStart) as it:
        began = time.monotonic()
        assert (await it.start()).status_code == 200
        assert time.monotonic() - began < 2
        event = await it.event("s", lambda one: one["type"] == "status")
        assert event["state"] == "LOADING"
        it.server.service.work.sessions["s"].cut()


class NeverReady(LivePipeline):
    def setup(self) -> None:
        raise RuntimeError("no weights")

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


async def test_a_pipeline_that_is_not_ready_refuses_streams(stage: Any) -> None:
    async with stage(NeverReady) as it:
        refused = await it.start()
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "not_ready"


async def test_documents_tell_of_the_parameters(stage: Any) -> None:
    async with stage(Tint) as it:
        schema = (await it.http.post("/schema")).json()
        assert schema["type"] == "live"
        assert schema["params"]["properties"]["u"]["maximum"] == 255
        assert schema["video"] == "processed"
        assert schema["audio"] == "passed through"
        assert (await it.http.get("/")).json()["type"] == "live"
        openapi = (await it.http.get("/openapi.json")).json()
        assert set(openapi["paths"]) == {"/stream/start", "/stream/params", "/stream/stop"}
        await it.start()
        metrics = (await it.http.get("/metrics")).text
        assert "livepeer_streams 1.0" in metrics


class Warm(LivePipeline):
    def setup(self) -> None:
        self.ran: list[str] = ["setup"]

    def warm_up(self) -> None:
        self.ran.append("warm_up")

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


async def test_warm_up_runs_before_the_first_stream(stage: Any) -> None:
    async with stage(Warm) as it:
        assert it.server.service.pipeline.ran == ["setup", "warm_up"]


class Forgetful(LivePipeline):
    def setup(self) -> None:
        self.history: list[int] = []

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.history.append(1)
        return frame


async def test_state_that_streams_share_by_mistake_is_warned_of(
    stage: Any, make_clip: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(Forgetful) as it:
        await it.start()
        await it.feed("s", make_clip(5), speed=None)
        await it.post("stop", "s")
    assert "Forgetful.history was made in setup()" in caplog.text


class Counter(LivePipeline):
    capacity = 2

    def on_stream_start(self, params: dict[str, Any]) -> None:
        self.count = 0

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.count += 1
        self.emit_data({"stream": self.stream_id, "count": self.count})
        return frame


async def test_each_stream_has_attributes_of_its_own(stage: Any, make_clip: Any) -> None:
    async with stage(Counter) as it:
        records = []
        for name in ("a", "b"):
            await it.start(name)
            records.append(asyncio.create_task(it.records(f"{name}-data")))
        await asyncio.gather(*(it.feed(name, make_clip(20), speed=4.0) for name in ("a", "b")))
        for name, found in zip(("a", "b"), await asyncio.gather(*records), strict=True):
            assert [one["stream"] for one in found] == [name] * len(found)
            assert [one["count"] for one in found] == list(range(1, len(found) + 1))
            assert len(found) > 10


async def test_a_running_stream_answers_a_404_route_in_our_shape(stage: Any) -> None:
    async with stage(Tint) as it:
        refused: httpx.Response = await it.http.post("/predict", json={})
        assert refused.status_code == 404
        assert "/stream/start" in refused.json()["error"]["message"]


def test_invalid_input_is_what_bad_parameters_raise() -> None:
    from livepeer.runner.live.params import ParamsType

    parameters = ParamsType.of(Tint)
    with pytest.raises(InvalidInput):
        parameters.first([1])
    first = parameters.first({"params": {"u": 3}})
    assert parameters.merged(first, {"v": 4}).value == TintParams(u=3, v=4)
    assert first.value == TintParams(u=3)
