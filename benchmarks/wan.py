"""A live session over a distance: round trips of 0, 80 and 200 ms. 720p30, over TLS.

    python benchmarks/wan.py [--seconds 5] [--rtt 80] [--registry live-runner] [--trace]

Processes of their own: the local orchestrator, a served pipeline beside it (no distance between
these two), a proxy, and for each round trip a caller. The proxy passes bytes on in order after half
the round trip, in each direction, as many as come. A new connection costs its caller one round trip
before the first byte, as the handshake of TCP does. Bandwidth, loss and slow start of a real
network are not in it. What the proxy itself adds is measured in the same run, by a byte that comes
back from an echo behind it, 30 times a second. `again` is the first picture of the gateway's next
session: its connection to the orchestrator is there, and its runner is known.

`--trace` prints what the start of a session at the last round trip waits for: each connection and
each request, with the milliseconds since the call to `gw.live`.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import functools
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import e2e
import glass

ROUND_TRIPS = (0, 80, 200)
FIRST_PICTURE_GOALS = {80: 450.0, 200: 1000.0}
"""Milliseconds from the call to the first picture, by round trip."""
P50_GOAL, P95_GOAL = 15.0, 35.0
"""Milliseconds above the round trip, glass to glass."""
PINGS = 60


# --- the distance --------------------------------------------------------------------------------


class Far(asyncio.Protocol):
    """One end of a connection; what it receives leaves at the other end after `delay` seconds."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._waiting: collections.deque[tuple[float, bytes | None]] = collections.deque()
        self._other: asyncio.Future[asyncio.WriteTransport] = asyncio.Future()
        self._due: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    def join(self, other: asyncio.WriteTransport) -> None:
        self._other.set_result(other)
        self._leave()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def eof_received(self) -> bool:
        self._take(None)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._take(None)

    def _take(self, data: bytes | None) -> None:
        self._waiting.append((asyncio.get_running_loop().time() + self._delay, data))
        if len(self._waiting) == 1:
            self._leave()

    def _leave(self) -> None:
        """Send what is due, and come back for the rest."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if not self._other.done():
            return
        loop, other = asyncio.get_running_loop(), self._other.result()
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, data = self._waiting.popleft()
            if data is None:
                other.close()
            elif not other.is_closing():
                other.write(data)
        if self._waiting:
            self._due = loop.call_at(self._waiting[0][0], self._leave)


def proxy(port: int, round_trips: Sequence[int], pipe: Any) -> None:
    """Listens once for each round trip; tells the ports to the orchestrator and to an echo."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        opening: set[asyncio.Task[None]] = set()

        async def open_for(near: Far, to: int, delay: float) -> None:
            far = Far(delay)
            try:
                await loop.create_connection(lambda: far, "127.0.0.1", to)
            except OSError:
                assert near.transport is not None
                near.transport.close()
                return
            assert far.transport is not None and near.transport is not None
            near.join(far.transport)
            far.join(near.transport)

        class Near(Far):
            def __init__(self, to: int, delay: float) -> None:
                super().__init__(delay)
                self._to = to

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                task = loop.create_task(open_for(self, self._to, self._delay))
                opening.add(task)
                task.add_done_callback(opening.discard)

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        echoing = await asyncio.start_server(echo, "127.0.0.1", 0)
        ports = []
        for rtt in round_trips:
            both = []
            for to in (port, echoing.sockets[0].getsockname()[1]):
                make = functools.partial(Near, to, rtt / 2000)
                server = await loop.create_server(make, "127.0.0.1", 0)
                both.append(server.sockets[0].getsockname()[1])
            ports.append(both)
        pipe.send(ports)
        await asyncio.Event().wait()

    asyncio.run(main())


# --- the caller ----------------------------------------------------------------------------------


class Distant(asyncio.SelectorEventLoop):
    """The loop of a caller that is far from one port: what is for it goes by the proxy."""

    def __init__(self, port: int, by: int, rtt: float, trace: Trace) -> None:
        super().__init__()
        self._port, self._by, self._rtt, self._trace = port, by, rtt, trace

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        if address[1] != self._port:
            return await super().sock_connect(sock, address)
        with self._trace.span("TCP"):
            await super().sock_connect(sock, ("127.0.0.1", self._by))
            await asyncio.sleep(self._rtt)


