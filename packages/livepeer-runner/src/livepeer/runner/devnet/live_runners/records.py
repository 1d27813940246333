"""A registered runner and its sessions, as the registry holds them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from livepeer.runner.devnet.live_runners.announcement import SINGLE_SHOT, Announcement
from livepeer.runner.devnet.live_runners.states import (
    LETS_IN,
    TRANSITIONS,
    Ask,
    RunnerEvent,
    RunnerRefusal,
    RunnerState,
    not_found,
)
from livepeer.runner.devnet.urls import BadURL, escape_path, parse_http_url

_CHANNEL_NAME = re.compile(r"[A-Za-z0-9_-]+")


def random_name(size: int) -> str:
    """`size` random bytes in the reference's small letters and digits (base32)."""
    return _base32(secrets.token_bytes(size))


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def new_seed() -> bytes:
    """What all secrets of one registration are made of."""
    return secrets.token_bytes(32)


def derived(seed: bytes, label: str) -> str:
    """A secret of one registration for one purpose."""
    return _base32(hmac.digest(seed, label.encode(), hashlib.sha256))


def o2r_name(runner_id: str, seed: bytes) -> str:
    """The name of the channel to a runner. It is a credential: it is all a reader needs."""
    return f"{runner_id}-{derived(seed, 'trickle:o2r')[:16]}-o2r"


def same_secret(shown: str, known: str) -> bool:
    """Compared in a time that tells nothing of where they differ."""
    return secrets.compare_digest(
        shown.encode("utf-8", "surrogateescape"), known.encode("utf-8", "surrogateescape")
    )


@dataclass
class ReservedSession:
    """A reserved place at a runner. Its id and its token are credentials."""

    id: str = field(repr=False)
    token: str = field(repr=False)
    channels: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    """The descriptor of each channel by its name in the session."""
    proxies: dict[str, str] = field(default_factory=dict, repr=False)
    """The URL behind each public proxy id."""


class RegisteredRunner:
    """One registered runner. `says` is its last heartbeat, or its entry in `runners.json`.

    `o2r` is the descriptor of the channel to the runner, whose name is `o2r_name`; a static runner
    has none.
    """

    def __init__(
        self, says: Announcement, seed: bytes, o2r: dict[str, str] | None, now: float
    ) -> None:
        self.id = self.route = says.runner_id
        self.says = says
        self.seen = now
        """When the last heartbeat came."""
        self.state = RunnerState.READY if says.ready else RunnerState.HIDDEN
        self.o2r = o2r
        self.sessions: dict[str, ReservedSession] = {}
        self._seed = seed

    def __repr__(self) -> str:
        return f"RegisteredRunner({self.id!r}, {self.says.app!r}, {self.state.name})"

    @property
    def static(self) -> bool:
        return self.o2r is None

    @property
    def heartbeat_secret(self) -> str:
        """What its heartbeats have to show; a static one has none."""
        return "" if self.static else derived(self._seed, "heartbeat")

    def session_token(self, session_id: str) -> str:
        """What it has to show to act for a session."""
        return derived(self._seed, f"session:{session_id}")

    def reach_by(self, route: str) -> None:
        """Callers and the runner name it so in paths: a static one may use its label."""
        self.route = route

    def move(self, event: RunnerEvent) -> None:
        """To the next state; an event that its state does not know is a mistake of ours."""
        self.state = TRANSITIONS[self.state][event]

    def announce(self, says: Announcement, now: float) -> None:
        """A heartbeat, or a health check's result: it replaces all that was said before."""
        self.says, self.seen = says, now
        self.move(RunnerEvent.SAYS_READY if says.ready else RunnerEvent.SAYS_OTHER)

    def let_in(self, ask: Ask) -> None:
        """Raises `RunnerRefusal` where this is not for it in its state."""
        if ask not in LETS_IN[self.state]:
            raise not_found()

    @property
    def is_listed(self) -> bool:
        """Whether the discovery shows it."""
        return Ask.DISCOVER in LETS_IN[self.state]

    def listed_url(self, address: str) -> str:
        """Where callers of the orchestrator at `address` begin: never where it is itself."""
        if self.says.mode == SINGLE_SHOT:
            if self.says.proxy:
                return public_url(address, self.route)
            return address + escape_path(f"/apps/{self.route}/app")
        return address + escape_path(f"/apps/{self.route}/session")

    def listed(self, address: str) -> dict[str, Any]:
        """Its entry in the discovery."""
        says, used = self.says, len(self.sessions)
        entry: dict[str, Any] = {"url": self.listed_url(address)}
        if says.gpu is not None:
            entry["gpu"] = says.gpu
        entry["app"] = says.app
        if says.version:
            entry["version"] = says.version
        if says.metadata:
            entry["metadata"] = says.metadata
        entry["mode"] = says.mode
        entry["capacity"] = says.capacity
        entry["capacity_used"] = used
        entry["capacity_available"] = says.capacity - used
        return entry


def public_url(address: str, proxy_id: str) -> str:
    """Where a public proxy is."""
    return f"{address}/run/{escape_path(proxy_id)}"


def channel_name(name: str) -> str:
    """As the registry knows it; raises `RunnerRefusal`."""
    name = name.strip().replace("/", "-")
    if not name:
        raise RunnerRefusal(400, "trickle channel name is required")
    if not _CHANNEL_NAME.fullmatch(name):
        raise RunnerRefusal(
            400, "trickle channel name may only contain alphanumerics, underscores, or hyphens"
        )
    return name


def proxy_target(runner: RegisteredRunner, target: str) -> str:
    """The URL behind a proxy: the runner's own where none is asked for. Raises `RunnerRefusal`."""
    if not (target := target.strip()):
        return str(runner.says.url)
    scheme, separator, rest = target.partition("://")
    if not separator or not rest:
        raise RunnerRefusal(400, "target_url must be an absolute URL")
    if scheme.lower() not in ("http", "https"):
        raise RunnerRefusal(400, "target_url scheme must be http or https")
    try:
        url = parse_http_url(target)
    except BadURL:
        raise RunnerRefusal(400, "target_url must be an absolute URL") from None
    if url.hostname != runner.says.url.hostname:
        raise RunnerRefusal(400, "target_url hostname must match registered runner_url hostname")
    return str(url)
