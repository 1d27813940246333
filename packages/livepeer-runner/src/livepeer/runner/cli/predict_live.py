"""One stream of a live class on a clip, in this process."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from livepeer.runner.cli import inputs
from livepeer.runner.cli.pictures import KeptPictures
from livepeer.runner.cli.recording import Recording
from livepeer.runner.errors import InvalidInput
from livepeer.runner.live.hooks import Hooks
from livepeer.runner.local.live import run_live
from livepeer.runner.local.stream import LiveResult
from livepeer.trickle import TrickleError
from livepeer.trickle.cli.console import emit, fail, is_terminal, note, progress
from livepeer.trickle.media.file.endings import FORMATS

if TYPE_CHECKING:
    from livepeer.runner.author.live_pipeline import LivePipeline
    from livepeer.runner.local.stream import Frame

RECORDS = (".jsonl", ".json")
ENDED_WELL = ("the input ended", "it has run as long as it should")


def predict(
    cls: type[LivePipeline],
    arguments: list[str],
    output: Path | None,
    params: list[str],
    *,
    realtime: bool,
    seconds: float | None,
    pictures: Path | None,
    as_json: bool,
) -> None:
    """Run it, show how it went, print its data records. What fails ends the command.

    `pictures`: a folder for some of them. `as_json`: what is printed is one document.
    """
    source = _source(cls, arguments, seconds)
    given = inputs.pairs(params, "-p")
    video = output if output is not None and output.suffix.lower() not in RECORDS else None
    if video is not None and video.suffix.lower() not in FORMATS:
        raise typer.BadParameter(
            f"{video.name} ends in none of {', '.join((*FORMATS, *RECORDS))}", param_hint="-o"
        )
    duration = seconds if source is None else _duration(source)
    recording = Recording(video) if video is not None else None
    shown = (
        KeptPictures(pictures, duration / 2 if duration else None) if pictures is not None else None
    )
    try:
        result, came = asyncio.run(
            _run(cls, source, given, recording, shown, duration, realtime=realtime, seconds=seconds)
        )
    except (InvalidInput, TrickleError, RuntimeError, OSError, ValueError) as error:
        _failed(error)
    written = shown.write() if shown is not None else []
    if as_json:
        emit(_document(result, came, written, video if recording and recording.frames else None))
        raise typer.Exit(0 if result.reason in ENDED_WELL else 1)
    _records(result, output if video is None else None)
    for event in result.emitted:
        note(f"  event {json.dumps(event, ensure_ascii=False, default=str)}")
    for told in result.warnings:
        note(f"  warning: {told.get('message', told)}")
    for told in result.errors:
        note(f"  {told.get('type', 'error')}: {told.get('message', told)}")
    figures = _figures(result, came)
    if is_terminal() or video is not None or not result.data:
        note(", ".join(f"{name} {value}" for name, value in figures.items()))
    if recording is not None and recording.frames:
        note(f"-> {video}")
    for each in written:
        note(f"-> {each['path']}: {', '.join(each['what'])}, at {each['time']:g} s")
    if result.reason not in ENDED_WELL:
        fail(f"the stream ended: {result.reason}")
    if recording is not None and not recording.frames:
        fail(f"nothing came out to be written to {video}")


@dataclass
class Came:
    """What came out: pictures, and seconds of sound."""

    pictures: int = 0
    sound: float = 0.0

    def count(self, frame: Frame) -> None:
        if frame.kind == "video":
            self.pictures += 1
        else:
            self.sound += frame.samples.shape[-1] / frame.rate

    def shown(self, seconds: float) -> str:
        if not self.pictures:
            return f"{self.sound:.1f} s of sound"
        return f"{self.pictures} frames, {self.pictures / max(seconds, 0.001):.0f} fps"


async def _run(
    cls: type[LivePipeline],
    source: Path | None,
    params: dict[str, Any],
    recording: Recording | None,
    shown: KeptPictures | None,
    duration: float | None,
    *,
    realtime: bool,
    seconds: float | None,
) -> tuple[LiveResult, Came]:
    came, began, first = Came(), time.monotonic(), None
    with progress() as bar:
        line = bar.add_task(cls.pipeline_id, total=duration, figures="setup")

        def arrived(frame: Frame) -> None:
            nonlocal began, first
            came.count(frame)
            if first is None:
                first, began = frame.time, time.monotonic()
            done = float((frame.time or 0) - (first or 0))
            bar.update(line, completed=done, figures=came.shown(time.monotonic() - began))
            if shown is not None and frame.kind == "video":
                shown.look(frame)
            if recording is not None:
                recording.write(frame)

        try:
            result = await run_live(
                cls,
                source,
                params=params or None,
                speed=1.0 if realtime else None,
                seconds=seconds,
                on_frame=arrived,
            )
        finally:
            if recording is not None:
                await asyncio.to_thread(recording.close)
    return result, came


def _failed(error: Exception) -> NoReturn:
    """Say why nothing ran."""
    if isinstance(error, InvalidInput):
        for field in error.fields:
            note(f"  {field.name}: {field.message}")
        fail(error, code=2)
    fail(error if str(error) else repr(error))


def _source(cls: type[LivePipeline], arguments: list[str], seconds: float | None) -> Path | None:
    if len(arguments) > 1:
        raise typer.BadParameter("a live class takes one clip", param_hint="-i")
    if not arguments:
        if not Hooks.of(cls).generates:
            raise typer.BadParameter(
                f"{cls.__name__} is live: name a clip, -i in.mp4", param_hint="-i"
            )
        if seconds is None:
            raise typer.BadParameter(
                f"{cls.__name__} generates for ever: say how long", param_hint="--seconds"
            )
        return None
    source = Path(arguments[0].removeprefix("@")).expanduser()
    if not source.is_file():
        named = f"{source} is no file" + ("; parameters are -p" if "=" in arguments[0] else "")
        raise typer.BadParameter(named, param_hint="-i")
    return source


def _duration(source: Path) -> float | None:
    """Seconds, where the file says; only the progress bar needs it."""
    import av

    # As `decode` reads it: what a playlist names is never opened.
    options = {"protocol_whitelist": ""}
    try:
        with source.open("rb") as file, av.open(file, "r", container_options=options) as container:
            return container.duration / 1e6 if container.duration else None
    except av.FFmpegError as error:
        fail(f"{source} is not a media file that can be decoded: {error.strerror}", code=2)


def _records(result: LiveResult, output: Path | None) -> None:
    if output is None:
        for record in result.data:
            emit(record)
        return
    text = "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in result.data)
    output.write_text(text, encoding="utf-8")
    note(f"{len(result.data)} records -> {output}")


def _document(
    result: LiveResult, came: Came, pictures: list[dict[str, Any]], output: Path | None
) -> dict[str, Any]:
    return {
        "kind": "live",
        "reason": result.reason,
        "well": result.reason in ENDED_WELL,
        "seconds": round(result.seconds, 2),
        "figures": {name.replace(" ", "_"): each for name, each in _figures(result, came).items()},
        "data": result.data,
        "events": result.emitted,
        "warnings": result.warnings,
        "errors": result.errors,
        "pictures": pictures,
        "output": None if output is None else str(output),
    }


def _figures(result: LiveResult, came: Came) -> dict[str, Any]:
    status = result.status.get("inference_status", {})
    latency = status.get("latency_ms", {})
    rate = round(came.pictures / result.seconds, 1) if result.seconds else 0
    return {
        **({"frames": came.pictures, "fps": rate} if came.pictures or not came.sound else {}),
        **({"sound s": round(came.sound, 1)} if came.sound else {}),
        **{f"latency {name} ms": value for name, value in latency.items()},
        "dropped": status.get("dropped", 0),
        "errors": status.get("errors", 0),
        "records": len(result.data),
    }
