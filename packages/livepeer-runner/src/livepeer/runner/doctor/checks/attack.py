"""Abuse with bounded force, for containers on loopback; the next caller is served all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, SubjectLost
from livepeer.runner.doctor.subject import Subject

SLOW_CONNECTIONS = 50
HEAD_BYTES = 1 << 20
DEPTH = 100_000


async def slow_heads(subject: Subject) -> Sequence[Finding]:
    """Connections that begin a request and say no more."""
    parts = urlsplit(subject.url)
    async with AsyncExitStack() as stack:
        for _ in range(SLOW_CONNECTIONS):
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(subject.patience.call):
                    _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
                stack.push_async_callback(_closed, writer)
                writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n")
        seen = f"{SLOW_CONNECTIONS} connections that say nothing"
        return await _served(subject, seen, "serve others meanwhile, and limit the time of a head")


async def large_head(subject: Subject) -> Sequence[Finding]:
    with suppress(SubjectLost):
        answer = await subject.call("GET", "/health", headers={"X-Large": "a" * HEAD_BYTES})
        if answer.ok:
            fix = "limit a head to 64 KiB and answer 431"
            return [Finding(f"a head of {HEAD_BYTES} bytes was taken", fix)]
    return await _served(subject, "a head of 1 MiB", "refuse it and go on")


async def deep_json(subject: Subject) -> Sequence[Finding]:
    body = b"[" * DEPTH + b"]" * DEPTH
    path = subject.route if subject.kind == "batch" else "/stream/start"
    try:
        answer = await subject.post(path, body)
    except SubjectLost as lost:
        return [Finding(f"JSON of {DEPTH} levels: {lost}", "refuse it with 4xx")]
    if answer.status >= 500:
        return [Finding(f"JSON of {DEPTH} levels answered {answer.status}", "refuse it with 4xx")]
    return await _served(subject, f"JSON of {DEPTH} levels", "refuse it and go on")


async def _served(subject: Subject, what: str, fix: str) -> Sequence[Finding]:
    try:
        await subject.get("/health", subject.patience.health)
    except SubjectLost as lost:
        return [Finding(f"after {what}, {lost}", fix)]
    return []


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


CHECKS = (
    Check("attack.slow-heads", "silent connections keep nobody out", "should", "any", slow_heads),
    Check("attack.large-head", "a large head is refused", "should", "any", large_head),
    Check("attack.deep-json", "deep JSON is refused", "should", "any", deep_json),
)
