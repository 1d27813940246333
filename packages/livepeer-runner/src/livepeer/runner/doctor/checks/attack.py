"""Abuse with bounded force, for containers on loopback; the next caller is served all the same."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged, SubjectLost
from livepeer.runner.doctor.subject import Subject

SLOW_CONNECTIONS = 50
HEAD_BYTES = 1 << 20
HEAD_SECONDS = 15.0
DEPTH = 100_000
WIDTH = 100_000
DIGITS = 100_000
CHUNK = b"10000\r\n" + b" " * 65_536 + b"\r\n"
READERS = 8
READER_BUFFER = 4096
JUNK = (
    (f"JSON of {DEPTH} levels", b"[" * DEPTH + b"]" * DEPTH),
    (f"an object of {WIDTH} fields", None),
    (f"a number of {DIGITS} digits", b'{"doctor": ' + b"9" * DIGITS + b"}"),
    ("NaN", b'{"doctor": NaN}'),
    ("the number 1e999", b'{"doctor": 1e999}'),
    ("half a surrogate", rb'{"doctor": "\ud800"}'),
    ("text that is no UTF-8", b'{"doctor": "\xff\xfe"}'),
    ("a key that comes twice", b'{"doctor": 1, "doctor": [2]}'),
)
_LENGTHS = (
    ("a length below 0", b"Content-Length: -1\r\n"),
    ("two lengths that differ", b"Content-Length: 2\r\nContent-Length: 3\r\n"),
    ("a length that is no number", b"Content-Length: 2x\r\n"),
    ("a length and chunks", b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"),
)


async def slow_heads(subject: Subject) -> Sequence[Finding]:
    """Connections that begin a request and say no more."""
    async with AsyncExitStack() as stack:
        for _ in range(SLOW_CONNECTIONS):
            with suppress(OSError, TimeoutError):
                _, writer = await stack.enter_async_context(_connected(subject))
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


async def large_body(subject: Subject) -> Sequence[Finding]:
    """A length that nobody has the memory for, and the first bytes of it."""
    head = _head(subject, b"Content-Length: 1099511627776\r\n")
    async with _connected(subject) as (reader, writer):
        writer.write(head + b" " * 65_536)
        status = await _status(reader, subject.patience.call)
    if status is None:
        seen = f"a body of 1 TiB was not refused within {subject.patience.call:g} s"
        return [Finding(seen, "answer 413 by the Content-Length, before the body is read")]
    if status >= 500 or status < 300:
        return [Finding(f"a body of 1 TiB was answered {status}", "answer 413")]
    return await _served(subject, "a body of 1 TiB", "refuse it and go on")


async def endless_body(subject: Subject) -> Sequence[Finding]:
    """Chunks without an end, as many as are taken; there is an end to our force."""
    sent = 0
    async with _connected(subject) as (reader, writer):
        writer.write(_head(subject, b"Transfer-Encoding: chunked\r\n"))
        answering = asyncio.create_task(_status(reader, subject.patience.job))
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(subject.patience.job):
                    while sent < subject.force.body and not answering.done():
                        writer.write(CHUNK)
                        await writer.drain()
                        sent += 65_536
            await asyncio.wait((answering,), timeout=subject.patience.health)
            if not answering.done():
                seen = f"of a body without an end it took {sent // 2**20} MiB"
                return [Finding(seen, "limit what a body may hold, and answer 413 beyond")]
        finally:
            answering.cancel()
            await asyncio.wait((answering,))
    return await _served(subject, "a body without an end", "refuse it and go on")


async def short_body(subject: Subject) -> Sequence[Finding]:
    """Bodies that stop before their length: they must keep nobody out."""
    async with AsyncExitStack() as stack:
        for _ in range((subject.capacity or 4) + 4 if (subject.capacity or 4) <= 32 else 8):
            _, writer = await stack.enter_async_context(_connected(subject))
            writer.write(_head(subject, b"Content-Length: 100\r\n") + b'{"')
            await writer.drain()
        return await _works(
            subject,
            "bodies that stop half way",
            "read the body before a place is taken, and limit its time",
        )


async def lengths(subject: Subject) -> Sequence[Finding]:
    """Lengths that contradict themselves: where two peers read them differently, one caller's
    request becomes part of another's."""
    found = []
    for what, given in _LENGTHS:
        async with _connected(subject) as (reader, writer):
            writer.write(_head(subject, given) + b"2\r\n{}\r\n0\r\n\r\n")
            status = await _status(reader, subject.patience.call)
        if status is not None and (status < 300 or status >= 500):
            fix = "answer 400, and close the connection"
            found.append(Finding(f"{what} was answered {status}", fix))
    return found or await _served(subject, "lengths that contradict themselves", "go on")


async def deep_json(subject: Subject) -> Sequence[Finding]:
    what, body = JUNK[0]
    assert body is not None
    return await _junk(subject, what, body)


