"""How much does `livepeer.runner` cost? One table: ours beside the bare frameworks, in one run.

    python benchmarks/runner.py [--quick] [--only predict]

Compare within a row only: figures of different runs or machines say nothing. Each figure is the
median of rounds that take turns, so that a noisy neighbour hurts all columns alike.

- predict: the same model in and out, through `Pipeline.predict` (by `serve`, and an async and a
  sync one by `create_app`) and through a bare FastAPI handler under the same uvicorn (uvloop,
  httptools). Requests come from hand-written connections in another process, so that the server is
  what limits.
- tail: the slowest in a hundred where 64 requests are under way, of a process that `serve` runs.
  Beside it `create_app` in a process of its author's, which may serve something else too.
- sse: one stream read to its end; the bare one is a Starlette `StreamingResponse`.
- import, rss: fresh processes. The bare process is FastAPI and uvicorn with one route.
- start, garbage: see `runner_start.py`.
"""

import argparse
import asyncio
import importlib.util
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

BODY = b'{"text":"hello world, this is an echo","times":2}'


# --- the servers ---------------------------------------------------------------------------------


def _uvicorn(app: Any, ready: Any) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", server_header=False)
    ready.send(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])


def serve_ours(kind: str, ready: Any) -> None:
    from pydantic import BaseModel

    from livepeer.runner import Pipeline, create_app

    class In(BaseModel):
        text: str
        times: int = 1

    class Out(BaseModel):
        text: str
        length: int

    class Echo(Pipeline):
        capacity = 1000

        async def predict(self, value: In) -> Out:
            return Out(text=value.text, length=len(value.text))

    class SyncEcho(Pipeline):
        capacity = 1000
        thread_safe = True

        def predict(self, value: In) -> Out:
            return Out(text=value.text, length=len(value.text))

    class AsyncEvents(Pipeline):
        async def predict(self, n: int) -> AsyncIterator[Out]:
            for i in range(n):
                yield Out(text="token", length=i)

    class Events(Pipeline):
        def predict(self, n: int) -> Iterator[Out]:
            for i in range(n):
                yield Out(text="token", length=i)

    if kind == "served":
        from livepeer.runner.serving.listener import bind
        from livepeer.runner.serving.server import configure, serve_on

        os.environ |= {"LIVEPEER_LOG_LEVEL": "warning", "HOST": "127.0.0.1"}
        bound = bind("127.0.0.1", 0)
        ready.send(bound.getsockname()[1])
        serve_on(bound, Echo, configure())
        return
    classes = {"async": Echo, "sync": SyncEcho, "sse-async": AsyncEvents, "sse-sync": Events}
    _uvicorn(create_app(classes[kind]), ready)


def serve_bare(kind: str, ready: Any) -> None:
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse
    from pydantic import BaseModel

    class In(BaseModel):
        text: str
        times: int = 1

    class Out(BaseModel):
        text: str
        length: int

    app = FastAPI()
    if kind == "async":

        @app.post("/predict")
        async def predict(value: In) -> Out:
            return Out(text=value.text, length=len(value.text))

    elif kind == "sync":

        @app.post("/predict")
        def predict_in_thread(value: In) -> Out:
            return Out(text=value.text, length=len(value.text))

    elif kind == "sse-async":

        @app.post("/predict")
        async def stream(value: dict[str, int]) -> StreamingResponse:
            async def events() -> AsyncIterator[bytes]:
                for i in range(value["n"]):
                    yield b"data: %b\n\n" % Out(text="token", length=i).model_dump_json().encode()

            return StreamingResponse(events(), media_type="text/event-stream")

    else:

        @app.post("/predict")
        def stream_in_thread(value: dict[str, int]) -> StreamingResponse:
            def events() -> Iterator[bytes]:
                for i in range(value["n"]):
                    yield b"data: %b\n\n" % Out(text="token", length=i).model_dump_json().encode()

            return StreamingResponse(events(), media_type="text/event-stream")

    _uvicorn(app, ready)


@contextmanager
def process(target: Callable[..., None], *args: Any) -> Iterator[tuple[int, int]]:
    """Run a server in another process; gives its port and its process id."""
    with asked(target, *args) as (port, pid, _):
        yield port, pid


