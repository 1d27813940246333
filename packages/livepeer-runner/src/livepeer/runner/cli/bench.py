"""`livepeer bench`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from livepeer.runner.cli import inputs, options
from livepeer.trickle.cli.console import (
    emit_text,
    fail,
    is_terminal,
    note,
    results_only,
    working,
    writable,
)

if TYPE_CHECKING:
    from livepeer.runner.bench.live.ramp import StreamAim
    from livepeer.runner.bench.live.shot import Shot
    from livepeer.runner.bench.report import BenchReport
    from livepeer.runner.bench.search import Aim

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer bench

livepeer bench pipeline.py -i text="I love it" --rate 5,10,20 --goodput 200ms

livepeer bench http://127.0.0.1:8000 --find-max "p99<500ms" --json after.json

livepeer bench --concurrency 1,4 --compare before.json

livepeer bench sentiment --orch https://127.0.0.1:8935 --rate 5

livepeer bench live.py --streams 1..8 --find-max "p95<200ms,fps>24" --html streams.html

livepeer bench transcribe.py -i speech.wav

Exit codes: 0 done, 1 it could not be measured, 2 wrong usage, 3 worse than --compare."""


@app.command(epilog=EPILOG)
def bench(
    target: options.AnyTarget = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            "--input",
            metavar="K=V|CLIP",
            help="A field of the input, name=@FILE for the content of a file; or @FILE.jsonl, an "
            "input on each line, sent in turn. Without it: the example of its schema. Live: a file "
            "whose pictures and sound are fed again and again, in place of a scene with clicks.",
        ),
    ] = None,
    rate: Annotated[
        str, typer.Option(help="Calls a second, one load after the other: 5,10,20.")
    ] = "",
    concurrency: Annotated[
        str, typer.Option(help="Callers who each wait for their answer: 1,4,16.")
    ] = "",
    find_max: Annotated[
        str, typer.Option(metavar="AIM", help='The highest rate at which it holds: "p99<500ms".')
    ] = "",
    goodput: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Count the calls that succeed within it, a second: 500ms. Default: that of "
            "--find-max.",
        ),
    ] = "",
    streams: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Live: streams at once. 1,2,4: one step after the other, to the first that "
            "breaks; 1..8: the most that hold.",
        ),
    ] = "",
    duration: Annotated[
        float | None,
        typer.Option(min=0.5, help="Seconds of each load; 10, of streams 20.", show_default=False),
    ] = None,
    warmup: Annotated[float, typer.Option(min=0.0, help="Seconds that do not count.")] = 2.0,
    arrivals: Annotated[
        Literal["poisson", "even"], typer.Option(help="How calls at a rate are spread.")
    ] = "poisson",
    seed: Annotated[int, typer.Option(help="Of poisson: the same calls each time.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one call.")] = 60.0,
    longest: Annotated[
        float, typer.Option(min=1.0, help="Seconds that one rate of --find-max may take.")
    ] = 60.0,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Live: the pictures that are fed.")
    ] = "1280x720",
    fps: Annotated[float, typer.Option(min=1, max=240, help="Live: pictures a second.")] = 30.0,
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="K=V", help="Live: a parameter of the streams."),
    ] = None,
    null: Annotated[
        bool,
        typer.Option(
            "--null/--no-null",
            help="Live: first a pipeline that returns each picture, to tell the model's share "
            "from that of the codecs and the transport.",
        ),
    ] = True,
    orch: options.ThroughOrchestrator = None,
    engine: options.RunEngine = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", callback=writable, help="Write the whole report here."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(callback=writable, help="Write a page with plots here, for people."),
    ] = None,
    before: Annotated[
        Path | None, typer.Option("--compare", help="A report of before, to compare with.")
    ] = None,
) -> None:
    """Measure what a pipeline bears: its latency at a rate, the highest rate, and its streams.

    Calls come at their own times, as from callers who do not know of each other, and their latency
    counts from then: a stall is seen by all who would have waited (an open loop). A percentile that
    its calls cannot carry is not shown. Of a live pipeline numbered pictures are followed from
    glass to glass, and data records by their age, through streams that are added until it breaks.
    """
    from livepeer.runner.bench.live.measure import LivePlan
    from livepeer.runner.bench.live.ramp import counts
    from livepeer.runner.bench.measure import measure, measure_offer
    from livepeer.runner.bench.plan import BenchError, Plan
    from livepeer.runner.bench.search import milliseconds
    from livepeer.runner.targets.reference import TargetError, offered_target, target_of

    try:
        aim, stream_aim = _aims(find_max, bool(streams))
        counted, search = counts(streams or "1")
        clip = _clip(input or [])
        plan = Plan(
            rates=[float(part) for part in _listed(rate, "--rate", float)],
            concurrency=[int(part) for part in _listed(concurrency, "--concurrency", int)],
            aim=aim,
            objective_ms=milliseconds(goodput) if goodput else None,
            duration=duration or 10.0,
            warmup=warmup,
            arrivals=arrivals,
            seed=seed,
            timeout=timeout,
            longest=longest,
            streams=bool(streams),
            live=LivePlan(
                streams=counted,
                search=search,
                aim=stream_aim,
                shot=_shot(size, fps),
                params=inputs.pairs(param or [], "-p"),
                clip=clip,
                null=null,
                duration=duration or 20.0,
            ),
        )
        offered = None if orch is None else offered_target(orch, target)
        reference = target_of(target) if offered is None else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except TargetError as error:
        fail(error, code=2)
    old = _report(before) if before is not None else None
    with results_only(), options.explained(), working("bench") as told:
        try:
            given = inputs.documents([] if clip is not None else input or [])
            if reference is not None:
                measuring = measure(reference, plan, inputs=given, told=told, engine=engine)
            else:
                assert offered is not None
                measuring = measure_offer(*offered, plan, inputs=given, told=told)
            report = asyncio.run(measuring)
        except (BenchError, TargetError) as error:
            fail(error)
    _show(report)
    if json_ is not None:
        json_.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        note(f"-> {json_}")
    if html is not None:
        from livepeer.runner.bench.html import page

        html.write_text(page(report), encoding="utf-8")
        note(f"-> {html}")
    if old is not None and _compared(old, report):
        raise typer.Exit(3)


