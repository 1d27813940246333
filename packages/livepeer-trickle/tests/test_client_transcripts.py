"""What our clients send is what the reference server was seen to accept, and what it answered to
its own clients is what ours understand.

`clients.json` holds exchanges of go-livepeer's clients, with go-livepeer's server or with a script.
A player gives our client the answers that were recorded for the requests it makes; what our clients
do differently (they ask `/next`, repeat, resync) is in the expectations, and in `specs/trickle.md`.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livepeer.trickle import (
    ChannelClosed,
    SegmentFailed,
    Timeouts,
    TrickleError,
    TricklePublisher,
    TrickleSubscriber,
)
from livepeer.trickle.testing import Exchange, ScriptedServer

_FIXTURES = Path(__file__).resolve().parents[3] / "specs" / "fixtures" / "trickle"
_CLIENTS = json.loads((_FIXTURES / "clients.json").read_text())["scenarios"]
_SERVER = json.loads((_FIXTURES / "server.json").read_text())["scenarios"]
_SCENARIOS = {scenario["name"]: scenario for scenario in _CLIENTS}
_BASE = "/ai/trickle"

Eventually = Callable[[Callable[[], object]], Awaitable[None]]

_LIMITS = Timeouts(connect=5, write=5, answer=5, silence=10, outage=2)


def _bytes(pieces: list[Any]) -> bytes:
    return b"".join(
        piece.encode() if isinstance(piece, str) else piece["fill"].encode() * piece["count"]
        for piece in pieces
    )


class Player:
    """Answers each request as the recording answered the first one like it."""

    def __init__(self, server: ScriptedServer, name: str) -> None:
        self.server = server
        self.seen: list[Exchange] = []
        self.bodies: dict[str, bytes] = {}
        self._recorded = self._exchanges(_SCENARIOS[name])
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def _exchanges(scenario: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """By method and path: for each request its answers, and which came to an open body."""
        requests: dict[str, dict[str, Any]] = {}
        for step in scenario["steps"]:
            if "request" not in step:
                continue
            found = requests.setdefault(step["request"], {"answers": [], "ended": False})
            sent = step.get("sent", {})
            found["ended"] = sent.get("ended", found["ended"])
            if "method" in sent:
                found["method"], found["path"] = sent["method"], sent["path"]
            if "answer" in step:
                found["answers"].append({**step["answer"], "early": not found["ended"]})
            if "server_closed" in step:
                found["answers"].append({"cut": True, "early": not found["ended"]})
        recorded = defaultdict(list)
        for found in requests.values():
            recorded[found["method"], found["path"]].append(found)
        return recorded

    async def run(self) -> None:
        while True:
            exchange = await self.server._requests.get()
            self.seen.append(exchange)
            task = asyncio.create_task(self._play(exchange))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _play(self, exchange: Exchange) -> None:
        path = exchange.path
        if path.endswith("/next"):
            await exchange.answer(200, {"Lp-Trickle-Latest": "0"}, b"0")
            return
        recorded = self._recorded.get((exchange.method, path))
        if not recorded:
            return
        for answer in recorded.pop(0)["answers"]:
            if not answer["early"]:
                self.bodies[path] = await exchange.body()
            if answer.get("cut"):
                exchange.cut()
            elif answer["status"] == 100:
                await exchange.provisional()
            elif answer.get("body_cut"):
                await exchange.answer(answer["status"], answer["headers"], None)
                await exchange.send(_bytes(answer["pieces"]))
            else:
                headers = dict(answer["headers"])
                if headers.get("Transfer-Encoding") == "chunked":
                    await exchange.answer(answer["status"], headers, None)
                    await exchange.send(_bytes(answer["pieces"]))
                    await exchange.end()
                else:
                    await exchange.answer(answer["status"], headers, _bytes(answer["pieces"]))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def _playing(server: ScriptedServer, name: str) -> AsyncIterator[Player]:
    player = Player(server, name)
    running = asyncio.create_task(player.run())
    try:
        async with asyncio.timeout(60):
            yield player
    finally:
        running.cancel()
        player.stop()


# --- the shape of what is sent -------------------------------------------------------------------


def _shape(method: str, path: str, headers: dict[str, str]) -> tuple[object, ...]:
    """What the reference server looks at: method, kind of path, framing, and its own headers."""
    names = {name.lower(): value for name, value in headers.items()}
    last = path.rstrip("/").rpartition("/")[2]
    kind = last if last in ("-1", "-2", "next") else "N" if last.isdigit() else "channel"
    return (
        method,
        kind,
        names.get("transfer-encoding", "").lower() == "chunked",
        "expect" in names,
        bool(names.get("lp-trickle-reset")),
        "expect-content" in names,
    )


def _accepted() -> set[tuple[object, ...]]:
    """The shapes of all requests that the reference server answered with success."""
    shapes = set()
    for scenario in _CLIENTS:
        requests: dict[str, Any] = {}
        for step in scenario["steps"]:
            sent = step.get("sent", {})
            if "method" in sent:
                requests[step["request"]] = _shape(sent["method"], sent["path"], sent["headers"])
            if step.get("answer", {}).get("status") == 200:
                shapes.add(requests[step["request"]])
    for scenario in _SERVER:
        open_requests: dict[str, Any] = {}
        for step in scenario["steps"]:
            send = step.get("send", {})
            if "method" in send:
                headers = dict(send["headers"])
                if send.get("framing") == "chunked":
                    headers["Transfer-Encoding"] = "chunked"
                open_requests[step["conn"]] = _shape(send["method"], send["path"], headers)
            if step.get("expect", {}).get("status") == 200 and step["conn"] in open_requests:
                shapes.add(open_requests[step["conn"]])
    return shapes


async def test_every_request_of_our_clients_is_one_the_reference_accepted(
    scripted: ScriptedServer,
) -> None:
    url = scripted.url + _BASE + "/cam"
    seen: list[Exchange] = []

    async def serve() -> None:
        while True:
            exchange = await scripted._requests.get()
            seen.append(exchange)
            if exchange.path.endswith("/next"):
                await exchange.answer(200, {"Lp-Trickle-Latest": "0"}, b"0")
            elif exchange.method == "GET":
                await exchange.answer(404)
            elif exchange.path.rsplit("/", 1)[1].isdigit():
                tasks.append(asyncio.create_task(take(exchange)))
            else:
                await exchange.answer()

    async def take(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer()

    tasks: list[asyncio.Task[None]] = []
    serving = asyncio.create_task(serve())
    async with asyncio.timeout(40):
        async with TricklePublisher(url, create=True, linger=0) as publisher:
            for _ in range(3):
                async with publisher.segment() as segment:
                    await segment.write(b"x")
        for start in ("next", "current", 4):
            async with TrickleSubscriber(url, start=start) as subscriber:  # type: ignore[arg-type]
                with pytest.raises(TrickleError):
                    await anext(subscriber)
    serving.cancel()
    for task in tasks:
        task.cancel()
    accepted = _accepted()
    shapes = {_shape(e.method, e.path, dict(e.headers)) for e in seen}
    assert shapes <= accepted, shapes - accepted
    assert {shape[:2] for shape in shapes} == {
        ("POST", "channel"),
        ("GET", "next"),
        ("POST", "N"),
        ("DELETE", "channel"),
        ("GET", "-1"),
        ("GET", "-2"),
        ("GET", "N"),
    }


# --- publisher -----------------------------------------------------------------------------------

_PUBLISHER = {
    # scenario: what is written, by write -> (acknowledged, uncertain, error, paths of the POSTs)
    "publisher_session": (["first", "second", "third"], 3, 0, None),
    "publisher_big": ([100_000], 1, 0, None),
    "publisher_empty": (["", "x"], 2, 0, None),
    "publisher_503_late": (["a", "b"], 0, 2, None),
    "publisher_470": (["a"], 0, 1, None),
    "publisher_cut_at_end": (["a"], 0, 1, None),
    "publisher_cut_while_idle": (["", "b"], 1, 0, None),
    "publisher_many_provisional": (["a"], 1, 0, None),
    "publisher_terminated_early": (["a"], 0, 0, ChannelClosed),
}


@pytest.mark.parametrize("name", _PUBLISHER)
async def test_our_publisher_understands_what_the_server_told_gos(
    scripted: ScriptedServer, name: str
) -> None:
    writes, acknowledged, uncertain, error = _PUBLISHER[name]
    if name == "publisher_cut_while_idle":
        # Go's gives the number up; ours opens it again, so the recording has no answer to it.
        writes = []
        acknowledged = 0
    async with _playing(scripted, name) as player:
        publisher = TricklePublisher(
            scripted.url + _BASE + "/cam", linger=0, timeouts=_LIMITS, delete_on_close=False
        )
        sent: dict[str, bytes] = {}
        async with publisher:
            # The end of a channel may come before the first byte; it has to have come then.
            await asyncio.sleep(2 if error else 0.1)
            for data in writes:
                body = b"b" * data if isinstance(data, int) else data.encode()
                try:
                    async with publisher.segment() as segment:
                        if body:
                            await segment.write(body)
                    sent[f"{_BASE}/cam/{segment.seq}"] = body
                    await segment.acknowledged()
                except SegmentFailed:
                    continue
                except ChannelClosed as closed:
                    assert error is type(closed)
                    break
            else:
                assert error is None
    assert (publisher.stats.segments, publisher.stats.uncertain) == (acknowledged, uncertain)
    for path, body in player.bodies.items():
        assert sent[path] == body
    for exchange in player.seen:
        if exchange.method == "POST":
            assert exchange.headers["content-type"] == "video/MP2T"
            assert exchange.headers["transfer-encoding"] == "chunked"


async def test_a_channel_that_go_finds_deleted_is_deleted_for_ours_too(
    scripted: ScriptedServer,
) -> None:
    async with _playing(scripted, "publisher_channel_deleted"):
        publisher = TricklePublisher(scripted.url + _BASE + "/cam", linger=0, timeouts=_LIMITS)
        async with publisher:
            async with publisher.segment() as segment:
                await segment.write(b"a")
            await segment.acknowledged()
            with pytest.raises(ChannelClosed):
                for _ in range(5):
                    await asyncio.sleep(0.3)
                    async with publisher.segment() as segment:
                        await segment.write(b"b")


# --- subscriber ----------------------------------------------------------------------------------

_SUBSCRIBER = {
    # scenario: start, on_gap, segments read (number, body), what ends it
    "subscriber_session": ("next", "latest", [(0, b"a"), (1, b"b")], "end"),
    "subscriber_empty_segment": (0, "latest", [(1, b"b")], "wait"),
    "subscriber_500_once": (0, "latest", [(0, b"a"), (1, b"b")], "wait"),
    "subscriber_404_later": (0, "latest", [(0, b"a")], "end"),
    "subscriber_closed_404": (0, "latest", [], "end"),
    "subscriber_reads_ahead": (0, "latest", [(n, b"x") for n in range(4)], "wait"),
    "subscriber_cut_on_reuse": (0, "latest", [(0, b"a"), (1, b"b"), (2, b"c")], "wait"),
    "subscriber_no_seq": (0, "latest", [(0, b"a")], "wait"),
    "subscriber_500": (0, "latest", [], "error"),
    "subscriber_missing_channel": ("next", "latest", [], "error"),
    "subscriber_470": (1, "latest", [], "wait"),
}


@pytest.mark.parametrize("name", _SUBSCRIBER)
async def test_our_subscriber_understands_what_the_server_told_gos(
    scripted: ScriptedServer, eventually: Eventually, name: str
) -> None:
    start, on_gap, segments, end = _SUBSCRIBER[name]
    got: list[tuple[int, bytes]] = []

    async def read() -> None:
        async with TrickleSubscriber(
            scripted.url + _BASE + "/cam",
            start=start,  # type: ignore[arg-type]
            on_gap=on_gap,  # type: ignore[arg-type]
            # Where the recording ends with refusals, it has no answer to many more tries.
            timeouts=replace(_LIMITS, outage=0.4) if end == "error" else _LIMITS,
        ) as subscriber:
            async for segment in subscriber:
                got.append((segment.seq, await segment.read()))  # noqa: PERF401 — kept if cancelled

    async with _playing(scripted, name):
        reading = asyncio.create_task(read())
        if end == "wait":
            await eventually(lambda: reading.done() or len(got) >= len(segments))
            await asyncio.wait((reading,), timeout=0.3)
            assert not reading.done(), reading.result()
            reading.cancel()
            await asyncio.wait((reading,))
        else:
            await asyncio.wait((reading,), timeout=40)
            assert reading.done()
            failure = reading.exception()
            assert isinstance(failure, TrickleError) if end == "error" else failure is None
    if name == "subscriber_no_seq":
        # Go's asks for the same again and doubles it; ours takes the number that it asked for.
        assert got[:1] == segments
    else:
        assert got == segments
