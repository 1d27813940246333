"""Ours beside the peers, each in an environment of its own: one table and one chart.

    python benchmarks/peers.py [--quick] [--only publish] [--python3.12 PATH] [--chart peers.svg]

Peers are installed from the package index into a temporary folder, and are skipped with a word
where they cannot be. Ours, the limit (a bare framework) and every peer take turns; a figure is the
median of its rounds, and rates are of one run, so that only the ratios mean something elsewhere.

- publish, subscribe: segments to and from the least that is an HTTP server, in another process, so
  that the client is what limits; beside livepeer-gateway (livepeer-python-gateway), and pytrickle
  where it subscribes.
  The limit is aiohttp alone with two requests in flight.
- predict: requests to an echo by hand-written connections, ours by `serve`, as in a container;
  beside LitServe, whose request is taken in and answered by two processes. The limit is a bare
  FastAPI handler.
- call: one small JSON call of a capability; beside httpx, which knows no orchestrators. The limit
  is aiohttp alone; once more aiohttp that sends the same job, with its header and the same bounds.
"""

import argparse
import asyncio
import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import client
import glass
import runner
import trickle

KB = 1024
WORKER = Path(__file__).parent / "peer_worker.py"
INSTALL_SECONDS = 90
ANSWER_SECONDS = 20
Rate = Callable[[], float]


# --- the peers -----------------------------------------------------------------------------------


