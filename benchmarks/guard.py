"""Has anything become slower? Ten figures, each as its ratio to the limit measured beside it.

    python benchmarks/guard.py            # compares with benchmarks/guard.json; exit 1 if slower
    python benchmarks/guard.py --update   # writes it anew, on a quiet machine

A ratio is ours over the bare framework's, so that 1 is the limit and less is slower; no time is
compared with that of another run or machine. Both sides of a ratio take turns in one run, and a
figure is the median of its rounds. It counts as slower where it is below what was committed by more
than its own spread, then and now, and by more than `LEAST`.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import client
import glass
import media
import runner
import trickle

COMMITTED = Path(__file__).parent / "guard.json"
LEAST = 0.12
"""A change that is smaller is noise on any shared machine."""
KB = 1024


def predict(lanes: int) -> Iterator[float]:
    with (
        runner.process(runner.serve_ours, "served") as (ours, _),
        runner.process(runner.serve_bare, "async") as (bare, _),
    ):
        for port in (ours, bare):
            asyncio.run(runner.requests_per_second(port, lanes, 0.3))
        for _ in range(5):
            mine = asyncio.run(runner.requests_per_second(ours, lanes, 1.0))
            yield mine / asyncio.run(runner.requests_per_second(bare, lanes, 1.0))


def events() -> Iterator[float]:
    with (
        runner.process(runner.serve_ours, "sse-async") as (ours, _),
        runner.process(runner.serve_bare, "sse-async") as (bare, _),
    ):
        for _ in range(5):
            mine = runner.events_per_second(ours, 50_000)
            yield mine / runner.events_per_second(bare, 5_000)


def calls(sync: bool) -> Iterator[float]:
    with client.process(100) as url:
        for _ in range(5):
            bare, ours, by_thread = asyncio.run(client.run_overhead(url, 300))
            yield bare / (by_thread if sync else ours)


def called_events() -> Iterator[float]:
    with client.process(20_000) as url:
        for _ in range(5):
            lines, ours, _ = asyncio.run(client.stream_rates(url, 1))
            yield ours / lines


def segments(direction: str, size: int, count: int) -> Iterator[float]:
    ours = trickle.publish_ours if direction == "publish" else trickle.subscribe_ours
    bare = trickle.publish_aiohttp if direction == "publish" else trickle.subscribe_aiohttp
    for _ in range(5):
        with trickle.process(trickle._serve_raw, size) as url:
            rates = trickle.turns(url, {"ours": ours, "bare": bare}, size, count, 1)
        yield rates["ours"] / rates["bare"]


def identity() -> Iterator[float]:
    with glass.process(media._identity, 5, 150) as pipe:
        ours, bare = glass.told(pipe, 200)
    yield from (mine / theirs for mine, theirs in zip(ours, bare, strict=True))


FIGURES: dict[str, Callable[[], Iterator[float]]] = {
    "predict, 16 at once": lambda: predict(16),
    "predict, 64 at once": lambda: predict(64),
    "server-sent events": events,
    "run_async": lambda: calls(sync=False),
    "run": lambda: calls(sync=True),
    "stream_async": called_events,
    "publish 1 KB": lambda: segments("publish", KB, 500),
    "publish 64 KB": lambda: segments("publish", 64 * KB, 200),
    "subscribe 64 KB": lambda: segments("subscribe", 64 * KB, 200),
    "decode and encode 720p": identity,
}


def spread(values: list[float]) -> float:
    """Half of what lies between the quartiles, as a share of the median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / middle


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="write what was found")
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="these alone")
    arguments = parser.parse_args()
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    found: dict[str, dict[str, float]] = {}
    slower = []
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    print(f"{'ours, beside the limit':28}{'ratio':>8}{'spread':>8}{'before':>8}   verdict")
    for name in arguments.only or FIGURES:
        values = list(FIGURES[name]())
        ratio, noise = statistics.median(values), spread(values)
        found[name] = {"ratio": round(ratio, 3), "spread": round(noise, 3)}
        before = committed.get(name)
        verdict = "new"
        if before is not None:
            margin = max(LEAST, 2 * (noise + before["spread"]))
            change = ratio / before["ratio"] - 1
            verdict = "as before" if abs(change) <= margin else f"{change:+.0%}"
            if change < -margin:
                slower.append(name)
                verdict = f"SLOWER, {verdict}"
        told = f"{before['ratio']:.2f}" if before else "-"
        print(f"{name:28}{ratio:>8.2f}{noise:>8.2f}{told:>8}   {verdict}", flush=True)
    if arguments.update:
        COMMITTED.write_text(json.dumps(committed | found, indent=2) + "\n")
    elif slower:
        print(f"slower than what was committed: {', '.join(slower)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