class Step(NamedTuple):
    """Microseconds of its begin and end (0 where it did not end), and what it was."""

    begin: int
    end: int
    what: str


class Trace:
    """What a start waits for; empty unless it is asked for."""

    def __init__(self, on: bool) -> None:
        self.steps: list[Step] = []
        self._on = on
        if on:
            self._watch()

    @contextlib.contextmanager
    def span(self, what: str) -> Iterator[None]:
        begin, end = glass.microseconds(), 0
        try:
            yield
            end = glass.microseconds()
        finally:
            if self._on:
                self.steps.append(Step(begin, end, what))

    def mark(self, what: str) -> None:
        if self._on:
            self.steps.append(Step(now := glass.microseconds(), now, what))

    def _watch(self) -> None:
        from livepeer.client.http.requests import Http
        from livepeer.trickle.http.exchange import HTTPExchange
        from livepeer.trickle.http.pool import Pool

        asked, connect, made = Http.open, Pool.connect, HTTPExchange.__init__
        received = HTTPExchange.received

        async def open_(http: Any, method: str, url: str, **options: Any) -> Any:
            with self.span(f"{method} {_path(url)}, to its headers"):
                return await asked(http, method, url, **options)

        async def connected(pool: Any, *given: Any) -> Any:
            with self.span(f"TCP and TLS for {_path(given[-1])}"):
                return await connect(pool, *given)

        def begun(exchange: Any, *given: Any, **options: Any) -> None:
            method, url = given[2:4]
            self.mark(f"{method} {_path(url)}")
            exchange.told = f"{method} {_path(url)}"
            made(exchange, *given, **options)

        def came(exchange: Any, *given: Any) -> None:
            if told := exchange.__dict__.pop("told", None):
                self.mark(f"first bytes of the answer: {told}")
            received(exchange, *given)

        patched: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
            (Http, "open", open_),
            (Pool, "connect", connected),
            (HTTPExchange, "__init__", begun),
            (HTTPExchange, "received", came),
        )
        for owner, name, by in patched:
            setattr(owner, name, by)


def _path(url: str) -> str:
    """The end of the path, without the id of the stream."""
    return re.sub("[0-9a-f]{16,}", "ID", "/".join(urlsplit(url).path.split("/")[-2:]))


def caller(
    url: str, registry: str, by: Sequence[int], rtt: int, seconds: float, trace: bool, pipe: Any
) -> None:
    os.environ["LIVEPEER_PINS"] = str(Path(tempfile.mkdtemp()) / "pins.json")
    pictures = glass.scenery(60)
    traced = Trace(trace)
    port = urlsplit(url).port
    assert port is not None

    def far() -> asyncio.AbstractEventLoop:
        return Distant(port, by[0], rtt / 1000, traced)

    with asyncio.Runner(loop_factory=far) as runner:
        found = runner.run(_session(url, registry, pictures, seconds, traced))
        found["pings"] = runner.run(_pings(by[1]))
    pipe.send(found | {"steps": traced.steps})


async def _session(
    url: str, registry: str, pictures: list[Any], seconds: float, trace: Trace
) -> dict[str, Any]:
    from livepeer.client import Gateway
    from livepeer.trickle.media import SegmentEncoder, VideoOutput

    # What the first session of a process pays once, whatever the distance.
    SegmentEncoder(VideoOutput(), None).encode(
        e2e.VideoFrame.from_ndarray(pictures[0], "yuv420p", time=0)
    )
    trace.steps.clear()
    marks: list[tuple[int, int]] = []
    async with Gateway(orch_url=url, tls="pin") as gw:
        begin = glass.microseconds()
        async with gw.live(e2e.NAMES[registry], data=False, audio=None) as session:
            started = glass.microseconds()
            trace.mark("the session has started")
            session.publish(e2e.paced(pictures, seconds))
            async for frame in session.subscribe():
                now = glass.microseconds()
                if not marks:
                    trace.mark("the first picture is back")
                if (drawn := glass.read(frame.planes[0])) is not None:
                    marks.append((drawn, now))
            stats = session.stats()
        again = await _first_picture(gw, e2e.NAMES[registry], pictures)
    assert stats.published is not None
    return {
        "marks": marks,
        "sent": stats.published.frames,
        "begin": begin,
        "started": started,
        "again": again,
    }