class Peer:
    """One environment with a peer in it, and its worker."""

    def __init__(self, folder: Path, name: str, python: str | None, *wanted: list[str]) -> None:
        self.name, self.missing = name, ""
        self._python = folder / name / "bin" / "python"
        if python is None:
            self.missing = "no Python that it runs on"
            return
        environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
        try:
            for command in (
                ["venv", "--python", python, str(folder / name)],
                *(["pip", "install", "--python", str(self._python), *each] for each in wanted),
            ):
                subprocess.run(
                    ["uv", "--quiet", *command],
                    check=True,
                    capture_output=True,
                    timeout=INSTALL_SECONDS,
                    env=environment,
                )
        except subprocess.CalledProcessError as error:
            told = error.stderr.decode(errors="replace").strip().splitlines()
            self.missing = f"not installed: {told[0] if told else error.returncode}"[:100]
        except (OSError, subprocess.TimeoutExpired) as error:
            self.missing = f"not installed: {type(error).__name__}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        """LitServe, until the block ends: its port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = subprocess.Popen(
            [str(self._python), str(WORKER.with_name("peer_litserve.py")), str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            runner._wait_until_it_answers(port)
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # its workers too
            server.wait()

    def worker(self) -> "Worker":
        return Worker(str(self._python), self.name)


class Worker:
    """The process of a peer; a context manager."""

    def __init__(self, python: str, name: str) -> None:
        self._python, self.name = python, name

    def __enter__(self) -> "Worker":
        self._process = subprocess.Popen(
            [self._python, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, *what: object) -> float:
        """The answer to one line. Raises `RuntimeError` where there is none."""
        import selectors

        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise RuntimeError(f"{self.name} has ended") from None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if ready.select(ANSWER_SECONDS) else b""
        if not line:
            self._process.kill()  # nothing more is asked of it
            raise RuntimeError(f"{self.name} did not answer {what[0]}")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return float(answer)


def newest(least: tuple[int, int]) -> str | None:
    """A Python that is at least so new: this one, of the path, or of pyenv."""
    if sys.version_info[:2] >= least:
        return sys.executable
    for minor in range(least[1], least[1] + 4):
        if found := shutil.which(f"python3.{minor}"):
            with contextlib.suppress(subprocess.SubprocessError):
                subprocess.run([found, "-c", ""], check=True, capture_output=True, timeout=20)
                return found
        known = sorted(glob.glob(str(Path.home() / f".pyenv/versions/3.{minor}.*/bin/python")))
        if known:
            return known[-1]
    return None


# --- the figures ---------------------------------------------------------------------------------


def turns(rates: dict[str, Rate], rounds: int) -> dict[str, float]:
    """The median of each; a peer that fails is left out, with a word."""
    for rate in rates.values():
        with contextlib.suppress(RuntimeError):
            rate()  # warm
    found: dict[str, list[float]] = {name: [] for name in rates}
    for first in range(rounds):  # nobody is always the one after a slow peer
        order = list(rates.items())
        first %= len(order)
        for name, rate in order[first:] + order[:first]:
            if name not in found:
                continue
            try:
                found[name].append(rate())
            except RuntimeError as error:
                if name in ("ours", "limit"):
                    raise
                print(f"{name}: left out: {error}", file=sys.stderr)
                del found[name]
    return {name: statistics.median(values) for name, values in found.items()}


def segments(what: str, size: int, count: int, peers: list[Worker], rounds: int) -> Any:
    ours = trickle.publish_ours if what == "publish" else trickle.subscribe_ours
    bare = trickle.publish_aiohttp if what == "publish" else trickle.subscribe_aiohttp
    with trickle.process(trickle._serve_raw, size) as url:
        channels = iter(range(10_000))

        def by(run: Any) -> Rate:
            def rate() -> float:
                begun = time.perf_counter()
                asyncio.run(run(f"{url}/x{next(channels)}", size, count))
                return count / (time.perf_counter() - begun)

            return rate

        def of(peer: Worker) -> Rate:
            name = f"{what}_{peer.name.removeprefix('livepeer-')}"
            return lambda: count / peer.ask(name, f"{url}/x{next(channels)}", size, count)

        return turns(
            {"ours": by(ours), "limit": by(bare)} | {each.name: of(each) for each in peers}, rounds
        )


def predict(lanes: int, port: int | None, rounds: int, seconds: float) -> Any:
    def of(port: int) -> Rate:
        return lambda: asyncio.run(runner.requests_per_second(port, lanes, seconds))

    with (
        runner.process(runner.serve_ours, "served") as (ours, _),
        runner.process(runner.serve_bare, "async") as (bare, _),
    ):
        rates = {"ours": of(ours), "limit": of(bare)}
        return turns(rates | ({"litserve": of(port)} if port else {}), rounds)


def calls(width: int, count: int, peers: list[Worker], rounds: int, *, same: bool = False) -> Any:
    """`width` at once in async code; 0: one after the other in sync code. `same`: the limit is
    aiohttp that sends the same job with the same bounds."""
    import aiohttp

    from livepeer.client import Gateway

    with client.process(100) as url:
        target = f"{url}/process/request/predict"

        async def at_once(call: Callable[[], Any]) -> float:
            async def lane() -> None:
                for _ in range(count // max(1, width)):
                    await call()

            await call()
            begun = time.perf_counter()
            await asyncio.gather(*(lane() for _ in range(max(1, width))))
            return count / (time.perf_counter() - begun)

        async def bare() -> float:
            async with aiohttp.ClientSession() as session:

                async def call() -> None:
                    if same:
                        await client.same_call(session, target)
                        return
                    async with session.post(target, data=client.BODY) as response:
                        json.loads(await response.read())

                return await at_once(call)

        async def ours() -> float:
            async with Gateway(orch_url=url) as gw:
                return await at_once(lambda: gw.run_async("echo", input={"text": "hello"}))

        def ours_sync() -> float:
            with Gateway(orch_url=url) as gw:
                gw.run("echo", input={"text": "hello"})
                begun = time.perf_counter()
                for _ in range(count):
                    gw.run("echo", input={"text": "hello"})
                return count / (time.perf_counter() - begun)

        name = "httpx_async" if width else "httpx_sync"
        rates: dict[str, Rate] = {
            "ours": (lambda: asyncio.run(ours())) if width else ours_sync,
            "limit": lambda: asyncio.run(bare()),
        }
        for each in peers:
            rates["httpx"] = lambda each=each: count / each.ask(name, target, width, count)  # type: ignore[misc]
        return turns(rates, rounds)


# --- table and chart -----------------------------------------------------------------------------


def row(name: str, found: dict[str, float]) -> list[str]:
    ours, limit = found["ours"], found["limit"]
    peers = {key: value for key, value in found.items() if key not in ("ours", "limit")}
    best = max(peers, key=lambda key: peers[key], default=None)
    return [
        name,
        f"{ours:,.0f}",
        f"{peers[best]:,.0f} ({best})" if best else "–",
        f"{limit:,.0f}",
        f"{ours / peers[best]:.2f}" if best else "–",
        f"{ours / limit:.2f}",
    ]


def chart(figures: dict[str, dict[str, float]], path: Path) -> None:
    """Bars as shares of the limit: ours, and each peer below it."""
    lines: list[str] = []
    y, left, wide = 34, 190, 300
    most = max(value / each["limit"] for each in figures.values() for value in each.values())
    for name, found in figures.items():
        for key in ("ours", *sorted(set(found) - {"ours", "limit"})):
            share = found[key] / found["limit"]
            colour = "#0a7d55" if key == "ours" else "#9aa5b1"
            label = name if key == "ours" else ""
            lines.append(
                f'<text x="4" y="{y + 11}">{label}</text>'
                f'<text x="{left - 6}" y="{y + 11}" text-anchor="end" fill="#555">{key}</text>'
                f'<rect x="{left}" y="{y}" width="{max(1, share / most * wide):.1f}" height="13" '
                f'fill="{colour}"/><text x="{left + share / most * wide + 5:.1f}" y="{y + 11}">'
                f"{share:.2f}</text>"
            )
            y += 16
        y += 8
    at = left + wide / most
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 60}" height="{y + 6}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        '<text x="4" y="16" font-weight="bold">Rates as shares of the bare framework (line)</text>'
        f"{''.join(lines)}"
        f'<line x1="{at:.1f}" y1="26" x2="{at:.1f}" y2="{y}" stroke="#c33"/></svg>\n'
    )


def figures(
    given: argparse.Namespace, workers: dict[str, Worker], port: int | None
) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    rounds, share = (3, 4) if given.quick else (7, 1)
    carriers = {
        # pytrickle's writer returns before anything is sent, and its close gives up what waits:
        # how fast that is says nothing.
        "publish": [workers[name] for name in ("livepeer-gateway",) if name in workers],
        "subscribe": [
            workers[name] for name in ("livepeer-gateway", "pytrickle") if name in workers
        ],
    }
    httpx = [workers["httpx"]] if "httpx" in workers else []
    for what in ("publish", "subscribe"):
        for size, count in ((KB, 1000), (64 * KB, 500), (1024 * KB, 100)):
            told = "1 MB" if size > 64 * KB else f"{size // KB} KB"
            yield (
                f"{what} {told}, 1/s",
                lambda what=what, size=size, count=count: segments(  # type: ignore[misc]
                    what, size, count // share, carriers[what], rounds
                ),
            )
    for lanes in (1, 16, 64):
        yield (
            f"predict, {lanes} at once, 1/s",
            lambda lanes=lanes: predict(lanes, port, rounds, 1.0 / share),  # type: ignore[misc]
        )
    yield "call, 16 at once, 1/s", lambda: calls(16, 800 // share, httpx, rounds)  # type: ignore[misc]
    yield (
        "call, 16 at once, beside the same job by aiohttp, 1/s",
        lambda: calls(16, 800 // share, [], rounds, same=True),
    )
    yield "call, sync, 1/s", lambda: calls(0, 400 // share, httpx, rounds)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", default="", help="figures whose name has this in it")
    parser.add_argument("--python3.12", dest="newer", help="for what needs it: livepeer-gateway")
    parser.add_argument("--chart", type=Path, default=Path(__file__).parent / "peers.svg")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place, here = Path(folder), sys.executable
        # pytrickle asks for a PyAV whose wheels are not on every index; its transport needs none.
        own = ["aiohttp", "av", "numpy", "pyee", "psutil"]
        peers = [
            Peer(place, "livepeer-gateway", given.newer or newest((3, 12)), ["livepeer-gateway"]),
            Peer(place, "pytrickle", here, own, ["--no-deps", "pytrickle"]),
            Peer(place, "litserve", here, ["litserve"]),
            Peer(place, "httpx", here, ["httpx"]),
        ]
        for peer in peers:
            if peer.missing:
                print(f"{peer.name}: skipped: {peer.missing}", file=sys.stderr)
        workers = {
            peer.name: stack.enter_context(peer.worker())
            for peer in peers
            if not peer.missing and peer.name != "litserve"
        }
        port: int | None = None
        if not peers[2].missing and "predict" in (given.only or "predict"):
            try:
                port = stack.enter_context(peers[2].serving())
            except RuntimeError as error:
                print(f"litserve: skipped: {error}", file=sys.stderr)
        found = {}
        for name, measure in figures(given, workers, port):
            if given.only in name:
                found[name] = measure()  # type: ignore[operator]
                print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    heads = ("what", "ours", "best peer", "limit", "ours / peer", "ours / limit")
    glass.table([row(name, each) for name, each in found.items()], heads)
    print(f"\n{os.cpu_count()} cores; load {load:.1f} before, {os.getloadavg()[0]:.1f} after.")
    if found:
        chart(found, given.chart)
        print(f"Chart: {given.chart}")


if __name__ == "__main__":
    main()
