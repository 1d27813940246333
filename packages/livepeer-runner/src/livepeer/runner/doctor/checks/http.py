"""What holds for every container."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from livepeer.runner.doctor.container import Heard, HttpContainer
from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged, SubjectLost
from livepeer.runner.doctor.subject import UNKNOWN_STREAM, Subject

STATES = ("LOADING", "OK", "IDLE", "ERROR")
LOOK_SECONDS = 0.1
SHORT_SECONDS = 0.05
"""A job that is over sooner cannot be looked at while it runs."""
BUSY_SECONDS = 15.0
START_SECONDS = 0.02
"""Between two looks at what comes up."""


async def health(subject: Subject) -> Sequence[Finding]:
    return await _health(subject)


async def _health(subject: HttpContainer) -> Sequence[Finding]:
    answer = await subject.get("/health", subject.patience.health)
    fix = 'answer GET /health with 200 and {"status": "LOADING" | "OK" | "IDLE" | "ERROR"}'
    if answer.status != 200:
        return [Finding(f"GET /health answered {answer.status}", fix)]
    content = answer.json()
    state = content.get("status") if isinstance(content, dict) else None
    if state not in STATES:
        return [Finding(f"GET /health says status {state!r}", fix)]
    return []


async def health_while_busy(subject: Subject) -> Sequence[Finding]:
    if (await subject.get("/health", subject.patience.health)).status != 200:
        raise NotJudged("there is no /health that answers 200: see http.health")
    if subject.kind == "live":
        async with subject.streams.start(subject, video=True) as stream:
            feeding = asyncio.create_task(stream.feed())
            try:
                return await _looked(subject, feeding, 3.0)
            finally:
                feeding.cancel()
                await asyncio.wait((feeding,))
    if (await subject.good_job()).seconds < SHORT_SECONDS:
        raise NotJudged("a job is over in no time: say --input with one that takes longer")
    job = asyncio.create_task(_job(subject))
    try:
        return await _looked(subject, job, BUSY_SECONDS)
    finally:
        job.cancel()
        await asyncio.wait((job,))


async def _job(subject: Subject) -> None:
    with suppress(SubjectLost):
        await subject.job()


async def _looked(
    subject: Subject, busy: asyncio.Task[None], most_seconds: float
) -> Sequence[Finding]:
    fix = "answer /health beside the work: from a thread or process that a model cannot block"
    deadline = time.monotonic() + most_seconds
    while not busy.done() and time.monotonic() < deadline:
        try:
            answer = await subject.get("/health", subject.patience.health)
        except SubjectLost as lost:
            return [Finding(f"while a job runs, {lost}", fix)]
        if answer.status != 200:
            return [Finding(f"while a job runs, GET /health answered {answer.status}", fix)]
        await asyncio.sleep(LOOK_SECONDS)
    return []


async def ready(subject: Subject) -> Sequence[Finding]:
    answer = await subject.get("/ready")
    if answer.status in (404, 405):
        raise NotJudged("there is no /ready: point health_url of a static runner at /health")
    if answer.status != 200:
        seen = f"GET /ready answered {answer.status} while jobs are taken"
        return [Finding(seen, "answer 200 once a job would be taken, else 503")]
    return []


async def loading(subject: Subject) -> Sequence[Finding]:
    """From the first moment of another run of it to the first job that it takes."""
    assert subject.launch is not None
    found: dict[str, Finding] = {}
    async with subject.launch({}) as instance:
        there = subject.at(instance.url, subject.token)
        deadline = time.monotonic() + subject.patience.load
        while True:
            if time.monotonic() > deadline:
                raise NotJudged(f"it was not ready within {subject.patience.load:g} s")
            try:
                answer = await there.get("/ready", subject.patience.call)
            except SubjectLost:
                await asyncio.sleep(START_SECONDS)
                continue
            if answer.status in (404, 405):
                raise NotJudged(
                    "there is no /ready: point health_url of a static runner at /health"
                )
            if answer.status == 200:
                break
            if answer.status != 503:
                seen = f"while it loads, GET /ready answered {answer.status}"
                found[seen] = Finding(seen, "answer 503 until a job would be taken")
            for finding in await _health(there):
                found[finding.seen] = Finding(f"while it loads, {finding.seen}", finding.fix)
            await asyncio.sleep(START_SECONDS)
        for finding in await _taken(subject, there):
            found[finding.seen] = finding
    return list(found.values())


async def _taken(subject: Subject, there: HttpContainer) -> Sequence[Finding]:
    """Whether what says that it is ready is so."""
    fix = "answer /ready with 503 until the setup is over: what is sent before is lost"
    if subject.kind == "live":
        async with subject.streams.start(there) as stream:
            answer = stream.answer
    else:
        answer = await there.post(
            subject.route, subject.valid_input(), seconds=subject.patience.job
        )
    if answer.ok:
        return []
    return [Finding(f"it said that it is ready, and its first job was answered {answer}", fix)]


async def keep_alive(subject: Subject) -> Sequence[Finding]:
    parts = urlsplit(subject.address)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        async with asyncio.timeout(subject.patience.call):
            reader, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=True if secure else None, limit=1 << 20
            )
    except (OSError, TimeoutError) as error:
        raise SubjectLost(f"no connection: {error}") from None
    try:
        writer.write(f"GET {parts.path}/health HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        began = time.monotonic()
        try:
            async with asyncio.timeout(subject.patience.idle):
                while await reader.read(1 << 16):
                    began = time.monotonic()
        except TimeoutError:
            return []
        except OSError:
            pass
        idle = time.monotonic() - began
        seen = f"it closed an idle connection after {idle:.1f} s"
        return [
            Finding(
                seen,
                f"keep idle connections for over {subject.patience.idle:g} s (uvicorn: "
                "--timeout-keep-alive 75): an orchestrator that uses one as it closes drops the "
                "capability",
            )
        ]
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def probes(subject: Subject) -> list[tuple[str, Heard]]:
    """Requests as they come from orchestrators, odd ones too; each is sent once."""
    found: list[tuple[str, Heard]] = []
    if subject.kind == "live":
        for path in ("/stream/params", "/stream/stop"):
            sent = b"{}" if path == "/stream/params" else b"stream ended"
            answer = await subject.post(path, sent, stream=UNKNOWN_STREAM)
            found.append((f"POST {path} of a stream that never was", answer))
        answer = await subject.post("/stream/start", b'{"', stream=UNKNOWN_STREAM)
        found.append(("POST /stream/start with half a JSON object", answer))
        return found
    for sent, what in ((b'{"', "half a JSON object"), (b"[]", "an empty list")):
        found.append((f"POST {subject.route} with {what}", await subject.job(sent)))
    answer = await subject.job(b"{}") if subject.input is None else await subject.first_job()
    found.append((f"POST {subject.route}", answer))
    path = f"{subject.route}/"
    found.append((f"POST {path}", await subject.post(path, subject.input or b"{}")))
    return found


async def no_401(subject: Subject) -> Sequence[Finding]:
    fix = (
        "answer 401 for nothing but a wrong token: an orchestrator drops the capability"
        if subject.token is not None
        else "say --token where the container wants one; else answer 401 for nothing but a wrong "
        "token: an orchestrator drops the capability"
    )
    return [
        Finding(f"{what} answered 401", fix)
        for what, answer in await subject.once(probes)
        if answer.status == 401
    ]


async def no_redirect(subject: Subject) -> Sequence[Finding]:
    return [
        Finding(
            f"{what} answered {answer.status} to {answer.headers.get('Location', 'nowhere')!r}",
            "answer no redirect (FastAPI: redirect_slashes=False): an orchestrator follows with "
            "its bearer token, and its caller's body may be lost",
        )
        for what, answer in await subject.once(probes)
        if 300 <= answer.status < 400
    ]


async def client_errors(subject: Subject) -> Sequence[Finding]:
    return [
        Finding(
            f"{what} answered {answer}",
            "answer 4xx for what is the caller's fault: a 5xx is sent on to every other "
            "orchestrator, and ends as an empty 200",
        )
        for what, answer in await subject.once(probes)
        if answer.status >= 500 and answer.status != 503 and " with " in what
    ]


CHECKS = (
    Check("http.health", "/health tells the state", "should", "any", health),
    Check("http.ready", "/ready is 200 when jobs are taken", "should", "any", ready),
    Check(
        "http.loading",
        "/ready is 503 until it is",
        "should",
        "any",
        loading,
        by="start",
        slow=True,
    ),
    Check("http.busy", "/health answers while a job runs", "must", "any", health_while_busy),
    Check("http.no-401", "401 only for a wrong token", "must", "any", no_401),
    Check("http.no-redirect", "no redirects", "must", "any", no_redirect),
    Check("http.client-errors", "a caller's fault is 4xx", "should", "any", client_errors),
    Check("http.keep-alive", "idle connections stay open", "must", "any", keep_alive, slow=True),
)