def _report(path: Path) -> BenchReport:
    from livepeer.runner.bench.report import BenchReport

    try:
        return BenchReport.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}", code=2)
    except ValueError:  # no text, no JSON, or another's
        fail(f"{path} is no report of `livepeer bench --json`", code=2)


def _aims(text: str, live: bool) -> tuple[Aim | None, StreamAim]:
    """For calls and for streams; what only the other kind can hold is told by it. Raises
    `ValueError`."""
    from livepeer.runner.bench.live.ramp import DEFAULT, StreamAim
    from livepeer.runner.bench.search import Aim

    if not text:
        return None, StreamAim.of(DEFAULT)
    if live:
        return None, StreamAim.of(text)
    try:
        aim = Aim.of(text)
    except ValueError:
        with suppress(ValueError):
            return None, StreamAim.of(text)
        raise
    return aim, StreamAim.of(text)


def _clip(given: list[str]) -> Path | None:
    """The file that a live pipeline is fed with: the only input, and no K=V."""
    if len(given) != 1 or "=" in given[0] or given[0].startswith("@"):
        return None
    path = Path(given[0]).expanduser()
    if not path.is_file():
        raise typer.BadParameter(
            f"{given[0]!r} is not K=V, and no file to feed a stream with", param_hint="-i"
        )
    return path


def _shot(size: str, fps: float) -> Shot:
    from livepeer.runner.bench.live.shot import Shot

    width, cross, height = size.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ValueError(f"{size!r}: a size is WIDTHxHEIGHT, such as 1280x720")
    return Shot(int(width), int(height), fps)


def _listed(text: str, option: str, kind: type[float] | type[int]) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        try:
            wrong = not 0 < kind(part) <= 1_000_000
        except ValueError:
            wrong = True
        if wrong:
            raise typer.BadParameter(f"{part!r} is no number above 0", param_hint=option)
    return parts


def _show(report: BenchReport) -> None:
    """A table for a person, the document for a program."""
    if not is_terminal():
        emit_text(report.model_dump_json())
        return
    from livepeer.runner.bench.lines import lines

    for line in lines(report):
        emit_text(line)


def _compared(old: BenchReport, new: BenchReport) -> bool:
    """Say what changed; whether anything is worse."""
    from livepeer.runner.bench.compare import compare

    if (old.host.cpu, old.host.cores) != (new.host.cpu, new.host.cores):
        note("the report of before is another machine's: its figures are not compared")
        return False
    found = compare(old, new)
    if not found:
        note("the two reports have no load in common")
    for each in found:
        note(
            f"{each.load}: {each.figure} {each.before:.2f} -> {each.after:.2f} "
            f"({each.share:+.0%}): {each.verdict}"
        )
    return any(each.verdict == "worse" for each in found)
