"""One call of a container over HTTP, timed, and judged by what came back."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

LARGEST = 256 << 20
"""Bytes of an answer that are read."""
LONGEST_LINE = 1 << 20
LONGEST_REFUSAL = 1 << 14
LONGEST_KIND = 64

OK = "ok"
REFUSED = "refused"
"""503 with `Retry-After`, or 429: the container says that it is full. No failure of it."""
NO_CAPACITY = b"no capacity available"
"""An orchestrator's word for a runner that is full (specs/calling.md)."""
TIMED_OUT = "timeout"
LOST = "connection"


@dataclass(slots=True)
class Call:
    """What became of one call. Times in seconds on the clock of the run."""

    due: float
    """When it was due. In a closed loop: when it was sent."""
    sent: float
    done: float = 0.0
    outcome: str = ""
    """`ok`, `refused`, `timeout`, `connection`, `cut-stream`, or a status with its error's type."""
    first_event: float | None = None
    events: int = 0
    gaps: list[float] = field(default_factory=list)
    """Between one event and the next, in seconds."""

    @property
    def latency(self) -> float:
        """From the moment it was due: what a caller waits who does not know of the others."""
        return self.done - self.due

    @property
    def service(self) -> float:
        """From the moment it was sent."""
        return self.done - self.sent


class LoadCaller:
    """Calls one URL with bodies in turn. Use as `async with`.

    - `url`: where to POST.
    - `bodies`: JSON, taken in turn.
    - `stamp`: gives headers for each call, before it is sent.
    - `timeout`: seconds for a whole call.
    """

    def __init__(
        self,
        url: str,
        bodies: Sequence[bytes],
        *,
        stamp: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.url = url
        self.timeout = timeout
        self.clock = clock
        self._bodies = bodies
        self._headers = {"Content-Type": "application/json"}
        self._stamp = stamp
        self._calls = 0

    async def __aenter__(self) -> LoadCaller:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=False),
            timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(self.timeout, 10)),
            auto_decompress=False,
            read_bufsize=LONGEST_LINE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def __call__(self, due: float) -> Call:
        """One call, now; `due` is when it should have been. Raises nothing that a peer causes."""
        body = self._bodies[self._calls % len(self._bodies)]
        self._calls += 1
        headers: Mapping[str, str] = self._headers
        if self._stamp is not None:
            headers = {**headers, **await self._stamp()}
        call = Call(due=due, sent=self.clock())
        try:
            async with self._session.post(
                self.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    call.outcome = await _refusal(response)
                elif response.content_type == "text/event-stream":
                    call.outcome = await self._events(response.content, call)
                else:
                    call.outcome = await _body(response.content)
        except TimeoutError:
            call.outcome = TIMED_OUT
        except (aiohttp.ClientError, OSError, ValueError):  # ValueError: an endless line
            call.outcome = LOST
        call.done = self.clock()
        return call

    async def _events(self, content: aiohttp.StreamReader, call: Call) -> str:
        """Read a stream of events to its end, and time each; whole only with its `[DONE]`."""
        last, error = call.sent, ""
        async for line in content:
            if not line.startswith(b"data:"):
                error = error or ("event-error" if line.startswith(b"event: error") else "")
                continue
            if line[5:].strip() == b"[DONE]":
                return error or OK
            now = self.clock()
            if call.first_event is None:
                call.first_event = now - call.sent
            else:
                call.gaps.append(now - last)
            last = now
            call.events += 1
        return error or "cut-stream"


async def _body(content: aiohttp.StreamReader) -> str:
    size = 0
    async for chunk in content.iter_any():
        size += len(chunk)
        if size > LARGEST:
            return "too-large"
    return OK


async def beginning(content: aiohttp.StreamReader, most: int) -> bytes:
    """A body up to its end, or so many bytes of it."""
    found = b""
    async for chunk in content.iter_any():
        found += chunk
        if len(found) >= most:
            break
    return found[:most]


async def _refusal(response: aiohttp.ClientResponse) -> str:
    """What a status other than 200 stands for, with the type of its error where it says one."""
    text = await beginning(response.content, LONGEST_REFUSAL)
    if response.status == 429 or (
        response.status == 503
        and ("Retry-After" in response.headers or text.startswith(NO_CAPACITY))
    ):
        return REFUSED
    try:
        kind = json.loads(text)["error"]["type"]
    except (ValueError, TypeError, KeyError):
        kind = ""
    named = isinstance(kind, str) and kind.isidentifier() and len(kind) <= LONGEST_KIND
    return f"{response.status} {kind}" if named else str(response.status)