async def odd_json(subject: Subject) -> Sequence[Finding]:
    found: list[Finding] = []
    for what, body in JUNK[1:]:
        if body is None:
            body = json.dumps({f"doctor{i}": i for i in range(WIDTH)}).encode()
        found += await _junk(subject, what, body)
    return found


async def _junk(subject: Subject, what: str, body: bytes) -> Sequence[Finding]:
    path = subject.route if subject.kind == "batch" else "/stream/start"
    try:
        answer = await subject.call(
            "POST",
            path,
            body,
            {"Content-Type": "application/json", "X-Stream-Id": "doctor-junk"},
            subject.patience.job,
        )
    except SubjectLost as lost:
        return [Finding(f"{what}: {lost}", "refuse it with 4xx")]
    if subject.kind == "live" and answer.ok:
        await subject.post("/stream/stop", b'{"linger": 0}', stream="doctor-junk")
    if answer.status >= 500 and answer.status != 503:
        return [Finding(f"{what} was answered {answer.status}", "refuse it with 4xx")]
    return await _served(subject, what, "refuse it and go on")


async def slow_readers(subject: Subject) -> Sequence[Finding]:
    """Callers of events who read nothing, and go."""
    answer = await subject.good_job()
    if answer.media_type.lower() != "text/event-stream":
        raise NotJudged("its answer is no stream of events")
    body = subject.valid_input()
    async with AsyncExitStack() as stack:
        for _ in range(READERS):
            reader, writer = await stack.enter_async_context(_connected(subject))
            head = _head(subject, b"Content-Length: %d\r\n" % len(body))
            writer.write(head + body)
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(subject.patience.health):
                    await reader.read(1)
        found = await _served(
            subject, f"{READERS} callers who read nothing", "answer others meanwhile"
        )
        if found:
            return found
    return await _works(
        subject,
        f"{READERS} callers who read nothing and left",
        "end the job of a caller who is gone, also while events wait to be read",
    )


async def _works(subject: Subject, what: str, fix: str) -> Sequence[Finding]:
    """Whether a job or stream is taken soon."""
    deadline = asyncio.get_running_loop().time() + subject.patience.gone
    while True:
        try:
            if subject.kind == "live":
                async with subject.streams.start(subject) as stream:
                    status, ok = stream.answer.status, stream.answer.ok
            else:
                answer = await subject.job()
                status, ok = answer.status, answer.ok
        except SubjectLost as lost:
            return [Finding(f"after {what}, {lost}", fix)]
        if ok:
            return []
        if status not in (429, 503) or asyncio.get_running_loop().time() > deadline:
            return [Finding(f"after {what}, the next caller was answered {status}", fix)]
        await asyncio.sleep(0.2)


async def _served(subject: Subject, what: str, fix: str) -> Sequence[Finding]:
    try:
        await subject.get("/health", subject.patience.health)
    except SubjectLost as lost:
        return [Finding(f"after {what}, {lost}", fix)]
    return []


def _head(subject: Subject, length: bytes) -> bytes:
    path = subject.route if subject.kind == "batch" else "/stream/start"
    parts = urlsplit(subject.address)
    token = "" if subject.token is None else f"Authorization: Bearer {subject.token}\r\n"
    return (
        (
            f"POST {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{token}"
            "Content-Type: application/json\r\n"
        ).encode()
        + length
        + b"\r\n"
    )


async def _status(reader: asyncio.StreamReader, seconds: float) -> int | None:
    """The status of an answer; 499 for a connection that was closed without one, None for silence
    of `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            line = await reader.readline()
    except TimeoutError:
        return None
    except (OSError, ValueError):
        return 499
    words = line.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 499


@asynccontextmanager
async def _connected(
    subject: Subject,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection, dropped at the end. Raises `SubjectLost`."""
    parts = urlsplit(subject.address)
    context = ssl._create_unverified_context() if parts.scheme == "https" else None
    port = parts.port or (80 if context is None else 443)
    try:
        async with asyncio.timeout(subject.patience.call):
            reader, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=context, limit=READER_BUFFER
            )
    except (OSError, TimeoutError) as error:
        raise SubjectLost(f"no connection: {error}") from None
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


CHECKS = (
    Check("attack.slow-heads", "silent connections keep nobody out", "should", "any", slow_heads),
    Check("attack.large-head", "a large head is refused", "should", "any", large_head),
    Check("attack.large-body", "a body too large is refused", "should", "any", large_body),
    Check("attack.endless-body", "a body has an end", "should", "any", endless_body),
    Check("attack.short-body", "half a body keeps nobody out", "should", "any", short_body),
    Check("attack.lengths", "wrong lengths are refused", "should", "any", lengths),
    Check("attack.deep-json", "deep JSON is refused", "should", "any", deep_json),
    Check("attack.odd-json", "odd JSON is the caller's fault", "should", "any", odd_json),
    Check(
        "attack.slow-readers", "who does not read keeps nobody out", "should", "batch", slow_readers
    ),
)
