"""What only shows at an orchestrator: one of the doctor's own, at which the target registers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from livepeer.runner.devnet.orchestrator import LocalOrchestrator
from livepeer.runner.doctor.container import Heard, HttpContainer
from livepeer.runner.doctor.diagnosis import Check, CheckLevel
from livepeer.runner.doctor.finding import Finding, NotJudged, SubjectLost
from livepeer.runner.doctor.listeners import stranger
from livepeer.runner.doctor.orchestrated import NotOffered, offered
from livepeer.runner.doctor.subject import UNKNOWN_STREAM, Subject
from livepeer.runner.targets.hosting import until_ready
from livepeer.runner.targets.instance import TargetInstance
from livepeer.runner.targets.reference import TargetError

NAME, APP = "doctor-capability", "doctor/app"
LOOK_SECONDS = 0.05
SECOND_SECONDS = 3.0
"""What a second registration gets after the first."""
LONG_SECONDS = 0.3
"""A job that is over sooner cannot be caught at work."""

Outcome = Sequence[Finding] | NotJudged | SubjectLost


@dataclass(slots=True)
class _Registered:
    """One run of the target, registered, and what each check saw of it."""

    subject: Subject
    orchestrator: LocalOrchestrator
    instance: TargetInstance
    container: HttpContainer
    token: str
    seen: dict[str, Outcome] = field(default_factory=dict)

    async def see(
        self, id: str, what: Callable[[_Registered], Awaitable[Sequence[Finding]]]
    ) -> None:
        try:
            self.seen[id] = await what(self)
        except (NotJudged, SubjectLost) as error:
            self.seen[id] = error


def _of(id: str) -> Callable[[Subject], Awaitable[Sequence[Finding]]]:
    async def examine(subject: Subject) -> Sequence[Finding]:
        outcome = (await subject.once(_registered))[id]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return examine


async def _registered(subject: Subject) -> dict[str, Outcome]:
    """Run it once more, registered both ways, until a SIGTERM while it works."""
    assert subject.launch is not None
    async with LocalOrchestrator(host=subject.host or "127.0.0.1", tls=False) as orchestrator:
        environ = {
            "LIVEPEER_ORCH_URL": orchestrator.url,
            "LIVEPEER_ORCH_SECRET": orchestrator.secret,
            "LIVEPEER_CAPABILITY_NAME": NAME,
            "LIVEPEER_REGISTRATION": "both",
            "LIVEPEER_APP": APP,
            # As hand-made containers call them.
            "ORCH_URL": orchestrator.url,
            "ORCH_SECRET": orchestrator.secret,
            "CAPABILITY_NAME": NAME,
        }
        async with subject.launch(environ) as instance:
            try:
                await until_ready(instance, subject.patience.load)
            except TargetError as error:
                raise NotJudged(f"told of an orchestrator, it does not start: {error}") from None
            await _until_registered(orchestrator, subject.patience.call)
            token = orchestrator.capabilities.token(NAME)
            one = _Registered(
                subject, orchestrator, instance, subject.at(instance.url, token or None), token
            )
            await one.see("registration.token", _token)
            await one.see("registration.apps", _apps)
            await one.see("registration.foreign-hosts", _foreign_hosts)
            await _sigterm(one)
            return one.seen


async def _until_registered(orchestrator: LocalOrchestrator, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while orchestrator.capabilities.get(NAME) is None:
        if time.monotonic() > deadline:
            raise NotJudged(
                "it registers itself nowhere by LIVEPEER_ORCH_URL or ORCH_URL: whoever runs it does"
            )
        await asyncio.sleep(LOOK_SECONDS)
    # Where it registers as a live runner too, that may take as long again.
    deadline = min(deadline, time.monotonic() + SECOND_SECONDS)
    while not any(each.is_listed for each in orchestrator.runners):
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _token(one: _Registered) -> Sequence[Finding]:
    if not one.token:
        return [
            Finding(
                "it registers without a token: anybody who reaches it may use it",
                "register with a fresh `token`, and ask for it as a bearer token",
            )
        ]
    answers = {
        what: await _asked(one, token)
        for what, token in (("no token", None), ("a wrong token", secrets.token_hex(8)))
    }
    found = [
        Finding(f"{what} was answered {answer}", "answer 401 where the bearer token is not yours")
        for what, answer in answers.items()
        if answer.status != 401
    ]
    right = await _asked(one, one.token)
    if right.status == 401:
        fix = "take the token that you registered with: a 401 drops the capability"
        found.append(Finding("the right token was answered 401", fix))
    return found


async def _asked(one: _Registered, token: str | None) -> Heard:
    container = one.subject.at(one.instance.url, token)
    if one.subject.kind == "live":
        return await container.post("/stream/params", b"{}", stream=UNKNOWN_STREAM)
    return await container.post(one.subject.route, one.subject.valid_input(), seconds=120.0)


async def _apps(one: _Registered) -> Sequence[Finding]:
    subject = one.subject
    fix = "serve every route below the path of the URL that you register"
    try:
        offer = await offered(one.orchestrator.url, APP, subject.session, subject.patience)
    except NotOffered as error:
        raise NotJudged(f"it is no live runner: {error}") from None
    container = HttpContainer(offer.road, subject.patience)
    if subject.kind == "batch":
        answer = await container.post(
            subject.route, subject.valid_input(), seconds=subject.patience.job
        )
        seen = f"a job that came by the live runners' registry was answered {answer}"
        return [] if answer.ok else [Finding(seen, fix)]
    async with offer.streams.start(container) as stream:
        if await stream.heard(lambda event: True, subject.patience.event):
            return []
    return [Finding("a stream by the live runners' registry says nothing", fix)]


async def _foreign_hosts(one: _Registered) -> Sequence[Finding]:
    if one.subject.kind != "live":
        raise NotJudged("a job names no channels: see batch.private-urls")
    trickle, name = one.orchestrator.trickle, f"doctor-{secrets.token_hex(8)}"
    trickle.create(f"{name}-control", "application/json")
    async with stranger(one.subject.host or "127.0.0.1") as other:
        body = {
            "gateway_request_id": name,
            "control_url": trickle.channel_url(f"{name}-control"),
            "events_url": f"{other.url}/{name}-events",
            "params": {},
        }
        answer = await one.container.post("/stream/start", body, stream=name)
        patience = one.subject.patience.event if answer.ok else 0.1
        came = await other.came(patience)
        with suppress(SubjectLost):
            await one.container.post("/stream/stop", b'{"linger": 0}', stream=name)
    await trickle.close_channel(f"{name}-control")
    if not came:
        return []
    return [
        Finding(
            "a start's events_url made it connect to a host that is not its orchestrator's",
            "take channels at the orchestrator's host and port only: a caller's keys win over the "
            "orchestrator's in a start",
        )
    ]


async def _sigterm(one: _Registered) -> None:
    """A SIGTERM while a job or a stream runs: that is finished, it unregisters, and ends with 0."""
    subject = one.subject
    working = asyncio.create_task(_work(one), name="doctor work")
    code: int | None = None
    try:
        await asyncio.sleep(LONG_SECONDS / 2)
        with suppress(ProcessLookupError):
            one.instance.process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(subject.patience.stop):
                code = await one.instance.process.wait()
    finally:
        try:
            if not working.done():
                await asyncio.wait((working,), timeout=1.0)
        finally:
            working.cancel()
            await asyncio.wait((working,))
    one.seen["registration.unregisters"] = _unregistered(one)
    one.seen["process.sigterm-busy"] = _ended(one, code, working)


def _unregistered(one: _Registered) -> Sequence[Finding]:
    left = one.orchestrator.capabilities.get(NAME) is not None
    listed = any(each.is_listed for each in one.orchestrator.runners)
    if not left and not listed:
        return []
    where = "a capability" if left else "a live runner"
    return [
        Finding(
            f"ended by a SIGTERM, it is still registered as {where}",
            "unregister at SIGTERM, before anything else: what comes then is lost",
        )
    ]


def _ended(one: _Registered, code: int | None, working: asyncio.Task[Heard | None]) -> Outcome:
    fix = "at SIGTERM refuse what is new, finish what runs, and end with status 0"
    if code != 0:
        how = (
            f"with status {code}"
            if code is not None
            else f"not within {one.subject.patience.stop:g} s"
        )
        return [Finding(f"a SIGTERM while it worked ended it {how}", fix)]
    if working.cancelled():
        return [Finding("what ran at a SIGTERM was never answered", fix)]
    error = working.exception()
    if isinstance(error, NotJudged):
        return error
    if error is not None:
        return [Finding(f"what ran at a SIGTERM was lost: {error}", fix)]
    answer = working.result()
    if answer is not None and not answer.ok:
        return [Finding(f"what ran at a SIGTERM was answered {answer}", fix)]
    return []


async def _work(one: _Registered) -> Heard | None:
    """Something that takes a while; the answer of a job."""
    subject = one.subject
    if subject.kind == "batch":
        alone = (await subject.good_job()).seconds
        if alone < LONG_SECONDS:
            raise NotJudged(f"a job takes {alone:.2f} s: say --input with one that takes longer")
        return await one.container.post(
            subject.route, subject.valid_input(), seconds=subject.patience.job
        )
    trickle, name = one.orchestrator.trickle, f"doctor-{secrets.token_hex(8)}"
    body: dict[str, object] = {"gateway_request_id": name, "params": {}}
    for suffix in ("control", "events"):
        trickle.create(f"{name}-{suffix}", "application/json")
        body[f"{suffix}_url"] = trickle.channel_url(f"{name}-{suffix}")
    await one.container.post("/stream/start", body, stream=name)
    return None


def _check(id: str, title: str, level: CheckLevel = "must") -> Check:
    return Check(id, title, level, "any", _of(id), by="start", slow=True)


CHECKS = (
    _check("registration.token", "401 for a wrong token, and for no other"),
    _check("registration.apps", "it works below the path that it registers"),
    _check("registration.foreign-hosts", "streams stay at their orchestrator", "should"),
    _check("registration.unregisters", "a SIGTERM takes it off the list"),
    _check("process.sigterm-busy", "a SIGTERM lets what runs finish"),
)
