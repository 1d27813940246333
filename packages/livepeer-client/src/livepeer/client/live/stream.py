"""What is wanted of a live stream, what is known of one that runs, and the roads that start it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import urlsplit

from livepeer.client.exceptions import ConfigurationError, LivepeerError, ProtocolError
from livepeer.client.http.tls import origin
from livepeer.client.network.jobs import RunningJob
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.protocol.discovery import ReservedPlace
from livepeer.client.protocol.wire import compact_json

if TYPE_CHECKING:
    # What comes with PyAV.
    from livepeer.trickle.media import MediaPublisherStats, SourceStats

URL_LENGTH: Final = 2048
ChannelName = Literal["publish_url", "subscribe_url", "data_url"]

_URL: Final = re.compile(r"[!-\[\]-~]+")  # no space, no backslash


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a session is to be: its parameters and the channels that it needs."""

    capability: str
    params: Mapping[str, Any] | None = None
    model: str | None = None
    budget: Budget | None = None
    publish: bool = True
    subscribe: bool = True
    data: bool = True

    @property
    def connections(self) -> int:
        """Connections from the first moment on: one for events, and two for whatever else there is,
        since the next segment is always asked for ahead."""
        return 3 + 2 * self.publish + 2 * self.subscribe

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
    road: str
    base: str
    publish_url: str | None = None
    subscribe_url: str | None = None
    control_url: str | None = None
    events_url: str | None = None
    data_url: str | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    price: Fraction = Fraction(0)
    """Wei for each second that this side pays by requests of its own; 0 where it does not."""
    reserved: ReservedPlace | None = field(default=None, repr=False)
    """The session of a live runner that it runs in, which its stop releases."""
    bill: Bill | None = field(default=None, repr=False)
    """What it is paid by as long as it runs, where that is not the session's."""
    ended_by: str | None = None
    """The channel whose end is the end of the stream, where there is no request for it."""

    @property
    def direct(self) -> bool:
        """Its channels are trickle channels of an orchestrator, which this side speaks with."""
        return self.control_url is not None

    def channel(self, name: ChannelName, option: str) -> str:
        """The URL of a channel that `option` of the session asks for. Raises `ConfigurationError`,
        which says how to get one, where there is none."""
        url: str | None = getattr(self, name)
        if url is not None:
            return url
        if not self.direct and name != "data_url":
            raise ConfigurationError(
                "by a gateway video goes in and out by WHIP or RTMP: see session.urls, or call an"
                " orchestrator directly (orch_url)"
            )
        if name == "data_url" and self.ended_by is not None:
            raise ConfigurationError("live-video-to-video has no data channel: see events()")
        raise ConfigurationError(f"this session was started with {option}=False")


@dataclass(frozen=True, slots=True)
class LiveStats:
    """Counters of a live session at one moment.

    `seconds` since it was started, `events` and `errors` that the pipeline reported, `reconnects`
    of all channels. `published` and `subscribed` count media; they are None until that direction is
    used.
    """

    seconds: float = 0.0
    events: int = 0
    errors: int = 0
    reconnects: int = 0
    published: MediaPublisherStats | None = None
    subscribed: SourceStats | None = None


class LiveRoad(Protocol):
    """How live streams go by one road of the network: one module for each, in `calls.ROADS`."""

    def start(self, capability: str, stream_id: str, params: Any) -> tuple[str, Any]:
        """Path and JSON body of the request that starts one; `params` are JSON values or None."""
        ...

    def path(self, stream_id: str, verb: str) -> str:
        """The path of a request about one: `update`, `stop`, `status` or `payment`."""
        ...

    def started(
        self,
        wanted: Wanted,
        stream_id: str,
        running: RunningJob,
        answer: bytes,
        hosts: Collection[str],
    ) -> Live:
        """The stream by the answer to its start, with its whole body.

        `hosts`: where channels may be beside the orchestrator's own host. Raises `ProtocolError`
        where the answer is none, or names a channel that is not to be used.
        """
        ...


def refused(running: RunningJob, told: str) -> LivepeerError:
    """The error for an answer to a start that is not taken."""
    return running.failed(ProtocolError(told, may_have_run=True, **running.where))


def is_plain(url: str) -> bool:
    """Is it one short word of ASCII, as a URL is once it is written out?"""
    return len(url) <= URL_LENGTH and bool(_URL.fullmatch(url))


def channel_problem(url: str, base: str, hosts: Collection[str]) -> str | None:
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