@contextmanager
def asked(target: Callable[..., None], *args: Any) -> Iterator[tuple[int, int, Any]]:
    """The same with this end of its pipe."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    child = context.Process(target=target, args=(*args, theirs), daemon=True)
    child.start()
    try:
        if not mine.poll(30):
            raise RuntimeError("the server did not start")
        port = mine.recv()
        _wait_until_it_answers(port)
        assert child.pid is not None
        yield port, child.pid, mine
    finally:
        child.terminate()
        child.join(10)


def _wait_until_it_answers(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(_request(BODY))
                if b" 503 " not in connection.recv(4096).split(b"\r\n")[0]:
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError("the server does not answer")


# --- the client ----------------------------------------------------------------------------------


def _request(body: bytes) -> bytes:
    return (
        b"POST /predict HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


class Lane(asyncio.Protocol):
    """One connection with one request in flight: answers are read by their Content-Length."""

    def __init__(self, until: float, done: asyncio.Future[int], took: list[float]) -> None:
        self.until = until
        self.took = took
        self.done = done
        self.count = 0
        self.request = _request(BODY)
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._send()

    def _send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self.buffer.decode()))
            return
        self.buffer = body[length:]
        self.count += 1
        now = time.perf_counter()
        self.took.append(now - self.sent)
        if now < self.until:
            self._send()
        else:
            self.transport.close()
            self.done.set_result(self.count)


async def requests_per_second(
    port: int, lanes: int, seconds: float, took: list[float] | None = None
) -> float:
    """`took` is filled with the seconds of each request."""
    took = [] if took is None else took
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    results: list[asyncio.Future[int]] = [loop.create_future() for _ in range(lanes)]
    for result in results:
        await loop.create_connection(
            lambda result=result: Lane(started + seconds, result, took), "127.0.0.1", port
        )
    counts = await asyncio.wait_for(asyncio.gather(*results), seconds + 30)
    return sum(counts) / (time.perf_counter() - started)


def events_per_second(port: int, count: int) -> float:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(_request(b'{"n":%d}' % count))
        started = time.perf_counter()
        tail, seen = b"", 0
        while not tail.endswith(b"0\r\n\r\n"):
            data = connection.recv(1 << 20)
            if not data:
                raise RuntimeError("the stream broke off")
            seen += data.count(b'"token"')
            tail = (tail + data)[-16:]
        if seen < count * 0.999:  # a few are cut by the reader's own block borders
            raise RuntimeError(f"{seen} of {count} events")
        return count / (time.perf_counter() - started)


# --- the rows ------------------------------------------------------------------------------------


class Table:
    def __init__(self) -> None:
        print(f"{'':34}{'ours':>12}{'bare':>12}{'ratio':>8}   goal")

    def row(self, name: str, ours: list[float], bare: list[float], form: str, goal: str) -> None:
        mine, theirs = statistics.median(ours), statistics.median(bare)
        ratio = mine / theirs if theirs else float("nan")
        print(f"{name:34}{mine:>12{form}}{theirs:>12{form}}{ratio:>8.2f}   {goal}", flush=True)


def bench_predict(table: Table, quick: bool) -> None:
    rounds, seconds = (3, 0.7) if quick else (5, 1.5)
    for kind in ("served", "async", "sync"):
        beside = "sync" if kind == "sync" else "async"
        with process(serve_ours, kind) as (ours, _), process(serve_bare, beside) as (bare, _):
            for lanes in (1, 16, 64):
                figures: dict[int, list[float]] = {ours: [], bare: []}
                for _ in range(rounds):
                    for port, seen in figures.items():
                        seen.append(_run(requests_per_second(port, lanes, seconds)))
                table.row(
                    f"{kind} predict, {lanes} at once, req/s",
                    figures[ours],
                    figures[bare],
                    ",.0f",
                    ">= 0.90",
                )


def bench_tail(table: Table, quick: bool) -> None:
    rounds, seconds = (3, 2.0) if quick else (5, 6.0)
    with (
        process(serve_ours, "served") as (served, _),
        process(serve_ours, "async") as (app, _),
        process(serve_bare, "async") as (bare, _),
    ):
        figures: dict[int, list[float]] = {served: [], app: [], bare: []}
        for _ in range(rounds):
            for port, seen in figures.items():
                took: list[float] = []
                _run(requests_per_second(port, 64, seconds, took))
                seen.append(sorted(took)[len(took) * 99 // 100] * 1e3)
        for name, port in (("serve", served), ("create_app", app)):
            row = f"async predict by {name}, 64, p99 ms"
            table.row(row, figures[port], figures[bare], ".1f", "<= 1.00")


def bench_sse(table: Table, quick: bool) -> None:
    rounds, count = (3, 50_000) if quick else (5, 200_000)
    for kind in ("sse-async", "sse-sync"):
        with process(serve_ours, kind) as (ours, _), process(serve_bare, kind) as (bare, _):
            figures: dict[int, list[float]] = {ours: [], bare: []}
            for _ in range(rounds):
                figures[ours].append(events_per_second(ours, count))
                figures[bare].append(events_per_second(bare, count // 10))
            name = f"{kind.removeprefix('sse-')} generator, one stream, ev/s"
            table.row(name, figures[ours], figures[bare], ",.0f", ">= 50,000, or >= 0.90")


def bench_import(table: Table, quick: bool) -> None:
    def seconds(statement: str) -> float:
        code = f"import time; t=time.perf_counter(); {statement}; print(time.perf_counter()-t)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        return float(done.stdout)

    ours, bare = [], []
    for _ in range(3 if quick else 7):
        ours.append(seconds("import livepeer.runner"))
        bare.append(seconds("import fastapi, aiohttp"))
    table.row("import livepeer.runner, s", ours, bare, ".3f", "<= 0.50")


def bench_rss(table: Table, quick: bool) -> None:
    import psutil

    ours, bare = [], []
    for _ in range(1 if quick else 3):
        with process(serve_ours, "async") as (_, pid):
            ours.append(psutil.Process(pid).memory_info().rss / 1e6)
        with process(serve_bare, "async") as (_, pid):
            bare.append(psutil.Process(pid).memory_info().rss / 1e6)
    table.row("idle RSS, MB", ours, bare, ".1f", "<= 1.20")


def bench_start(table: Table, quick: bool) -> None:
    import runner_start  # it stands on this module

    runner_start.bench_start(table, quick)


def bench_garbage(table: Table, quick: bool) -> None:
    import runner_start

    runner_start.bench_garbage(table, quick)


BENCHES = {
    "start": bench_start,
    "predict": bench_predict,
    "tail": bench_tail,
    "garbage": bench_garbage,
    "sse": bench_sse,
    "import": bench_import,
    "rss": bench_rss,
}


def _run(coroutine: Any) -> Any:
    if importlib.util.find_spec("uvloop"):
        import uvloop

        return uvloop.run(coroutine)
    return asyncio.run(coroutine)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", choices=sorted(BENCHES), help="one part")
    arguments = parser.parse_args()
    table = Table()
    for name, bench in BENCHES.items():
        if arguments.only in (None, name):
            bench(table, arguments.quick)


if __name__ == "__main__":
    main()
