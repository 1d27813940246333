"""Live streams straight at an orchestrator's BYOC endpoints, by trickle channels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from livepeer.client.live.stream import Live, Wanted, channel_problem, refused
from livepeer.client.network.jobs import RunningJob


def start(capability: str, stream_id: str, params: Any) -> tuple[str, Any]:
    return "/ai/stream/start", {"params": params}


def path(stream_id: str, verb: str) -> str:
    return f"/ai/stream/{verb}"


def started(
    wanted: Wanted, stream_id: str, running: RunningJob, answer: bytes, hosts: Collection[str]
) -> Live:
    """By the headers of the answer."""
    headers = running.headers
    live = Live(
        stream_id,
        wanted.capability,
        running.road,
        running.place,
        # Named from the orchestrator's side in the wire: what it publishes we subscribe to.
        publish_url=headers.get("X-Publish-Url"),
        subscribe_url=headers.get("X-Subscribe-Url"),
        control_url=headers.get("X-Control-Url"),
        events_url=headers.get("X-Events-Url"),
        data_url=headers.get("X-Data-Url"),
        price=running.price,
    )
    missing = []
    for name, on, url in (
        ("X-Control-Url", True, live.control_url),
        ("X-Events-Url", True, live.events_url),
        ("X-Publish-Url", wanted.publish, live.publish_url),
        ("X-Subscribe-Url", wanted.subscribe, live.subscribe_url),
        ("X-Data-Url", wanted.data, live.data_url),
    ):
        if url and (problem := channel_problem(url, live.base, hosts)):
            raise refused(running, f"its {name} {problem}")
        if on and not url:
            missing.append(name)
    if missing:
        raise refused(running, f"the stream was started without {', '.join(missing)}")
    return live
