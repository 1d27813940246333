"""Streams: started, told of, fed, and ended, as orchestrators and gateways do it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from livepeer.runner.doctor.container import Heard
from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged
from livepeer.runner.doctor.subject import UNKNOWN_STREAM, Subject

SYNC = 0x47
"""What each packet of MPEG-TS begins with."""
MOST_PLACES = 8
ROUNDS = 3


async def starts(subject: Subject) -> Sequence[Finding]:
    async with subject.streams.start(subject) as stream:
        if stream.answer.ok:
            return []
        seen = f"a start with nothing but control_url and events_url answered {stream.answer}"
    return [
        Finding(
            seen,
            "take a start without subscribe_url, publish_url and data_url: each is there "
            "only where the caller enabled it",
        )
    ]


async def events(subject: Subject) -> Sequence[Finding]:
    async with subject.streams.start(subject, video=True) as stream:
        _started(stream.answer.ok)
        patience = subject.patience.event
        if not await stream.heard(lambda event: True, patience):
            return [
                Finding(
                    f"no event came within {patience:g} s of the start",
                    "publish a status to events_url at once, also while a model loads, and then "
                    "at least every 10 s: a gateway ends a stream that is silent",
                )
            ]
        fix = 'publish JSON objects with a "type"; the last of type "status" is the stream\'s own'
        if any(not isinstance(_bare(event).get("type"), str) for _, event in stream.events):
            return [Finding("an event has no type", fix)]
    return []


async def status_repeats(subject: Subject) -> Sequence[Finding]:
    async with subject.streams.start(subject, video=True) as stream:
        _started(stream.answer.ok)
        last = stream.started_at
        for _ in range(3):
            if not await stream.heard(lambda event: True, subject.patience.event, after=last):
                return [
                    Finding(
                        f"events were silent for over {subject.patience.event:g} s",
                        "repeat the status every 5 s: a gateway ends a stream that is silent",
                    )
                ]
            last = stream.events[-1][0]
    return []


async def starts_twice(subject: Subject) -> Sequence[Finding]:
    async with subject.streams.start(subject) as stream:
        _started(stream.answer.ok)
        again = await stream.again()
        fix = "end the running one and take the new one, or refuse with 409 or 503"
        if again.status >= 500 and again.status != 503:
            return [Finding(f"starting a running stream again answered {again}", fix)]
        await stream.stop()
    if not await _starts_anew(subject):
        return [Finding("after two starts of one id and a stop, no stream starts any more", fix)]
    return []


async def stops(subject: Subject) -> Sequence[Finding]:
    async with subject.streams.start(subject) as stream:
        _started(stream.answer.ok)
        for time_ in ("first", "second", "third"):
            answer = await stream.stop()
            if not answer.ok:
                return [_stop_finding(f"the {time_} stop answered {answer}")]
    if subject.url is None:
        return []  # an orchestrator knows no such stream either
    answer = await subject.post("/stream/stop", b"stream ended", stream=UNKNOWN_STREAM)
    if not answer.ok:
        return [_stop_finding(f"a stop of a stream that never was answered {answer}")]
    return []


def _stop_finding(seen: str) -> Finding:
    fix = "answer every stop with 200: it comes two or three times, and its status goes to callers"
    return Finding(seen, fix)


async def stop_frees(subject: Subject) -> Sequence[Finding]:
    rounds = min(subject.capacity or ROUNDS, MOST_PLACES) + 1
    async with subject.streams.start(subject) as stream:
        # 503: a place that was taken before, and not given back.
        _started(stream.answer.ok or stream.answer.status == 503)
    for i in range(rounds):
        if not await _starts_anew(subject):
            return [
                Finding(
                    f"after {i} streams were started and stopped, no other starts",
                    "give the place back, and end all tasks of the stream, when it is stopped",
                )
            ]
    return []


async def unknown_params(subject: Subject) -> Sequence[Finding]:
    answer = await subject.post("/stream/params", b"{}", stream=UNKNOWN_STREAM)
    if 400 <= answer.status < 500:
        return []
    seen = f"parameters for a stream that never was answered {answer.status}"
    return [Finding(seen, "answer 404: a caller who is told 200 believes that they count")]


async def bad_params(subject: Subject) -> Sequence[Finding]:
    async with subject.streams.start(subject) as stream:
        _started(stream.answer.ok)
        answer = await subject.post("/stream/params", b'{"', stream=stream.id)
        if not 400 <= answer.status < 500:
            seen = f"parameters that are no JSON answered {answer.status}"
            return [Finding(seen, "answer 4xx and leave the stream as it is")]
        now = time.monotonic()
        patience = subject.patience.event
        if stream.events and not await stream.heard(lambda event: True, patience, after=now):
            return [Finding("parameters that are no JSON ended the stream", "leave it as it is")]
    return []


async def outputs(subject: Subject) -> Sequence[Finding]:
    _with_video(subject)
    async with subject.streams.start(subject, video=True) as stream:
        _started(stream.answer.ok)
        patience = subject.patience.output
        output = await stream.first_output(patience)
        if output is None:
            return [
                Finding(
                    f"no output came within {patience:g} s of pictures going in",
                    "publish to publish_url while input flows, and open a segment at each keyframe",
                )
            ]
        if output[0] != SYNC:
            return [Finding("the output is no MPEG-TS", "publish video/MP2T to publish_url")]
    return []


async def input_end(subject: Subject) -> Sequence[Finding]:
    _with_video(subject)
    async with subject.streams.start(subject, video=True) as stream:
        _started(stream.answer.ok)
        if await stream.first_output(subject.patience.output) is None:
            raise NotJudged("there is no output: see live.outputs")
        patience = subject.patience.gone
        if not await stream.output_ends(patience):
            seen = f"the output stays open for over {patience:g} s after the input's end"
            return [Finding(seen, "delete the output's channel once the last frame is out")]
    return []


async def capacity(subject: Subject) -> Sequence[Finding]:
    if subject.capacity is None or subject.capacity > MOST_PLACES:
        raise NotJudged(f"nothing tells a capacity of at most {MOST_PLACES}: say --capacity")
    async with AsyncExitStack() as stack:
        answers: list[Heard] = []
        while len(answers) <= subject.capacity and all(one.ok for one in answers):
            stream = await stack.enter_async_context(subject.streams.start(subject))
            answers.append(stream.answer)
    taken = sum(one.ok for one in answers)
    if taken < subject.capacity:
        seen = f"of {subject.capacity} places, only {taken} could be taken"
        return [Finding(seen, "take as many streams as the registration promises")]
    if answers[-1].status in (429, 503):
        return []
    seen = f"stream {subject.capacity + 1} of {subject.capacity} was answered {answers[-1]}"
    fix = "refuse what is over the capacity with 503: an orchestrator enforces nothing"
    return [Finding(seen, fix)]


async def isolated(subject: Subject) -> Sequence[Finding]:
    if (subject.capacity or 1) < 2:
        raise NotJudged("it has one place, as far as is known: say --capacity")
    async with subject.streams.start(subject) as one, subject.streams.start(subject) as other:
        _started(one.answer.ok and other.answer.ok)
        patience = subject.patience.event
        if not await other.heard(lambda event: True, patience):
            raise NotJudged("a stream says nothing: see live.events")
        await one.stop()
        if not await other.heard(lambda event: True, patience, after=time.monotonic()):
            return [
                Finding(
                    "stopping one stream silenced another",
                    "keep what belongs to a stream by its X-Stream-Id",
                )
            ]
    return []


async def control_end(subject: Subject) -> Sequence[Finding]:
    """A caller who is gone: its orchestrator ends the control channel, and may never say stop."""
    places = subject.capacity or 1
    if places > MOST_PLACES:
        raise NotJudged(f"the capacity is {places}: more than the doctor fills")
    async with AsyncExitStack() as stack:
        for _ in range(places):
            stream = await stack.enter_async_context(subject.streams.start(subject))
            _started(stream.answer.ok)
            if not await stream.heard(lambda event: True, subject.patience.event):
                raise NotJudged("a stream says nothing: see live.events")
            await stream.control_ends()
        if await _starts_anew(subject):
            return []
    seen = f"{subject.patience.gone:g} s after their control channels ended, streams run on"
    return [Finding(seen, "end a stream with its control channel: its caller is gone")]


def _bare(event: dict[str, Any]) -> dict[str, Any]:
    """An event, also from within the wrapper that gateways take."""
    inner = event.get("event")
    return inner if "queue_event_type" in event and isinstance(inner, dict) else event


def _started(ok: bool) -> None:
    if not ok:
        raise NotJudged("a stream does not start: see live.starts")


def _with_video(subject: Subject) -> None:
    if (subject.document or {}).get("video") == "dropped":
        raise NotJudged("it gives no video")


async def _starts_anew(subject: Subject) -> bool:
    """Whether a stream starts, with patience for what ends at this moment."""
    deadline = time.monotonic() + subject.patience.gone
    while True:
        async with subject.streams.start(subject) as stream:
            if stream.answer.ok:
                return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)


CHECKS = (
    Check(
        "live.starts", "a start without optional URLs is taken", "must", "live", starts, by="caller"
    ),
    Check(
        "live.events", "events come at once, with their type", "must", "live", events, by="caller"
    ),
    Check("live.repeats", "events go on", "must", "live", status_repeats, by="caller", slow=True),
    Check(
        "live.starts-twice", "a second start of one id leaks nothing", "must", "live", starts_twice
    ),
    Check(
        "live.stops", "each of three stops is answered 200", "should", "live", stops, by="caller"
    ),
    Check("live.stop-frees", "a stop gives the place back", "must", "live", stop_frees),
    Check(
        "live.unknown-params", "parameters of no stream are 4xx", "should", "live", unknown_params
    ),
    Check(
        "live.bad-params", "bad parameters are 4xx, and end nothing", "should", "live", bad_params
    ),
    Check("live.outputs", "output follows input", "must", "live", outputs, by="caller"),
    Check("live.input-end", "output ends with the input", "should", "live", input_end),
    Check("live.control-end", "who is gone frees his place", "should", "live", control_end),
    Check("live.capacity", "what is over the capacity is refused", "must", "live", capacity),
    Check("live.isolated", "streams do not touch each other", "must", "live", isolated),
)
