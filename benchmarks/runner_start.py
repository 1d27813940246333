"""What a start costs by each road, and what requests leave to the garbage collector: parts of
`benchmarks/runner.py`.

- start: hello world from the process's start to its first result, as `python pipeline.py`, as
  `livepeer serve pipeline.py` and of a folder with its `livepeer.yaml`, beside FastAPI and uvicorn
  with one route; CPU time of all threads, wall time and RSS.
- garbage: at 64 requests under way, collections and the objects that they found, for a thousand
  requests; what is found was a cycle.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import runner

HELLO = """
from livepeer.runner import Pipeline, serve

class HelloWorld(Pipeline):
    def predict(self, name: str = "world") -> str:
        return f"Hello, {name}!"

if __name__ == "__main__":
    serve(HelloWorld)
"""
BARE = """
import os
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

class In(BaseModel):
    name: str = "world"

app = FastAPI()

@app.post("/predict")
def predict(value: In) -> str:
    return f"Hello, {value.name}!"

uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
"""
LIVEPEER = "from livepeer.trickle.cli import main; main()"
ROADS = {
    "python pipeline.py": ("pipeline.py",),
    "livepeer serve pipeline.py": ("-c", LIVEPEER, "serve", "pipeline.py"),
    "livepeer serve, livepeer.yaml": ("-c", LIVEPEER, "serve"),
    "bare": ("bare.py",),
}
ANSWER_SECONDS = 30.0


class Start(NamedTuple):
    cpu: float
    wall: float
    memory: float


def start(arguments: tuple[str, ...], folder: Path) -> Start:
    """To the first result: CPU and wall time in ms, RSS in MB."""
    import psutil

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
    environment["LIVEPEER_LOG_LEVEL"] = "warning"
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    server = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment)
    try:
        while not _answers(port):
            if server.poll() is not None or time.perf_counter() - began > ANSWER_SECONDS:
                raise RuntimeError(f"{' '.join(arguments)} does not serve")
            time.sleep(0.003)
        wall = time.perf_counter() - began
        clock = (~server.pid << 3) | 2  # its CPU time, of threads that have ended too
        cpu = time.clock_gettime(clock)
        return Start(cpu * 1e3, wall * 1e3, psutil.Process(server.pid).memory_info().rss / 1e6)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(runner._request(b'{"name":"Ada"}'))
            return connection.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def bench_start(table: runner.Table, quick: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pipeline.py").write_text(HELLO)
        (folder / "bare.py").write_text(BARE)
        (folder / "livepeer.yaml").write_text("pipeline: pipeline:HelloWorld\n")
        for arguments in ROADS.values():
            start(arguments, folder)  # compiles what was not
        seen: dict[str, list[Start]] = {road: [] for road in ROADS}
        for _ in range(4 if quick else 9):
            for road, arguments in ROADS.items():
                seen[road].append(start(arguments, folder))
    bare = seen.pop("bare")
    for road, starts in seen.items():
        goal = "<= 500 ms" if road.startswith("python") else "as python pipeline.py"
        for what, form, at in (("CPU ms", ".0f", 0), ("wall ms", ".0f", 1), ("RSS MB", ".1f", 2)):
            mine, theirs = ([one[at] for one in each] for each in (starts, bare))
            table.row(f"{road}, {what}", mine, theirs, form, goal if at == 1 else "")


# --- the garbage collector -----------------------------------------------------------------------


def counted(target: Any, kind: str, ready: Any) -> None:
    """A server that answers through its pipe what its collector has done."""

    def tell() -> None:
        while True:
            ready.recv()
            ready.send([(one["collections"], one["collected"]) for one in gc.get_stats()])

    threading.Thread(target=tell, daemon=True).start()
    target(kind, ready)


@contextmanager
def _counting(target: Any, kind: str) -> Iterator[tuple[int, Any]]:
    with runner.asked(counted, target, kind) as (port, _, pipe):
        yield port, pipe


def _stats(pipe: Any) -> list[tuple[int, int]]:
    pipe.send(None)
    answer: list[tuple[int, int]] = pipe.recv()
    return answer


def bench_garbage(table: runner.Table, quick: bool) -> None:
    servers = {
        "serve": (runner.serve_ours, "served"),
        "create_app": (runner.serve_ours, "async"),
        "bare": (runner.serve_bare, "async"),
    }
    figures: dict[str, list[float]] = {}
    for name, (target, kind) in servers.items():
        with _counting(target, kind) as (port, pipe):
            runner._run(runner.requests_per_second(port, 64, 0.5))
            before = _stats(pipe)
            took: list[float] = []
            runner._run(runner.requests_per_second(port, 64, 2.0 if quick else 6.0, took))
            after = _stats(pipe)
        thousands = len(took) / 1000
        young, middle, full = (
            (b[0] - a[0]) / thousands for a, b in zip(before, after, strict=True)
        )
        found = sum(b[1] - a[1] for a, b in zip(before, after, strict=True)) / thousands
        figures[name] = [young + middle, full, found]
    bare = figures.pop("bare")
    for name, mine in figures.items():
        for what, at in (("young collections", 0), ("full ones", 1), ("objects in cycles", 2)):
            row = f"{name}, {what} for 1,000"
            table.row(row, [mine[at]], [bare[at]], ".2f", "0" if at == 2 else "")
