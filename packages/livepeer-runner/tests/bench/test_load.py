"""What a bench says of a target whose behaviour is known.

Time is virtual here: a sleep passes at once, so the truth is exact and the machine's own speed is
no part of it.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from livepeer.runner.bench.arrivals import schedule
from livepeer.runner.bench.compare import compare
from livepeer.runner.bench.figures import figures, needed
from livepeer.runner.bench.html import page
from livepeer.runner.bench.lines import lines
from livepeer.runner.bench.load import MOST_IN_FLIGHT, Run, closed_loop, open_loop
from livepeer.runner.bench.paste import paste
from livepeer.runner.bench.report import BenchReport, Goodput, LoadReport, host, load_report
from livepeer.runner.bench.request import OK, Call
from livepeer.runner.bench.search import Aim, find_max, milliseconds


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock jumps to the next timer where nothing else is to be done."""

    def __init__(self) -> None:
        self.now = 0.0
        loop = self

        class Jumping(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> Any:
                found = super().select(0)
                if not found and timeout:
                    loop.now += timeout
                return found

        super().__init__(Jumping())

    def time(self) -> float:
        return self.now


def virtually(main: Callable[[VirtualLoop], Awaitable[Any]]) -> Any:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


def calling(loop: VirtualLoop, took: Callable[[float], float]) -> Callable[[float], Any]:
    """A target that answers a call sent at `t` after `took(t)` seconds."""

    async def make(due: float) -> Call:
        call = Call(due=due, sent=loop.now)
        await asyncio.sleep(took(loop.now))
        call.done, call.outcome = loop.now, OK
        return call

    return make


def opened(took: Callable[[float], float], rate: float = 100, seconds: float = 60) -> LoadReport:
    times = schedule(rate, seconds, "poisson", 1)

    async def main(loop: VirtualLoop) -> Run:
        return await open_loop(calling(loop, took), times, rate, clock=loop.time)

    return load_report(virtually(main), None)


def test_poissons_gaps_are_exponential_and_the_same_each_time() -> None:
    """Kolmogorov and Smirnov, at one in a thousand."""
    times = schedule(50, 200, "poisson", 7)
    assert times == schedule(50, 200, "poisson", 7) != schedule(50, 200, "poisson", 8)
    gaps = sorted(b - a for a, b in pairwise([0.0, *times]))
    count = len(gaps)
    distance = max(
        max(
            abs((i + 1) / count - (1 - math.exp(-50 * gap))),
            abs(i / count - (1 - math.exp(-50 * gap))),
        )
        for i, gap in enumerate(gaps)
    )
    assert distance < 1.95 / math.sqrt(count)
    even = schedule(50, 2, "even", 1)
    assert len(even) == 100 and even[1] - even[0] == pytest.approx(0.02)
    with pytest.raises(ValueError, match="more than"):
        schedule(1e6, 1e6, "even", 1)


def test_known_delays_are_told() -> None:
    """Nine of ten take 20 ms, one of ten 200 ms."""
    seen = iter(range(1_000_000))
    load = opened(lambda _: 0.2 if next(seen) % 10 == 0 else 0.02)
    told = load.latency.percentiles
    assert told["p50"].ms == pytest.approx(20, rel=0.05)
    assert told["p99"].ms == pytest.approx(200, rel=0.05)
    assert load.latency.mean_ms == pytest.approx(38, rel=0.05)
    assert load.throughput == pytest.approx(100, rel=0.05) and not load.limit


def test_a_target_that_freezes_is_seen_by_an_open_loop_and_hidden_by_a_closed_one() -> None:
    """One second of ten it answers nobody; else within 5 ms."""

    def took(now: float) -> float:
        return 0.005 + (1 - now % 10 if now % 10 < 1 else 0)

    load = opened(took)
    assert 800 < load.latency.percentiles["p99"].ms <= 1005

    async def main(loop: VirtualLoop) -> Run:
        return await closed_loop(calling(loop, took), 1, 60, clock=loop.time)

    closed = load_report(virtually(main), None)
    assert closed.latency.percentiles["p99"].ms < 10  # the negative control


def test_a_generator_that_is_late_says_so_and_counts_from_when_calls_were_due() -> None:
    """For half a second this process has no turn: what was due then is sent late, and spread."""
    times = schedule(100, 10, "even", 1)
    sent = []

    async def main(loop: VirtualLoop) -> Run:
        make = calling(loop, lambda _: 0.01)

        async def stalling(due: float) -> Call:
            if len(sent) == 300:
                loop.now += 0.5
            sent.append(loop.now)
            return await make(due)

        return await open_loop(stalling, times, 100, clock=loop.time)

    load = load_report(virtually(main), None)
    assert "the generator was the limit" in load.limit
    assert load.calls == 1000
    assert max(load.latency.max_ms or 0, 0) > 400 > (load.service.max_ms or 0)
    late = sent[302:330]
    assert min(b - a for a, b in pairwise(late)) >= 0.0049


def test_a_target_that_answers_nobody_is_not_asked_without_end() -> None:
    load = opened(lambda _: 3600.0, rate=1000, seconds=10)
    assert load.limit.startswith(f"{MOST_IN_FLIGHT} calls were waiting at once")


def test_a_percentile_that_its_samples_cannot_carry_is_not_told() -> None:
    assert [needed(share) for share in (0.5, 0.95, 0.99, 0.999)] == [10, 100, 500, 5000]
    assert set(figures([0.001] * 499).percentiles) == {"p50", "p90", "p95"}
    assert set(figures([0.001] * 5000).percentiles) == {"p50", "p90", "p95", "p99", "p99.9"}
    assert figures([0.001] * 9).percentiles == {} and figures([]).count == 0
    told = figures([i / 1000 for i in range(1, 1001)]).percentiles["p50"]
    assert told.ms == 500 and told.low_ms < 480 < 520 < told.high_ms


async def test_the_highest_rate_is_found_near_the_truth() -> None:
    """A queue: 10 ms of work, one at a time; p99 leaves 100 ms at about 80 calls a second."""
    tried = []

    async def measure(rate: float, seconds: float) -> LoadReport:
        tried.append(rate)
        free = 0.0
        waits = []
        for at in schedule(rate, max(seconds, 200), "poisson", 3):
            free = max(free, at) + 0.01
            waits.append(free - at)
        calls = [Call(0.0, 0.0, wait, OK) for wait in waits]
        return load_report(Run(calls, seconds, 0.1, rate=rate), None)

    found = await find_max(Aim.of("p99<100ms"), measure, 5, 10, 1000)
    assert found.rate is not None and found.failed_at is not None
    assert 65 < found.rate < 95 and found.failed_at / found.rate < 1.06
    assert len(tried) <= 12 and "p99 was" in found.reason


async def test_a_search_refuses_a_percentile_that_would_take_too_long() -> None:
    async def measure(rate: float, seconds: float) -> LoadReport:
        raise AssertionError("not reached")

    found = await find_max(Aim.of("p99.9<1s"), measure, 1, 10, 60)
    assert found.rate is None and "needs 5000 calls" in found.reason


def test_goodput_is_of_calls_that_succeed_within_the_objective() -> None:
    """Of ten calls a second three take too long, and two fail at once."""
    took = [0.1] * 5 + [0.6] * 3 + [0.01] * 2
    calls = [
        Call(float(at), float(at), at + took[at % 10], OK if at % 10 < 8 else "500")
        for at in range(100)
    ]
    load = load_report(Run(calls, 10.0, 0.1, rate=10), None, objective_ms=500)
    assert load.throughput == 8 and load.goodput is not None
    assert (load.goodput.per_second, load.goodput.share) == (5, 0.5)
    assert load_report(Run(calls, 10.0, 0.1, rate=10), None).goodput is None
    late = [Call(0.0, 0.55, 0.6, OK)]  # within it since it was sent, not since it was due
    assert load_report(Run(late, 1.0, 0.1, rate=1), None, 500).goodput == Goodput(
        objective_ms=500, per_second=0, share=0
    )


def test_goodput_is_told_and_compared() -> None:
    def report(within: int, objective: float = 500) -> BenchReport:
        calls = [Call(0.0, 0.0, 0.1 if at < within else 0.9, OK) for at in range(100)]
        load = load_report(Run(calls, 10.0, 0.1, rate=10), None, objective)
        return BenchReport(
            target="x", pipeline="x", pipeline_version="1", kind="request", host=host(),
            at="", loads=[load],
        )  # fmt: skip

    def verdicts(*reports: BenchReport) -> dict[str, str]:
        return {each.figure: each.verdict for each in compare(*reports)}

    told = "\n".join(lines(report(90)))
    assert "goodput 9.00/s within 500 ms (90.0% of all calls)" in told
    assert "goodput 9/s within 500 ms" in paste(report(90))
    assert "goodput/s (&lt; 500 ms)" in page(report(90)) and "goodput" not in paste(SILENT)
    assert verdicts(report(90), report(80))["goodput/s"] == "worse"
    assert verdicts(report(90), report(91))["goodput/s"] == "same"
    assert "goodput/s" not in verdicts(report(90), report(80, 400))


SILENT = BenchReport(
    target="x", pipeline="x", pipeline_version="1", kind="request", host=host(), at="",
    loads=[load_report(Run([Call(0.0, 0.0, 0.1, OK)], 1.0, 0.1, rate=1), None)],
)  # fmt: skip


@pytest.mark.parametrize("text", ["500", "0ms", "fast", "1m"])
def test_an_objective_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time like 500ms"):
        milliseconds(text)


@pytest.mark.parametrize("text", ["p42<1s", "p99", "p99<0", "fast", "p99<1m"])
def test_an_aim_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an aim like"):
        Aim.of(text)


def test_two_reports_differ_only_where_their_samples_tell_it() -> None:
    def report(factor: float, count: int = 2000) -> BenchReport:
        calls = [Call(0.0, 0.0, factor * (0.01 + i / count / 100), OK) for i in range(count)]
        run = Run(calls, 10.0, 0.1, concurrency=4)
        return BenchReport(
            target="x", pipeline="x", pipeline_version="1", kind="request", host=host(),
            at="", loads=[load_report(run, None)],
        )  # fmt: skip

    same = compare(report(1.0), report(1.01))
    assert {each.verdict for each in same} == {"same"}
    worse = {each.figure: each.verdict for each in compare(report(1.0), report(1.3))}
    assert worse["p50"] == worse["p99"] == "worse"
    assert {each.verdict for each in compare(report(1.3), report(1.0))} == {"better", "same"}
    few = {each.figure: each.verdict for each in compare(report(1.0, 12), report(1.1, 12))}
    assert few["p50"] == "same"  # twelve calls do not tell
