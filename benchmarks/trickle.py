"""How fast is `livepeer.trickle`? One table: ours, the limits of this machine, a peer server.

    python benchmarks/trickle.py [--quick] [--only publish]

Compare within a row only: figures of different runs or machines say nothing. Each figure is the
median of rounds that take turns, so that a noisy neighbour hurts all columns alike.

- "raw" is asyncio over sockets with hand-written requests: what the event loop can do at all.
- "aiohttp" is a bare `aiohttp.ClientSession` with two requests in flight, which is what
  connecting ahead makes possible.
- Clients are measured against a raw source and a raw sink in another process, so that the client
  is what limits; servers are measured from clients in another process, for the same reason.
- A peer server is measured too where LIVEPEER_INTEROP_TRICKLE_URL names one.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import Any

KB, MB = 1024, 1024 * 1024
PEER = os.environ.get("LIVEPEER_INTEROP_TRICKLE_URL", "").rstrip("/")


# --- the other process ---------------------------------------------------------------------------


class RawPeer(asyncio.Protocol):
    """The least that is an HTTP server: swallows any POST, answers any GET with `size` bytes."""

    size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.tail = b""
        self.posting = False

    def data_received(self, data: bytes) -> None:
        if not self.posting and data.startswith(b"GET "):
            self._get(data)
            return
        self.tail = (self.tail + data)[-5:] if len(data) < 5 else data[-5:]
        self.posting = True
        if self.tail == b"0\r\n\r\n" or (b"ontent-Length: 0" in data[:1000]):
            self.posting = False
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def _get(self, data: bytes) -> None:
        path = data[4 : data.index(b" ", 4)]
        last = path.rsplit(b"/", 1)[1]
        if last == b"next":
            body = b"HTTP/1.1 200 OK\r\nLp-Trickle-Latest: 0\r\nContent-Length: 1\r\n\r\n0"
            self.transport.write(body)
            return
        seq = max(0, int(last))
        head = (
            b"HTTP/1.1 200 OK\r\nLp-Trickle-Seq: %d\r\nContent-Type: video/MP2T\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" % seq
        )
        block = bytes(min(self.size, 64 * KB))
        chunk = b"%x\r\n%b\r\n" % (len(block), block)
        self.transport.write(head + chunk * max(1, self.size // len(block)) + b"0\r\n\r\n")


def _serve_raw(size: int, ready: Any) -> None:
    async def main() -> None:
        RawPeer.size = size
        server = await asyncio.get_running_loop().create_server(RawPeer, "127.0.0.1", 0)
        ready.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await asyncio.Event().wait()

    asyncio.run(main())


def _serve_trickle(ready: Any) -> None:
    from livepeer.trickle import TrickleServer

    async def main() -> None:
        async with TrickleServer() as server:
            ready.send(server.url)
            await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def process(target: Callable[..., None], *args: Any) -> Any:
    """Run `target` in another process; gives the URL that it tells."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    child = context.Process(target=target, args=(*args, theirs), daemon=True)
    child.start()
    try:
        if not mine.poll(20):
            raise RuntimeError("the other process did not start")
        yield mine.recv()
    finally:
        child.terminate()
        child.join(5)


# --- clients -------------------------------------------------------------------------------------


async def publish_ours(url: str, size: int, count: int) -> None:
    from livepeer.trickle import TricklePublisher

    data = bytes(size)
    async with TricklePublisher(url, create=True, linger=0, delete_on_close=False) as publisher:
        for _ in range(count):
            await publisher.write(data)
    if publisher.stats.segments != count:
        raise RuntimeError(f"{publisher.stats}")


