"""Streams of a target measured: more and more of its own, then one of a null pipeline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livepeer.runner.bench.live import null
from livepeer.runner.bench.live.camera import Camera
from livepeer.runner.bench.live.clip import CameraClip
from livepeer.runner.bench.live.door import StreamDoor
from livepeer.runner.bench.live.ramp import DEFAULT, StreamAim, ramp
from livepeer.runner.bench.live.report import LiveReport, Share, StepReport, Window, step_report
from livepeer.runner.bench.live.shot import Shot
from livepeer.runner.bench.live.stream import StreamRecord, run_stream
from livepeer.runner.bench.usage import Meter
from livepeer.runner.targets.hosting import OpenTarget, opened
from livepeer.runner.targets.reference import TargetReference

Told = Callable[[str, float, float], None]
"""What is measured now, the seconds of it that are over, and how many there will be."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What streams are measured.

    - `streams`: how many at once, one step after the other.
    - `search`: `streams` are the least and the most: the highest number that holds is searched.
    - `aim`: what every stream has to hold, for a step to be followed by the next.
    - `shot`: the pictures and the sound that are fed.
    - `params`: the streams' parameters.
    - `clip`: a file whose pictures and sound are fed, each as far as it has them.
    - `null`: also measure a pipeline that returns each picture.
    - `duration`: seconds of each step.
    """

    streams: Sequence[int] = (1,)
    search: bool = False
    aim: StreamAim = field(default_factory=lambda: StreamAim.of(DEFAULT))
    shot: Shot = field(default_factory=Shot)
    params: Mapping[str, Any] = field(default_factory=dict)
    clip: Path | None = None
    null: bool = True
    duration: float = 20.0


DoorOpener = Callable[[], AbstractAsyncContextManager[StreamDoor]]
"""The way to the streams of a target, for as long as it is used."""


async def measure_streams(
    door: DoorOpener,
    nothing: Callable[[OpenTarget], DoorOpener],
    document: Mapping[str, Any],
    plan: LivePlan,
    window: Window,
    meter: Meter,
    *,
    told: Told,
) -> LiveReport:
    """`nothing`: the door of a null pipeline, once that runs. `document`: what the target says of
    itself; what it does not say is taken to be there. Raises `UnreadableClip`."""
    shot = _shot(plan.shot, document)
    camera = await asyncio.to_thread(_camera, shot, plan.clip) if shot is not None else None
    shot = camera.shot if camera is not None else None
    silent = document.get("audio") == "dropped"
    report = LiveReport(
        picture="nothing" if shot is None else str(shot),
        sound=shot is not None and shot.sound,
    )
    async with _streams(door, camera, plan.params, meter) as streams:

        async def step(count: int) -> StepReport:
            name = f"{count} stream{'s' if count > 1 else ''}"
            report.steps.append(await streams.step(count, window, told, name, silent=silent))
            return report.steps[-1]

        report.max = await ramp(plan.aim, step, plan.streams, search=plan.search)
    which = null.NAMES.get((
        document.get("video", "processed") == "processed",
        document.get("audio") == "processed",
    ))  # fmt: skip
    if plan.null and shot is not None and which is not None and not report.steps[0].only_records:
        told("a pipeline that returns each picture", 0, 0)
        reference = TargetReference("class", f"{Path(null.__file__)}:{which}")
        async with (
            opened(reference) as baseline,
            _streams(nothing(baseline), camera, {}, Meter(None)) as streams,
        ):
            report.null = await streams.step(1, window, told, "null pipeline", silent=silent)
    report.share = _share(report)
    return report


def _shot(shot: Shot, document: Mapping[str, Any]) -> Shot | None:
    """What this pipeline is fed with; None: it makes its frames itself."""
    if document.get("generates"):
        return None
    pictures = document.get("video") != "dropped"
    sound = document.get("audio") != "dropped"
    return Shot(shot.width, shot.height, shot.fps, pictures=pictures or not sound, sound=sound)


def _camera(shot: Shot, clip: Path | None) -> Camera:
    return Camera(shot, CameraClip.of(clip, shot) if clip is not None else None)


def _share(report: LiveReport) -> Share | None:
    """Of the fewest streams. None where either has no median, or is not the target's figure."""
    if report.null is None or not report.steps or report.null.limit or report.steps[0].limit:
        return None
    bare = report.null.latency.percentiles.get("p50")
    whole = report.steps[0].latency.percentiles.get("p50")
    if bare is None or whole is None or report.steps[0].streams != 1:
        return None
    # Two medians of a model that takes nothing differ in either direction.
    transport = min(bare.ms, whole.ms)
    return Share(total_ms=whole.ms, transport_ms=transport, model_ms=round(whole.ms - transport, 3))


@dataclass(slots=True)
class _StreamLoad:
    """Streams of one target, through one door."""

    door: StreamDoor
    camera: Camera | None
    params: Mapping[str, Any]
    meter: Meter

    async def step(
        self, count: int, window: Window, told: Told, name: str, *, silent: bool
    ) -> StepReport:
        whole = window.warmup + window.seconds
        shot = self.camera.shot if self.camera is not None else None
        interval = 1 / float(shot.rate) if shot is not None else 0.0
        began, cpu = time.monotonic(), time.process_time()
        async with self.meter.watching() as watch, asyncio.TaskGroup() as group:
            progress = group.create_task(_tell(told, name, whole))
            running = [
                group.create_task(
                    run_stream(
                        self.door,
                        self.camera,
                        params=self.params,
                        seconds=whole,
                        phase=interval * place / count,
                    )
                )
                for place in range(count)
            ]
            records: list[StreamRecord] = [await each for each in running]
            progress.cancel()
            return step_report(
                records,
                shot,
                window,
                silent=silent,
                cpu=(time.process_time() - cpu) / (time.monotonic() - began),
                usage=watch.usage() if watch is not None else None,
            )


@asynccontextmanager
async def _streams(
    door: DoorOpener, camera: Camera | None, params: Mapping[str, Any], meter: Meter
) -> AsyncIterator[_StreamLoad]:
    async with door() as opened_door:
        yield _StreamLoad(opened_door, camera, params, meter)


async def _tell(told: Told, name: str, whole: float) -> None:
    began = time.monotonic()
    while True:
        told(name, min(whole, time.monotonic() - began), whole)
        await asyncio.sleep(0.5)
