"""What a bench says of live pipelines that tell themselves what they did.

The truth is theirs, of the same run: pictures that they lost, and how long they kept the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from livepeer.runner import LivePipeline
from livepeer.runner.bench.gpu import look
from livepeer.runner.bench.html import page
from livepeer.runner.bench.lines import lines
from livepeer.runner.bench.live import marks
from livepeer.runner.bench.live.camera import Camera
from livepeer.runner.bench.live.door import ContainerDoor
from livepeer.runner.bench.live.measure import LivePlan
from livepeer.runner.bench.live.report import Window, step_report
from livepeer.runner.bench.live.shot import Shot
from livepeer.runner.bench.live.stream import StreamRecord, run_stream
from livepeer.runner.bench.measure import measure
from livepeer.runner.bench.paste import paste
from livepeer.runner.bench.plan import BenchError, Plan
from livepeer.runner.targets.reference import target_of
from livepeer.trickle import TrickleServer
from livepeer.trickle.media import VideoFrame

if TYPE_CHECKING:
    from conftest import Serve, Served

SHOT = Shot(320, 180, 15)
DELAY = 0.03


class Keeps(LivePipeline):
    """Keeps each picture for `delay` seconds and loses every fifth; sound passes."""

    delay = DELAY
    kept: dict[int, tuple[float, float]] = {}  # noqa: RUF012 — what the test reads
    lost: list[int] = []  # noqa: RUF012

    async def process_video(self, frame: VideoFrame) -> VideoFrame | None:
        number, came = marks.read(frame.view()[0]), time.perf_counter()
        assert number is not None
        if number % 5 == 0:
            self.lost.append(number)
            return None
        await asyncio.sleep(self.delay)
        self.kept[number] = came, time.perf_counter()
        return frame


class Tells(LivePipeline):
    """Data only: of each picture a record, `delay` after it came."""

    passthrough = False
    realtime = False
    delay = DELAY

    async def process_video(self, frame: VideoFrame) -> None:
        await asyncio.sleep(self.delay)
        self.emit_data({"time": float(frame.time)})


class Refuses(LivePipeline):
    def on_stream_start(self, params: Any) -> None:
        raise RuntimeError("not today")

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class Breaks(LivePipeline):
    """After its fifth picture."""

    realtime, max_errors, on_error = False, 1, "drop"

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        if frame.time > 5 / SHOT.rate:
            raise RuntimeError("no more")
        return frame


@pytest.fixture
def fresh() -> Iterator[type[Keeps]]:
    Keeps.kept.clear()
    Keeps.lost.clear()
    yield Keeps


async def seen(target: Served, shot: Shot, seconds: float) -> StreamRecord:
    async with (
        TrickleServer(autocreate=False) as server,
        aiohttp.ClientSession() as session,
        asyncio.timeout(60),
    ):
        door = ContainerDoor(f"http://127.0.0.1:{target.port}", session, server)
        return await run_stream(door, Camera(shot), params={}, seconds=seconds)


async def test_loss_and_latency_are_what_the_pipeline_says_itself(
    served: Serve, fresh: type[Keeps]
) -> None:
    async with served(fresh) as target:
        record = await seen(target, SHOT, 2.4)
    step = step_report([record], SHOT, Window(0.4, 2.0), silent=False, cpu=0.1, usage=None)
    (one,) = step.each
    assert not one.ended and one.matched_by == "number" and one.sent == 30
    came = {each.number: each.at for each in record.pictures}
    # Where this process is too slow to look at all of them, it says so.
    assert set(came) == set(fresh.kept) or (set(came) < set(fresh.kept) and step.limit)
    measured = range(6, 36)
    assert one.received == sum(number in came for number in measured) > 0
    assert one.dropped == sum(number not in came for number in measured)
    assert 0 < sum(number in fresh.lost for number in measured) <= 6
    for number, at in came.items():
        assert number is not None
        taken, given = fresh.kept[number]
        assert record.began + number / 15 < taken < given < at
    left = [fresh.kept[n][1] - record.began - n / 15 for n in measured if n in came]
    assert (one.latency.mean_ms or 0) > mean(left) * 1000 >= DELAY * 1000
    assert one.skew is not None and abs(one.skew.median_ms) < 2 * 1000 / 48


async def test_records_are_counted_and_their_age_is_what_the_pipeline_says_itself(
    served: Serve,
) -> None:
    plan = Plan(warmup=0.2, live=LivePlan(shot=SHOT, duration=0.8))
    async with served(Tells) as target:
        record = await seen(target, SHOT, 2.4)
        report = await measure(target_of(f"http://127.0.0.1:{target.port}"), plan)
    assert record.emitted is not None and record.emitted.sent == len(record.records) == 36
    step = step_report([record], SHOT, Window(0.4, 2.0), silent=False, cpu=0.1, usage=None)
    (one,) = step.each
    assert one.records is not None and one.only_records and not one.ended and not one.freezes
    assert (one.records.emitted, one.records.lost, one.records.no_age) == (36, 0, "")
    for each in record.records:
        assert each.time is not None and each.at > record.began + each.time + DELAY
    assert one.latency == one.records.age and (one.latency.min_ms or 0) >= DELAY * 1000
    assert report.live is not None and report.live.null is None and report.live.max is not None
    (step,) = report.live.steps
    assert step.only_records and (report.live.max.streams == 1 or step.limit)
    told = "\n".join(lines(report))
    assert "records/s, 0 of 15 lost, age p50" in told and "pictures/s" not in told
    assert "Age of records" in page(report) and (step.limit or "records/s" in paste(report))


async def test_a_stream_that_does_not_begin_is_told(served: Serve) -> None:
    plan = Plan(warmup=0.2, live=LivePlan(shot=SHOT, null=False, duration=1.0))
    async with served(Refuses) as target:
        with pytest.raises(BenchError, match="it said: on_stream_start raised RuntimeError"):
            await measure(target_of(f"http://127.0.0.1:{target.port}"), plan)


async def test_a_stream_that_ends_before_its_time_breaks_its_step(served: Serve) -> None:
    plan = Plan(warmup=0.2, live=LivePlan(shot=SHOT, null=False, duration=30.0))
    async with served(Breaks) as target:
        report = await measure(target_of(f"http://127.0.0.1:{target.port}"), plan)
    assert report.live is not None and report.live.max is not None
    assert report.live.max.streams is None and report.live.max.failed_at == 1
    assert "process_video raised RuntimeError" in report.live.max.reason
    assert 0 < report.live.steps[0].each[0].received <= 5


async def test_a_bench_that_is_cancelled_leaves_no_stream_behind(
    served: Serve, fresh: type[Keeps]
) -> None:
    async with served(fresh) as target, TrickleServer(autocreate=False) as server:
        async with aiohttp.ClientSession() as session:
            door = ContainerDoor(f"http://127.0.0.1:{target.port}", session, server)
            running = asyncio.create_task(run_stream(door, Camera(SHOT), params={}, seconds=60))
            await target.until(lambda: bool(fresh.kept))
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        await target.until(lambda: target.slots_taken == 0)
        assert server.channels == []


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(rates=[1]), "a live pipeline has no calls"),
        (
            Plan(streams=True, live=LivePlan(streams=[2], shot=SHOT, null=False)),
            "answered 503: all 1 slots",
        ),
    ],
)
async def test_a_plan_that_the_target_cannot_follow_says_why(
    served: Serve, fresh: type[Keeps], plan: Plan, says: str
) -> None:
    async with served(fresh, queue_timeout=0.1) as target:
        slot = target.service.lifecycle.slots.acquire() if "503" in says else None
        with pytest.raises(BenchError, match=says):
            await measure(target_of(f"http://127.0.0.1:{target.port}"), plan)
        if slot is not None:
            slot.release()


@pytest.mark.slow
async def test_the_models_share_is_known_to_five_milliseconds(
    served: Serve, fresh: type[Keeps], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a pipeline that returns each picture, in the same run."""
    plan = Plan(warmup=1.0, live=LivePlan(shot=SHOT, duration=12.0))
    monkeypatch.setattr(fresh, "delay", 0.02)
    async with served(fresh) as target:
        report = await measure(target_of(f"http://127.0.0.1:{target.port}"), plan)
    assert report.live is not None and report.live.null is not None
    (one,) = report.live.steps[0].each
    gone = sum(number not in fresh.kept for number in range(15, 195))
    assert abs(one.dropped - gone) <= 1 and one.sent == 180 and gone >= 36
    if report.live.share is None:
        pytest.skip(f"this machine is too busy to measure on: {report.live.steps[0].limit}")
    truth = median(given - taken for taken, given in fresh.kept.values()) * 1000
    assert report.live.share.model_ms == pytest.approx(truth, abs=5)


async def test_a_gpu_is_read_from_its_tool(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool is a stand-in that prints what `nvidia-smi` does; no GPU was there to test on."""
    from livepeer.runner.bench.gpu import GpuWatch

    def tool(text: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    tool(
        'case "$1" in *query-gpu*) printf "40, 3000\\n60, 1000\\n";; '
        '*) printf "77, 900\\n77, 100\\n12, [N/A]\\n";; esac'
    )
    found = await look()
    assert found is not None and found.busy == 0.6 and found.memory == 4000
    assert found.processes == {77: 1000, 12: 0}
    known, unknown = GpuWatch(before=2500), GpuWatch(before=2500)
    known.add(found, {77})
    unknown.add(found, {5})
    assert (known.memory, unknown.memory, known.share) == (1000, 1500, 0.6)
    for broken in ("exit 9", "echo '[N/A], [N/A]'; exit 1", "head -c 3000000 /dev/zero"):
        tool(broken)
        assert await look() is None
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert await look() is None