async def _first_picture(gw: Any, name: str, pictures: list[Any]) -> float:
    """Milliseconds from the call of another session of a gateway to its first picture."""
    begin = glass.microseconds()
    async with gw.live(name, data=False, audio=None) as session:
        session.publish(e2e.paced(pictures, 2.0))
        async for _ in session.subscribe():
            return (glass.microseconds() - begin) / 1e3
    return float("nan")


async def _pings(port: int) -> list[float]:
    """Milliseconds from a byte to its echo."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for _ in range(PINGS):
        begin = time.perf_counter()
        writer.write(b".")
        await reader.readexactly(1)
        took.append((time.perf_counter() - begin) * 1e3)
        await asyncio.sleep(1 / e2e.FPS)
    writer.close()
    return took


# --- the table -----------------------------------------------------------------------------------


def row(rtt: int, found: dict[str, Any]) -> list[str]:
    marks, began = found["marks"], found["started"]
    whole = [(came - drawn) / 1e3 for drawn, came in marks if drawn > began + e2e.WARM_UP * 1e6]
    p50, p95, p99 = (glass.percentile(whole, share) for share in (50, 95, 99))
    first = (marks[0][1] - found["begin"]) / 1e3
    pings = found["pings"]
    return [
        str(rtt),
        f"{glass.percentile(pings, 50):.1f} / {glass.percentile(pings, 95):.1f}",
        f"{(began - found['begin']) / 1e3:.0f}",
        _beside(first, FIRST_PICTURE_GOALS.get(rtt), ".0f"),
        _beside(found["again"], FIRST_PICTURE_GOALS.get(rtt), ".0f"),
        _beside(p50, rtt + P50_GOAL),
        _beside(p95, rtt + P95_GOAL),
        f"{p99:.1f}",
        f"{found['sent'] - len(marks)} of {found['sent']}",
    ]


def _beside(value: float, goal: float | None, form: str = ".1f") -> str:
    if goal is None:
        return f"{value:{form}}"
    return f"{value:{form}} (≤ {goal:.0f}{'' if value <= goal else ', MISSED'})"


def measure(
    round_trips: Sequence[int], seconds: float, trace: bool, registry: str
) -> list[dict[str, Any]]:
    with (
        glass.process(e2e.orchestrator) as one,
        glass.process(e2e.container, url := glass.told(one), registry) as two,
        glass.process(proxy, urlsplit(url).port, round_trips) as three,
    ):
        glass.told(two)
        ports = glass.told(three)
        found = []
        for rtt, by in zip(round_trips, ports, strict=True):
            with glass.process(caller, url, registry, by, rtt, seconds, trace) as four:
                found.append(glass.told(four, seconds + 60))
            if not found[-1]["marks"]:
                sys.exit(f"no picture came back over {rtt} ms")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of video for each round trip")
    parser.add_argument("--rtt", type=int, action="append", help="round trip in ms; repeatable")
    parser.add_argument("--registry", choices=tuple(e2e.NAMES), default="byoc")
    parser.add_argument("--trace", action="store_true", help="what the last start waited for")
    given = parser.parse_args()
    round_trips = given.rtt or ROUND_TRIPS
    found = measure(round_trips, given.seconds, given.trace, given.registry)
    glass.table(
        [row(rtt, each) for rtt, each in zip(round_trips, found, strict=True)],
        (
            "round trip, ms",
            "proxy's own",
            "start",
            "first picture",
            "again",
            "p50",
            "p95",
            "p99",
            "lost",
        ),
    )
    print(f"\n{given.registry}, 720p30, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
    if given.trace:
        last = found[-1]
        until = last["marks"][0][1] + 1000
        steps = sorted(step for step in last["steps"] if step.begin <= until)
        rows = [
            [
                f"{(step.begin - last['begin']) / 1e3:.0f}",
                f"{(step.end - step.begin) / 1e3:.0f}" if step.end > step.begin else "",
                step.what,
            ]
            for step in steps
        ]
        print()
        glass.table(rows, ("at ms", "took", "what"))


if __name__ == "__main__":
    main()
