"""Live streams straight at an orchestrator's BYOC endpoints, by trickle channels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from livepeer.client.http.tls import origin
from livepeer.client.live.stream import Live, Wanted, is_plain, refused
from livepeer.client.network.jobs import RunningJob


def start(stream_id: str, params: Any) -> tuple[str, Any]:
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
        priced=running.priced,
    )
    missing = []
    for name, on, url in (
        ("X-Control-Url", True, live.control_url),
        ("X-Events-Url", True, live.events_url),
        ("X-Publish-Url", wanted.publish, live.publish_url),
        ("X-Subscribe-Url", wanted.subscribe, live.subscribe_url),
        ("X-Data-Url", wanted.data, live.data_url),
    ):
        if url and (problem := _problem(url, live.base, hosts)):
            raise refused(running, f"its {name} {problem}")
        if on and not url:
            missing.append(name)
    if missing:
        raise refused(running, f"the stream was started without {', '.join(missing)}")
    return live


def _problem(url: str, base: str, hosts: Collection[str]) -> str | None:
    """Why a channel at this URL is not used, None where it is: whoever is asked to run a stream
    must not make its caller send its frames, or its requests, anywhere else."""
    if not is_plain(url):
        return "is no URL"
    try:
        parts = urlsplit(url)
        host, place = parts.hostname, origin(url)
    except ValueError:  # `ConfigurationError` is one
        return "is no URL"
    if parts.scheme not in ("http", "https") or not host:
        return "is not an http(s) URL"
    if "@" in parts.netloc:
        return "carries a user name"
    if not parts.path.strip("/"):
        return "names no channel"
    if host in hosts or place in hosts:
        return None
    if place != origin(base):
        return (
            f"is at {place}, and the orchestrator that was asked at {origin(base)}. If it is known"
            f" to be its own, allow it: trickle_hosts={place!r} (LIVEPEER_TRICKLE_HOSTS)"
        )
    if base.startswith("https:") and parts.scheme != "https":
        return "is plain http, though the orchestrator was asked by https"
    return None
