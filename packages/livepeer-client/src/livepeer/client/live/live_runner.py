"""Live streams in a session of a persistent live runner, by trickle channels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from livepeer.client.live.stream import Live, Wanted, channel_problem, refused
from livepeer.client.network.jobs import RunningJob
from livepeer.client.untrusted import loads

_VERBS: Final = {"update": "params"}


def start(capability: str, stream_id: str, params: Any) -> tuple[str, Any]:
    return "/stream/start", {"params": params}


def path(stream_id: str, verb: str) -> str:
    return f"/stream/{_VERBS.get(verb, verb)}"


def started(
    wanted: Wanted, stream_id: str, running: RunningJob, answer: bytes, hosts: Collection[str]
) -> Live:
    """By the body of the answer: `{"stream_id", "channels": {name: url}}`.

    The stream keeps the name that this side gave it: the app's own may be the session's id, which
    is a credential, and names are shown.
    """
    try:
        told = loads(answer)
    except ValueError:
        told = None
    channels = told.get("channels") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(channels, Mapping):
        raise refused(running, "its answer to the start names no channels")
    urls: dict[str, str | None] = {}
    missing = []
    for name, on in (
        ("control", True),
        ("events", True),
        ("in", wanted.publish),
        ("out", wanted.subscribe),
        ("data", wanted.data),
    ):
        url = channels.get(name)
        if url is not None and not isinstance(url, str):
            raise refused(running, f"its channel {name!r} is no URL")
        if url and (problem := channel_problem(url, running.place, hosts)):
            raise refused(running, f"its channel {name!r} {problem}")
        if on and not url:
            missing.append(name)
        urls[name] = url or None
    if missing:
        raise refused(running, f"the stream was started without {', '.join(missing)}")
    return Live(
        stream_id,
        wanted.capability,
        running.road,
        running.place,
        publish_url=urls["in"],
        subscribe_url=urls["out"],
        control_url=urls["control"],
        events_url=urls["events"],
        data_url=urls["data"],
        reserved=running.reserved,
    )
