"""How much does `livepeer.client` cost? One table: ours beside the limit of this machine.

    python benchmarks/client.py [--quick]

- `run` against a bare `aiohttp.ClientSession.post` with the same body, both on a warm connection to
  the same server in another process; rounds take turns, so that a noisy neighbour hurts both alike.
- `stream` against a bare aiohttp loop over lines, from a server that writes as fast as it can.
- `live` through the client: 720p30, glass to glass by the whole road (`e2e.py` has its parts), with
  the goals of the live runner, since the client may not add to them.
- `import livepeer.client` against `import aiohttp`, each in a fresh interpreter.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from typing import Any

import e2e
import glass

BODY = b'{"text":"hello"}'
REPLY = b'{"label":"positive","score":0.5}'


class Server(asyncio.Protocol):
    """The least that answers tokens, jobs and streams."""

    events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.room = asyncio.Event()
        self.room.set()
        self.buffer = b""

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if b"POST" in head[:5]:
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
            if len(body) < length:
                return
        self.buffer = b""
        if head.startswith(b"GET"):
            self.answer(b'{"price":{"pixelsPerUnit":1},"available_capacity":9}')
        elif b"/chat" in head[:60]:
            self.task = asyncio.ensure_future(self.stream())
        elif b"/schema" in head[:60]:
            self.answer(b"404", b"404 Not Found")
        else:
            self.answer(REPLY)

    def answer(self, body: bytes, status: bytes = b"200 OK") -> None:
        self.transport.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )

    async def stream(self) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        event = b'data: {"token":"hello","index":12345}\n\n'
        block = event * 50
        piece = b"%x\r\n%b\r\n" % (len(block), block)
        for _ in range(self.events // 50):
            await self.room.wait()
            self.transport.write(piece)
        self.transport.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def serve(events: int, ready: Any) -> None:
    async def main() -> None:
        Server.events = events
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        ready.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def process(events: int) -> Any:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    child = context.Process(target=serve, args=(events, theirs), daemon=True)
    child.start()
    try:
        if not mine.poll(20):
            raise RuntimeError("the server did not start")
        yield mine.recv()
    finally:
        child.terminate()
        child.join(5)


async def same_call(session: Any, target: str) -> Any:
    """What a user of aiohttp would write for the same job: its header, no redirects, a limit of
    time for all of it and for connecting, and one of the answer's size."""
    import aiohttp

    from livepeer.client.protocol.wire import JOB, JobHeader

    job = JobHeader(uuid.uuid4().hex, "echo", 120).header(sender="0x" + "0" * 40)
    limits = aiohttp.ClientTimeout(total=120, sock_connect=10)
    async with session.post(
        target,
        data=json.dumps({"text": "hello"}).encode(),
        headers={JOB: job, "Content-Type": "application/json", "Accept-Encoding": "identity"},
        allow_redirects=False,
        timeout=limits,
    ) as response:
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > 1 << 30:
                raise ValueError("the answer is too long")
        return json.loads(bytes(body))


