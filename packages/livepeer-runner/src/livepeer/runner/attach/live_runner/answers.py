"""What the registry's answers mean, and what the operator can do about them.

Texts and statuses are go-livepeer's (`ai/runner/live_runner.go`), recorded in
`specs/fixtures/byoc/live-runner.json`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from livepeer.runner.attach.client import RegistryAnswer
from livepeer.runner.settings import Secret

RefusalKind = Literal["again", "final", "passing"]
"""`again`: register anew at once. `final`: it will not go without a change. `passing`: the same
request may go well later."""

_WRONG: tuple[tuple[str, str], ...] = (
    ("invalid runner_url", "it takes no such address: set LIVEPEER_CAPABILITY_URL to an http URL"),
    ("app must be trimmed", "the app has no name, or blanks around it: set LIVEPEER_APP"),
    ("mode must be", "it knows no such mode: update go-livepeer to v0.9 or later"),
    ("capacity must be", "the capacity is below 0: set LIVEPEER_CAPACITY"),
    ("status must be", "it knows no such status: update livepeer-runner"),
    ("metadata must", "the metadata is too long, or no clean text: shorten it"),
    ("price_info.unit", "it knows no such unit of the price: set LIVEPEER_APP_PRICE_UNIT"),
    ("price_info.currency", "it takes prices in USD only: update livepeer-runner"),
    ("price_info", "on a chain a price above 0 is needed: set LIVEPEER_APP_PRICE (USD)"),
    ("invalid number literal", "the price is no number: set LIVEPEER_APP_PRICE (USD)"),
    ("json:", "it knows another heartbeat than this: update livepeer-runner, or go-livepeer"),
    ("EOF", "the heartbeat did not reach it whole: look at what stands between, such as a proxy"),
    ("static runner cannot heartbeat", "it is listed as a static runner there: one or the other"),
)
_UNSUPPORTED = (
    "it keeps no live runners: start it with -useLiveRunners, or set LIVEPEER_REGISTRATION=byoc"
)
_DISABLED = (
    "it takes static live runners only: start it with -orchSecret, or list this one in its "
    "-liveRunnerConfig (livepeer attach --print)"
)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


@dataclass(frozen=True, slots=True)
class Lease:
    """What the first heartbeat was answered: the right to go on. Times in seconds."""

    runner_id: str
    secret: Secret
    interval: float
    ttl: float
    sessions: frozenset[str] = frozenset()
    events_url: str | None = field(default=None, repr=False)
    """The channel that tells of sessions; its address is a credential."""


def first(answer: RegistryAnswer) -> tuple[str, RefusalKind]:
    """Why a heartbeat with the orchestrator's secret was not taken."""
    text = answer.text.strip()
    match answer.status:
        case 401 if "heartbeat" in text:
            return f"another runner has this id ({answer.said})", "passing"
        case 401:
            return f"the secret is wrong ({answer.said}): set LIVEPEER_ORCH_SECRET", "final"
        case 404 if text == "runner not found":
            return f"it still has an earlier runner of this id ({answer.said})", "passing"
    return _either(answer)


def later(answer: RegistryAnswer) -> tuple[str, RefusalKind]:
    """Why a heartbeat with the runner's own secret was not taken."""
    text = answer.text.strip()
    match answer.status:
        case 401 if "heartbeat" in text:
            return f"another runner has this id ({answer.said}): going on under a new one", "again"
        case 401:
            return f"it no longer knows this runner ({answer.said}): it was started anew", "again"
        case 404 if text == "runner not found":
            return f"no heartbeat reached it in time ({answer.said})", "again"
    return _either(answer)


def _either(answer: RegistryAnswer) -> tuple[str, RefusalKind]:
    text = answer.text
    match answer.status:
        case 404 if "not supported" in text:
            return f"{_UNSUPPORTED} ({answer.said})", "final"
        case 404 if "disabled" in text:
            return f"{_DISABLED} ({answer.said})", "final"
        case 404 | 405:
            return (
                f"no orchestrator with live runners (go-livepeer v0.9 or later) is at this address "
                f"({answer.said}): set LIVEPEER_ORCH_URL to its service address"
            ), "final"
        case 400:
            for part, meaning in _WRONG:
                if part in text:
                    return f"{meaning} ({answer.said})", "final"
    reason, final = answer.failure()
    return reason, "final" if final else "passing"


def unregistering(answer: RegistryAnswer) -> str | None:
    """Why the runner may still be listed; None: it is not."""
    match answer.status:
        case 204 | 404:
            return None
        case 401:
            return f"another runner has this id, and stays ({answer.said})"
        case 400 if "static" in answer.text:
            return f"it is listed as a static runner there: take it off that list ({answer.said})"
    return f"it answered {answer.said}"


def of_session(answer: RegistryAnswer) -> str:
    """Why something that was asked for a session was not done."""
    text = answer.text
    match answer.status:
        case 404 if "session" in text:
            return f"the session is over ({answer.said}): reserve another"
        case 404 if "runner not found" in text:
            return f"it no longer knows this runner, which registers anew ({answer.said})"
        case 404 if "channel" in text:
            return f"the channel has ended ({answer.said})"
        case 401:
            return f"the session's token is another one by now ({answer.said}): reserve another"
        case 429:
            return f"the session has as many as it may ({answer.said})"
        case 400 if "EOF" in text:
            return f"the request did not reach it whole ({answer.said})"
        case 400:
            return f"it knows other channels than these ({answer.said}): update livepeer-runner"
    return f"it answered {answer.said}"


def lease(answer: str, runner_id: str) -> Lease:
    """What a first heartbeat was answered. Raises `ValueError` for what is no such answer."""
    content = _object(answer)
    secret = content.get("heartbeat_secret")
    if not isinstance(secret, str) or not secret:
        raise ValueError("its answer has no heartbeat_secret")
    o2r = content.get("o2r")
    events = o2r.get("url") if isinstance(o2r, dict) else None
    ttl = min(max(seconds(content.get("heartbeat_ttl"), 20.0), 1.0), 3600.0)
    interval = min(max(seconds(content.get("heartbeat_interval"), 5.0), 0.05), ttl / 2)
    return Lease(
        runner_id,
        Secret(secret),
        interval,
        ttl,
        sessions(answer),
        events if isinstance(events, str) else None,
    )


def sessions(answer: str) -> frozenset[str]:
    """The sessions that the orchestrator has for this runner. Raises `ValueError`."""
    listed = _object(answer).get("session_ids") or []
    if not isinstance(listed, list):
        raise ValueError("its answer has session_ids that are no list")
    return frozenset(each for each in listed if isinstance(each, str))


def seconds(duration: object, default: float) -> float:
    """A duration as Go writes it (`5s`, `1m30s`, `250ms`)."""
    if not isinstance(duration, str) or not duration or len(duration) > 64:
        return default
    parts = list(_PART.finditer(duration))
    if "".join(part[0] for part in parts) != duration:
        return default
    return sum(float(part[1]) * _UNITS[part[2]] for part in parts)


def _object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("its answer is no JSON") from error
    if not isinstance(content, dict):
        raise ValueError("its answer is no JSON object")
    return content
