"""Replays recorded transcripts of a trickle server (`specs/fixtures/trickle/server.json`).

A scenario is a list of steps: requests on raw connections, what has to arrive, what has to stay
silent, and what the server's own code does. `replay` does them in order against a `ReplayTarget`
and returns what was different; an empty list is a pass. Another trickle server in Python
can be replayed against by a target of four methods.

What a server may do differently (the transcripts' README): reason phrases, error texts and their
lengths, redirects, bodies of 405, and the answers to ill-formed HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from .trickle_connection import RawConnection
from .trickle_match import mismatches, missing, piece_bytes, seen

ARRIVES: Final = 5.0
"""Seconds within which what is expected has to arrive."""
WAITED: Final = 0.6
"""The same after a step that let time pass: it came meanwhile, or it is late."""
SETTLE: Final = 0.03
"""Seconds that a request without an expected answer gets to reach the server."""
SILENCE: Final = 0.3
"""Seconds without news that count as silence, as in the recording."""
ILL_FORMED: Final = frozenset({"broken_requests"})
"""Scenarios whose requests are no HTTP: any refusal will do."""

Step = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """One recorded story."""

    name: str
    about: str
    server: Mapping[str, Any]
    """Configuration: base_path, autocreate, changefeed, idle_timeout_s, sweep_interval_s."""
    steps: tuple[Step, ...]
    slow: bool = False
    reference_bug: bool = False


class ReplayTarget(Protocol):
    """A server to replay against; each scenario gets a fresh one."""

    async def start(self, config: Mapping[str, Any]) -> str:
        """Start, and return the URL of the server without the base path."""

    async def local(self, op: str, channel: str, *, content_type: str, data: bytes) -> bool:
        """`create`, `write` one whole segment to, or `close` a channel; False: no such channel."""

    async def end_channels(self) -> None:
        """Stop the trickle server while its HTTP listener stays."""

    async def stop(self) -> None:
        """Release everything."""


def load_scenarios(path: Path) -> list[Scenario]:
    """Read a transcript file."""
    document = json.loads(path.read_text())
    return [
        Scenario(
            name=entry["name"],
            about=entry["about"],
            server=document["servers"][entry["server"]],
            steps=tuple(entry["steps"]),
            slow=entry.get("slow", False),
            reference_bug=entry.get("reference_bug", False),
        )
        for entry in document["scenarios"]
    ]


async def replay(scenario: Scenario, target: ReplayTarget) -> list[str]:
    """Do the steps until one differs; return what differs, nothing where all is as recorded."""
    url = urlsplit(await target.start(scenario.server))
    run = _Run(scenario, target, url.hostname or "127.0.0.1", url.port or 80)
    try:
        for index, step in enumerate(scenario.steps):
            if differences := await run.step(step):
                return [f"step {index} {json.dumps(step)[:300]}: {d}" for d in differences]
        return []
    finally:
        await run.close()
        await target.stop()


class _Run:
    def __init__(self, scenario: Scenario, target: ReplayTarget, host: str, port: int) -> None:
        self._scenario = scenario
        self._target = target
        self._host = host
        self._port = port
        self._connections: dict[str, RawConnection] = {}
        self._old: list[RawConnection] = []
        self._arrives = ARRIVES

    async def close(self) -> None:
        for connection in [*self._old, *self._connections.values()]:
            await connection.close()

    async def step(self, step: Step) -> list[str]:
        if "local" in step:
            return await self._local(step["local"])
        arrives, self._arrives = self._arrives, ARRIVES
        if "wait_s" in step:
            await asyncio.sleep(step["wait_s"])
            self._arrives = WAITED
            return []
        if "stop_server" in step:
            await self._target.end_channels()
            return []
        name = step["conn"]
        if "send" in step:
            connection = await self._connection(name, step["send"])
            _send(connection, step["send"], f"{self._host}:{self._port}")
            await _settle()
            return []
        connection = self._connections[name]
        if "drop" in step:
            await connection.close()
            await _settle()
            return []
        if "half_close" in step:
            connection.half_close()
            return []
        if "blocks" in step:
            return await _stays_silent(connection)
        ill_formed = self._scenario.name in ILL_FORMED
        return await _expect(connection, step["expect"], arrives, ill_formed=ill_formed)

    async def _connection(self, name: str, send: Step) -> RawConnection:
        connection = self._connections.get(name)
        fresh = "method" in send or "raw" in send
        if connection is None or (fresh and not connection.usable):
            if connection is not None:
                self._old.append(connection)
            connection = await RawConnection.open(self._host, self._port)
            self._connections[name] = connection
        return connection

    async def _local(self, local: Step) -> list[str]:
        done = await self._target.local(
            local["op"],
            local["channel"],
            content_type=local.get("content_type", ""),
            data=piece_bytes(local.get("data", "")),
        )
        result, expected = "ok" if done else "not found", local.get("result", "ok")
        await _settle()
        return [] if result == expected else [f"{result}, not {expected}"]


def _send(connection: RawConnection, send: Step, host: str) -> None:
    if "raw" in send:
        if connection.answer.ended or not connection.sent_at:
            connection.begin(send["raw"].partition(" ")[0])
        connection.send(send["raw"].encode("latin-1"))
        return
    data = b""
    if "method" in send:
        connection.begin(send["method"])
        connection.chunked = send.get("framing") == "chunked"
        lines = [f"{send['method']} {send['path']} {send.get('version', 'HTTP/1.1')}"]
        headers = {"Host": host, **send["headers"]}
        if connection.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif send.get("framing") == "length":
            headers["Content-Length"] = str(send["length"])
        lines += [f"{name}: {value}" for name, value in headers.items()]
        data = ("\r\n".join(lines) + "\r\n\r\n").encode()
    for piece in send.get("pieces", ()):
        body = piece_bytes(piece)
        data += b"%x\r\n%s\r\n" % (len(body), body) if connection.chunked else body
    if connection.chunked and send.get("finish"):
        data += b"0\r\n\r\n"
    connection.send(data)


async def _settle() -> None:
    # On one loop with the server a late timer must not overtake the server's own callbacks.
    for _ in range(10):
        await asyncio.sleep(0)
    await asyncio.sleep(SETTLE)


async def _stays_silent(connection: RawConnection) -> list[str]:
    before = seen(connection)
    await asyncio.sleep(SILENCE)
    now = seen(connection)
    return [] if before == now else [f"not silent: {now}, after {before}"]


async def _expect(
    connection: RawConnection, expect: Step, arrives: float, *, ill_formed: bool
) -> list[str]:
    deadline = asyncio.get_running_loop().time() + arrives
    while absent := missing(connection, expect):
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0 or not await connection.news(left):
            return [f"{what} did not arrive; {seen(connection)}" for what in absent]
        if connection.answer.ended and missing(connection, expect) and not expect.get("closed"):
            break  # nothing more will come, and what came is told below
    await asyncio.sleep(SETTLE)  # for what must not arrive any more
    return mismatches(connection, expect, ill_formed=ill_formed)