async def run_overhead(url: str, calls: int) -> tuple[float, float, float]:
    """Medians in milliseconds: bare aiohttp, `run_async`, and `run` from a thread."""
    import aiohttp

    from livepeer.client import Gateway

    text = {"text": "hello"}
    took: dict[str, list[float]] = {"bare": [], "async": [], "sync": []}
    async with aiohttp.ClientSession() as session, Gateway(orch_url=url) as gw:

        async def bare() -> None:
            async with session.post(f"{url}/process/request/predict", data=BODY) as response:
                json.loads(await response.read())

        async def ours() -> None:
            await gw.run_async("echo", input=text)

        def sync(n: int) -> list[float]:
            times = []
            for _ in range(n):
                begun = time.perf_counter()
                gw.run("echo", input=text)
                times.append(time.perf_counter() - begun)
            return times

        await asyncio.gather(bare(), ours(), asyncio.to_thread(sync, 1))
        for _ in range(calls // 50):
            for name, call in (("bare", bare), ("async", ours)):
                for _ in range(50):
                    begun = time.perf_counter()
                    await call()
                    took[name].append(time.perf_counter() - begun)
            took["sync"] += await asyncio.to_thread(sync, 50)
    bare_ms, async_ms, sync_ms = (statistics.median(each) * 1e3 for each in took.values())
    return bare_ms, async_ms, sync_ms


async def stream_rates(url: str, rounds: int) -> tuple[float, float, float]:
    """Events per second: bare aiohttp by line, `stream_async`, and `stream` from a thread."""
    import aiohttp

    from livepeer.client import Gateway

    async def bare(session: aiohttp.ClientSession) -> int:
        count = 0
        async with session.post(f"{url}/process/request/chat", data=BODY) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    count += 1
        return count

    async def ours(gw: Gateway) -> int:
        count = 0
        async with gw.stream_async("llm", route="chat") as events:
            async for _ in events:
                count += 1
        return count

    def sync(gw: Gateway) -> int:
        with gw.stream("llm", route="chat") as events:
            return sum(1 for _ in events)

    rates: list[list[float]] = [[], [], []]
    async with aiohttp.ClientSession() as session, Gateway(orch_url=url) as gw:
        for _ in range(rounds):
            for kept, call in zip(
                rates,
                (lambda: bare(session), lambda: ours(gw), lambda: asyncio.to_thread(sync, gw)),
                strict=True,
            ):
                begun = time.perf_counter()
                count = await call()
                kept.append(count / (time.perf_counter() - begun))
    a, b, c = (statistics.median(each) for each in rates)
    return a, b, c


def import_seconds(statement: str, rounds: int) -> float:
    def once() -> float:
        program = (
            f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    return statistics.median(once() for _ in range(rounds))


def verdict(value: float, goal: float, *, least: bool = False) -> str:
    return "met" if (value >= goal if least else value <= goal) else "MISSED"


def live_rows(seconds: float) -> list[tuple[str, ...]]:
    found = e2e.measure(seconds)
    took = e2e.glass_to_glass(found)
    figures = (
        ("live 720p30, ms p50", glass.percentile(took, 50), 40),
        ("live 720p30, ms p95", glass.percentile(took, 95), 60),
        # From the call of `live` on: starting the stream is a part of it.
        ("live, ms to the first picture", (found["marks"][0][3] - found["begin"]) / 1e3, 300),
    )
    rows = [
        (what, f"{value:.1f}", "", f"<= {goal}", verdict(value, goal))
        for what, value, goal in figures
    ]
    came = f"{len(found['marks'])} of {found['sent']}"
    return [*rows, ("live, pictures that came back", came, "", "", "")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    calls, events, rounds = (200, 20_000, 2) if quick else (2000, 100_000, 5)

    with process(events) as url:
        bare, ours, sync = asyncio.run(run_overhead(url, calls))
        lines, stream, stream_sync = asyncio.run(stream_rates(url, rounds))
    aiohttp = import_seconds("import aiohttp", rounds)
    root = import_seconds("import livepeer.client", rounds)
    used = import_seconds("from livepeer.client import Gateway", rounds)

    def call(what: str, took: float) -> tuple[str, ...]:
        over = took - bare
        return what, f"{took:.3f}", f"{bare:.3f}", "<= + 1", f"{verdict(over, 1)}, + {over:.3f}"

    def rate(what: str, found: float) -> tuple[str, ...]:
        passed = verdict(found, 50_000, least=True)
        return what, f"{found:,.0f}", f"{lines:,.0f}", ">= 50,000", passed

    def imported(what: str, took: float, goal: str, passed: str) -> tuple[str, ...]:
        return what, f"{took:.3f}", f"{aiohttp:.3f}", goal, f"{passed}x {took / aiohttp:.2f}"

    passed = verdict(root / aiohttp, 1.2)
    rows = [
        call("run_async, ms p50", ours),
        call("run, ms p50", sync),
        rate("stream_async, events/s", stream),
        rate("stream, events/s", stream_sync),
        *live_rows(6.0 if quick else 15.0),
        imported("import livepeer.client, s", root, "<= x 1.2", f"{passed}, "),
        imported("... and Gateway, s", used, "", ""),
    ]
    glass.table([list(row) for row in rows], ("what", "ours", "bare aiohttp", "goal", ""))


if __name__ == "__main__":
    main()
