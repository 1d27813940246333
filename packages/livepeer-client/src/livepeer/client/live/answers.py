"""What is wanted of a live stream, and where it is once it is started: the answers to a start."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

from livepeer.client.exceptions import LivepeerError, ProtocolError
from livepeer.client.http.tls import origin
from livepeer.client.network.running import RunningJob
from livepeer.client.protocol.wire import compact_json

URL_LENGTH: Final = 2048
_URL: Final = re.compile(r"[!-\[\]-~]+")  # no space, no backslash
_ID: Final = re.compile(r"(?!\.{1,2}$)[\w.~-]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a session is to be: its parameters and the channels that it needs."""

    capability: str
    params: Mapping[str, Any] | None = None
    model: str | None = None
    publish: bool = True
    subscribe: bool = True
    data: bool = True

    def parameters(self) -> str:
        """For the `Livepeer` header; what is off is left out."""
        flags = {
            "enable_video_ingress": self.publish,
            "enable_video_egress": self.subscribe,
            "enable_data_output": self.data,
        }
        return compact_json({name: True for name, on in flags.items() if on})


@dataclass(frozen=True, slots=True)
class Live:
    """A started stream. Its URLs are trickle channels of an orchestrator, or, by a gateway, its
    HTTP endpoints; which of them there are depends on what was asked for."""

    stream_id: str
    capability: str
    base: str
    gateway: bool
    publish_url: str | None = None
    subscribe_url: str | None = None
    control_url: str | None = None
    events_url: str | None = None
    data_url: str | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    priced: bool = False
    """It costs something, and it is this side that pays."""


def by_orchestrator(
    wanted: Wanted, base: str, stream_id: str, running: RunningJob, hosts: Collection[str]
) -> Live:
    """A stream by the headers of a start's answer. Raises `ProtocolError` for channels that are
    missing, or that are at a host which is neither the orchestrator's nor one of `hosts`."""
    headers = running.headers
    live = Live(
        stream_id,
        wanted.capability,
        base,
        gateway=False,
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
        if url and (problem := _problem(url, base, hosts)):
            raise _refused(running, f"its {name} {problem}")
        if on and not url:
            missing.append(name)
    if missing:
        raise _refused(running, f"the stream was started without {', '.join(missing)}")
    return live


def by_gateway(wanted: Wanted, base: str, told: Any, running: RunningJob) -> Live:
    """A stream by the body of a gateway's answer. Raises `ProtocolError` where it names none."""
    stream_id = told.get("stream_id") if isinstance(told, dict) else None
    if not isinstance(stream_id, str) or not _ID.fullmatch(stream_id):
        raise _refused(running, "the gateway did not say which stream it started")
    # The URLs in the answer claim https at a host that the gateway guesses, even where it serves
    # plain http: only what is at another server is taken from there, and never called from here.
    root = f"{base}/process/stream/{quote(stream_id, safe='')}"
    media = {
        name: url
        for name in ("whep_url", "rtmp_url", "rtmp_output_url")
        if isinstance(url := told.get(name), str) and url and _is_plain(url)
    }
    if wanted.publish:
        media["whip_url"] = f"{root}/whip"
    data_url = f"{root}/data" if wanted.data else None
    return Live(stream_id, wanted.capability, base, True, data_url=data_url, urls=media)


def _problem(url: str, base: str, hosts: Collection[str]) -> str | None:
    """Why a channel at this URL is not used, None where it is: whoever is asked to run a stream
    must not make its caller send its frames, or its requests, anywhere else."""
    if not _is_plain(url):
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


def _is_plain(url: str) -> bool:
    """Is it one short word of ASCII, as a URL is once it is written out?"""
    return len(url) <= URL_LENGTH and bool(_URL.fullmatch(url))


def _refused(running: RunningJob, told: str) -> LivepeerError:
    return running.failed(ProtocolError(told, may_have_run=True, **running.where))