async def publish_aiohttp(url: str, size: int, count: int) -> None:
    import aiohttp

    data = bytes(size)
    numbers = iter(range(count))

    async def lane(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            async with session.post(f"{url}/{number}", data=data, chunked=True) as response:
                await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(lane(session), lane(session))


async def publish_raw(url: str, size: int, count: int) -> None:
    origin, _, name = url.removeprefix("http://").partition("/")
    host, _, port = origin.partition(":")
    channel = name.encode()
    data = bytes(size)
    numbers = iter(range(count))

    async def lane() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in numbers:
            writer.write(
                b"POST /%b/%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n"
                % (channel, number, size)
            )
            writer.write(data)
            writer.write(b"\r\n0\r\n\r\n")
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    await asyncio.gather(lane(), lane())


async def subscribe_ours(url: str, size: int, count: int) -> None:
    from livepeer.trickle import TrickleSubscriber

    got = 0
    async with TrickleSubscriber(url, start=0) as subscriber:
        async for segment in subscriber:
            async for chunk in segment:
                got += len(chunk)
            if segment.seq == count - 1:
                break
    if got != size * count:
        raise RuntimeError(f"{got} of {size * count} bytes")


async def subscribe_aiohttp(url: str, size: int, count: int) -> None:
    import aiohttp

    numbers = iter(range(count))

    async def lane(session: aiohttp.ClientSession) -> int:
        got = 0
        for number in numbers:
            async with session.get(f"{url}/{number}") as response:
                async for chunk in response.content.iter_any():
                    got += len(chunk)
        return got

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        got = sum(await asyncio.gather(lane(session), lane(session)))
    if got != size * count:
        raise RuntimeError(f"{got} of {size * count} bytes")


async def subscribe_raw(url: str, size: int, count: int) -> None:
    host, _, port = url.removeprefix("http://").split("/")[0].partition(":")
    numbers = iter(range(count))

    async def lane() -> None:
        reader, writer = await asyncio.open_connection(host, int(port), limit=256 * KB)
        for number in numbers:
            writer.write(b"GET /cam/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            await reader.readuntil(b"\r\n\r\n")
            while length := int((await reader.readuntil(b"\r\n"))[:-2], 16):
                await reader.readexactly(length + 2)
            await reader.readexactly(2)
        writer.close()

    await asyncio.gather(lane(), lane())


# --- whole paths, through a trickle server -------------------------------------------------------


async def latency(url: str, count: int) -> list[float]:
    """Seconds from `write` to the reader, mid-segment, for chunks 5 ms apart."""
    from livepeer.trickle import TricklePublisher, TrickleSubscriber

    delays: list[float] = []
    async with (
        TricklePublisher(url, create=True, linger=0) as publisher,
        TrickleSubscriber(url, start=0) as subscriber,
    ):

        async def read() -> None:
            came = b""
            async for chunk in await anext(subscriber):
                now = time.perf_counter()
                came += chunk  # two that gathered come as one
                while len(came) >= 1316:
                    delays.append(now - float(came[:1316].rstrip(b"\0")))
                    came = came[1316:]

        reading: asyncio.Task[None] | None = None
        async with publisher.segment() as segment:
            for _ in range(count):
                await segment.write(repr(time.perf_counter()).encode().ljust(1316, b"\0"))
                reading = reading or asyncio.create_task(read())
                await asyncio.sleep(0.005)
        if reading is not None:
            await reading
    return delays[5:]


async def records(url: str, count: int) -> None:
    from livepeer.trickle import JSONLPublisher, JSONLSubscriber

    async with JSONLPublisher(url, create=True, linger=0) as publisher:

        async def read() -> int:
            async with JSONLSubscriber(url, start=0) as subscriber:
                seen = 0
                async for record in subscriber:
                    if record["n"] != seen:
                        raise RuntimeError(f"record {record['n']} where {seen} was due")
                    seen += 1
                    if seen == count:
                        break
            return seen

        reading = asyncio.create_task(read())
        for number in range(count):
            await publisher.write({"n": number, "text": "some words of a transcript"})
        await publisher.flush()
        if await asyncio.wait_for(reading, 60) != count:
            raise RuntimeError("records were lost")


def _fan_reader(url: str, readers: int, pipe: Any) -> None:
    async def read() -> int:
        # Raw readers, since fifty Python clients would measure themselves.
        host, _, port = url.removeprefix("http://").split("/")[0].partition(":")
        path = "/" + url.removeprefix("http://").split("/", 1)[1]
        reader, writer = await asyncio.open_connection(host, int(port), limit=256 * KB)
        writer.write(f"GET {path}/0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got = 0
        while data := await reader.read(256 * KB):
            got += len(data)
        writer.close()
        return got

    async def main() -> None:
        tasks = [asyncio.create_task(read()) for _ in range(readers)]
        await asyncio.sleep(0.2)
        pipe.send("ready")
        pipe.send(sum(await asyncio.gather(*tasks)))

    asyncio.run(main())


async def fan_out(url: str, readers: int, size: int, count: int) -> float:
    """Bytes a second that a server hands to `readers` of one segment, written in `size` pieces."""
    from livepeer.trickle import TricklePublisher

    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    async with TricklePublisher(url, create=True, linger=0.5) as publisher:
        child = context.Process(target=_fan_reader, args=(url, readers, theirs), daemon=True)
        child.start()
        await loop.run_in_executor(None, mine.recv)
        began = time.perf_counter()
        async with publisher.segment() as segment:
            for _ in range(count):
                await segment.write(bytes(size))
        got = await loop.run_in_executor(None, mine.recv)
        seconds = time.perf_counter() - began
        child.join(5)
    if got < readers * size * count:
        raise RuntimeError(f"{got} of {readers * size * count} bytes arrived")
    return got / seconds


# --- the table -----------------------------------------------------------------------------------

Client = Callable[[str, int, int], Awaitable[None]]


def turns(
    url: str, clients: dict[str, Client], size: int, count: int, rounds: int
) -> dict[str, float]:
    """Segments a second of each client, which take turns, each time on a fresh channel."""
    rates: dict[str, list[float]] = {name: [] for name in clients}
    for name, client in clients.items():  # imports and first calls are not what is measured
        asyncio.run(client(f"{url}/{name}", size, 2))  # type: ignore[arg-type]
    for turn in range(rounds):
        for name, client in clients.items():
            began = time.perf_counter()
            asyncio.run(client(f"{url}/{name}-{turn}", size, count))  # type: ignore[arg-type]
            rates[name].append(count / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in rates.items()}


def row(
    name: str,
    unit: str,
    ours: float,
    raw: float | None,
    bare: float | None,
    peer: float | None = None,
) -> None:
    def cell(value: float | None) -> str:
        return (
            f"{value:,.2f}"
            if value is not None and value < 100
            else "–"
            if value is None
            else f"{value:,.0f}"
        )

    ratio = f"{ours / bare:.2f}" if bare else "–"
    line(name, unit, cell(ours), cell(raw), cell(bare), ratio, cell(peer))


def line(name: str, unit: str, *cells: str) -> None:
    print(f"| {name:27} | {unit:6} | " + " | ".join(f"{cell:>7}" for cell in cells) + " |")
    sys.stdout.flush()


SIZES = ((KB, 2000), (64 * KB, 600), (MB, 120), (8 * MB, 16))


def clients_table(direction: str, rounds: int, scale: float) -> None:
    clients: dict[str, Client] = (
        {"ours": publish_ours, "raw": publish_raw, "aiohttp": publish_aiohttp}
        if direction == "publish"
        else {"ours": subscribe_ours, "raw": subscribe_raw, "aiohttp": subscribe_aiohttp}
    )
    if direction == "publish":
        # Ours sends the first byte of a segment when the one before is acknowledged, so that
        # numbers keep their order; the two lanes beside it may overtake each other.
        with process(_serve_trickle) as url:
            rates = turns(url, clients, KB, max(8, int(1000 * scale)), rounds)
        row("publish 1 KB to our server", "segm/s", rates["ours"], rates["raw"], rates["aiohttp"])
    for size, count in SIZES:
        with process(_serve_raw, size) as url:
            rates = turns(url, clients, size, max(8, int(count * scale)), rounds)
        if size == KB:
            row(f"{direction} 1 KB", "segm/s", rates["ours"], rates["raw"], rates["aiohttp"])
        else:
            name = f"{direction} {size // KB} KB" if size < MB else f"{direction} {size // MB} MB"
            gb = {key: rate * size / 1e9 for key, rate in rates.items()}
            row(name, "GB/s", gb["ours"], gb["raw"], gb["aiohttp"])


def paths_table(rounds: int, scale: float) -> None:
    def on(url: str) -> dict[str, float]:
        stamp = f"{url}/bench-{os.getpid()}-{time.monotonic_ns()}"
        delays = sorted(asyncio.run(latency(stamp + "-l", int(400 * scale))))
        count = int(60_000 * scale)
        rates, fans = [], []
        for turn in range(rounds):
            began = time.perf_counter()
            asyncio.run(records(f"{stamp}-r{turn}", count))
            rates.append(count / (time.perf_counter() - began))
            fans.append(asyncio.run(fan_out(f"{stamp}-f{turn}", 50, 64 * KB, int(100 * scale))))
        return {
            "p50": delays[len(delays) // 2] * 1e3,
            "p95": delays[int(len(delays) * 0.95)] * 1e3,
            "records": statistics.median(rates),
            "fan": statistics.median(fans) / 1e9,
        }

    with process(_serve_trickle) as url:
        ours = on(url)
    peer: dict[str, float] = on(PEER) if PEER else {}
    for name, unit, key in (
        ("mid-segment latency p50", "ms", "p50"),
        ("mid-segment latency p95", "ms", "p95"),
        ("JSON records, none lost", "rec/s", "records"),
        ("server, 50 readers × 64 KB", "GB/s", "fan"),
    ):
        row(name, unit, ours[key], None, None, peer.get(key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", choices=["publish", "subscribe", "paths"])
    arguments = parser.parse_args()
    rounds, scale = (1, 0.25) if arguments.quick else (3, 1.0)
    line("", "", "ours", "raw", "aiohttp", "/aioh.", "peer")
    line("-" * 27, "-" * 6, *["-" * 7] * 5)
    for direction in ("publish", "subscribe"):
        if arguments.only in (None, direction):
            clients_table(direction, rounds, scale)
    if arguments.only in (None, "paths"):
        paths_table(rounds, scale)
    print(
        json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "peer": bool(PEER)})
    )


if __name__ == "__main__":
    main()
