"""The registry of live runners: who is there, who holds which place. No I/O and no task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from livepeer.runner.devnet.live_runners.announcement import SINGLE_SHOT, Announcement
from livepeer.runner.devnet.live_runners.records import (
    RegisteredRunner,
    ReservedSession,
    channel_name,
    new_seed,
    o2r_name,
    proxy_target,
    random_name,
    same_secret,
)
from livepeer.runner.devnet.live_runners.runners_file import StaticEntry
from livepeer.runner.devnet.live_runners.states import (
    Ask,
    RunnerEvent,
    RunnerRefusal,
    RunnerState,
    not_found,
)

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS, TTL_SECONDS = 5.0, 20.0
"""The reference's: how often it wants a heartbeat, and after how long without it forgets."""
# The reference has none of these bounds. They keep one hostile peer from eating the machine.
MOST_RUNNERS = 1_000
MOST_SESSIONS = 10_000
MOST_CHANNELS = 100
"""Channels of one session, and as many proxies."""
LONGEST_ID = 128


class ChannelHost(Protocol):
    """Where the channels of runners and sessions are."""

    def create(self, name: str, channel_name: str, mime_type: str) -> dict[str, str]:
        """Makes a channel; its descriptor. Raises `RunnerRefusal` where there is no room."""

    def create_o2r(self, channel_name: str) -> dict[str, str]:
        """Makes the channel from the orchestrator to a runner, kept alive until it is closed."""

    def tell(self, channel_name: str, event: str, session_id: str) -> None:
        """Writes a session event to such a channel."""

    def close(self, channel_name: str) -> None:
        """Ends a channel; its readers are told."""


class RunnerRegistry:
    """The runners of one orchestrator by route, as go-livepeer keeps them.

    A heartbeat replaces the record whole. Sessions have no time limit: only a stop, the runner's
    end or, for a static runner, one failed health check releases them.

    - `secret`: what a first heartbeat has to show; an empty one means that none is taken.
    - `address`: the orchestrator's own URL, for callers.
    - `runner_address`: its URL for runners.
    - `channels`: where channels are made.
    - `check_prices`: refuse prices that an orchestrator on a chain refuses.
    - `ttl`: seconds after which a runner without a heartbeat is silent.
    - `clock`: seconds that never go back.
    """

    def __init__(
        self,
        *,
        secret: str,
        address: str,
        runner_address: str,
        channels: ChannelHost,
        check_prices: bool = False,
        ttl: float = TTL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.check_prices = check_prices
        self.address = address
        self.runner_address = runner_address
        self.ttl = ttl
        self._secret = secret
        self._channels = channels
        self._clock = clock
        self._runners: dict[str, RegisteredRunner] = {}

    def __len__(self) -> int:
        return len(self._runners)

    def __iter__(self) -> Iterator[RegisteredRunner]:
        """Every runner of this moment, the silent ones too."""
        for runner in list(self._runners.values()):
            yield self._looked_at(runner)

    # --- runners ---------------------------------------------------------------------------------

    def heartbeat(self, says: Announcement, shown: str) -> tuple[RegisteredRunner, bool]:
        """A runner's heartbeat, and whether it was its first. Raises `RunnerRefusal`."""
        runner_id = says.runner_id or f"runner_{random_name(5)}"
        runner = self._runners.get(runner_id)
        if runner is None:
            return self._bootstrap(replace(says, runner_id=runner_id), shown), True
        self._looked_at(runner).let_in(Ask.HEARTBEAT)
        if not same_secret(shown, runner.heartbeat_secret):
            raise RunnerRefusal(401, "invalid heartbeat authorization")
        if runner.static:
            raise RunnerRefusal(400, "static runner cannot heartbeat")
        runner.announce(says, self._clock())
        return runner, False

    def _bootstrap(self, says: Announcement, shown: str) -> RegisteredRunner:
        if not self._secret:
            raise RunnerRefusal(404, "dynamic live runner registration is disabled")
        if not same_secret(shown, self._secret):
            raise RunnerRefusal(401, "invalid registration authorization")
        if len(says.runner_id) > LONGEST_ID:
            raise RunnerRefusal(400, f"runner_id must be at most {LONGEST_ID} letters")
        if len(self._runners) >= MOST_RUNNERS:
            raise RunnerRefusal(503, f"over {MOST_RUNNERS} live runners")
        seed = new_seed()
        o2r = self._channels.create_o2r(o2r_name(says.runner_id, seed))
        runner = RegisteredRunner(says, seed, o2r, self._clock())
        self._runners[runner.route] = runner
        logger.info("live runner %s registered for %s", ascii(runner.id), ascii(says.app))
        return runner

    def unregister(self, route: str, shown: str) -> None:
        """Removes a runner at its own request; raises `RunnerRefusal`."""
        runner = self.find(route, Ask.UNREGISTER)
        if runner.static:
            raise RunnerRefusal(400, "static runner cannot unregister with heartbeat credentials")
        if not same_secret(shown, runner.heartbeat_secret):
            raise RunnerRefusal(401, "invalid authorization")
        runner.move(RunnerEvent.UNREGISTERED)
        self._remove(runner, "it unregistered")

    def sweep(self) -> None:
        """Forgets the silent ones; called every heartbeat interval."""
        for runner in self:
            if runner.state is RunnerState.SILENT:
                runner.move(RunnerEvent.SWEPT)
                self._remove(runner, f"no heartbeat for {self.ttl:g} s")

    def _remove(self, runner: RegisteredRunner, reason: str) -> None:
        # The channel to the runner first: it hears of its end, not of each session's.
        if runner.o2r is not None:
            self._channels.close(runner.o2r["channel_name"])
        for session in list(runner.sessions.values()):
            self._release(runner, session, told=False)
        del self._runners[runner.route]
        logger.info("live runner %s is gone: %s", ascii(runner.id), reason)

    def find(self, route: str, ask: Ask) -> RegisteredRunner:
        """The runner, where that may be asked of it now. Raises `RunnerRefusal`."""
        runner = self._runners.get(route)
        if runner is None:
            raise not_found()
        self._looked_at(runner).let_in(ask)
        return runner

    def _looked_at(self, runner: RegisteredRunner) -> RegisteredRunner:
        alive = runner.state in (RunnerState.READY, RunnerState.HIDDEN)
        if alive and not runner.static and self._clock() - runner.seen > self.ttl:
            runner.move(RunnerEvent.TTL_PASSED)
        return runner

    # --- static runners --------------------------------------------------------------------------

    def register_static(self, entry: StaticEntry, *, healthy: bool) -> RegisteredRunner:
        """Takes an entry of `runners.json`; one of the same label keeps its id and sessions."""
        label = entry.says.label
        runner = next((each for each in self if each.static and each.says.label == label), None)
        if runner is None:
            says = replace(entry.says, runner_id=f"runner_{random_name(5)}")
            runner = RegisteredRunner(says, new_seed(), None, self._clock())
            logger.info("static live runner %s registered", ascii(label))
        else:
            del self._runners[runner.route]
        runner.reach_by(label if entry.by_label else runner.id)
        self._runners[runner.route] = runner
        self.checked(runner, entry, healthy=healthy)
        return runner

    def checked(self, runner: RegisteredRunner, entry: StaticEntry, *, healthy: bool) -> None:
        """What a health check showed. One that failed releases every session."""
        before = runner.state
        status = "ready" if healthy else "unavailable"
        runner.announce(replace(entry.says, runner_id=runner.id, status=status), self._clock())
        if not healthy:
            for session in list(runner.sessions.values()):
                self._release(runner, session, told=True)
        if runner.state is not before:
            logger.info("static live runner %s is %s", ascii(entry.says.label), status)

    # --- sessions --------------------------------------------------------------------------------

    def reserve(self, route: str, session_id: str = "") -> ReservedSession:
        """Takes a place, for a session that has its id already where it was paid for; raises
        `RunnerRefusal`."""
        runner = self.find(route, Ask.RESERVE)
        if session_id in runner.sessions:
            raise RunnerRefusal(409, "session already exists")
        held = sum(len(each.sessions) for each in self._runners.values())
        if len(runner.sessions) >= runner.says.capacity or held >= MOST_SESSIONS:
            raise RunnerRefusal(503, "no capacity available for runner")
        while not session_id or session_id in runner.sessions:
            session_id = f"session_{random_name(5)}"
        session = ReservedSession(session_id, runner.session_token(session_id))
        runner.sessions[session_id] = session
        self._tell(runner, "reserved", session_id)
        return session

    def session(
        self, route: str, session_id: str, *, token: str | None = None
    ) -> tuple[RegisteredRunner, ReservedSession]:
        """A session that runs; the runner itself has to show its token. Raises `RunnerRefusal`."""
        runner = self.find(route, Ask.USE)
        session = runner.sessions.get(session_id)
        if session is None:
            raise RunnerRefusal(404, "runner session not found")
        if token is not None and not same_secret(token, session.token):
            raise RunnerRefusal(401, "invalid authorization")
        return runner, session

    def release(self, route: str, session_id: str) -> None:
        """Gives a place back; an unknown session is no error. Raises `RunnerRefusal`."""
        runner = self.find(route, Ask.RELEASE)
        session = runner.sessions.get(session_id)
        if session is not None:
            self._release(runner, session, told=True)

    def _release(self, runner: RegisteredRunner, session: ReservedSession, *, told: bool) -> None:
        del runner.sessions[session.id]
        if told:
            self._tell(runner, "released", session.id)
        for descriptor in session.channels.values():
            self._channels.close(descriptor["channel_name"])

    def _tell(self, runner: RegisteredRunner, event: str, session_id: str) -> None:
        logger.info(
            "live runner %s: a session is %s, %s of %s places are taken",
            ascii(runner.id),
            event,
            len(runner.sessions),
            runner.says.capacity,
        )
        if runner.o2r is not None:
            self._channels.tell(runner.o2r["channel_name"], event, session_id)

    # --- what a session may have -----------------------------------------------------------------

    def open_channel(self, session: ReservedSession, name: str, mime_type: str) -> dict[str, str]:
        """The descriptor of a channel; one that is there keeps its type. Raises `RunnerRefusal`."""
        name = channel_name(name)
        if name not in session.channels:
            if len(session.channels) >= MOST_CHANNELS:
                raise RunnerRefusal(429, f"over {MOST_CHANNELS} channels in one session")
            session.channels[name] = self._channels.create(
                name, f"{session.id}-{name}", mime_type.strip() or "application/octet-stream"
            )
        return session.channels[name]

    def close_channel(self, session: ReservedSession, name: str) -> None:
        """Ends a channel; raises `RunnerRefusal`."""
        descriptor = session.channels.pop(channel_name(name), None)
        if descriptor is None:
            raise RunnerRefusal(404, "trickle channel not found")
        self._channels.close(descriptor["channel_name"])

    def open_proxy(self, runner: RegisteredRunner, session: ReservedSession, target: str) -> str:
        """A public id for the runner, or for another URL on its host. Raises `RunnerRefusal`."""
        if len(session.proxies) >= MOST_CHANNELS:
            raise RunnerRefusal(429, f"over {MOST_CHANNELS} proxies in one session")
        proxy_id = random_name(16)
        session.proxies[proxy_id] = proxy_target(runner, target)
        return proxy_id

    def proxied(self, proxy_id: str) -> tuple[RegisteredRunner, ReservedSession, str] | None:
        """The session behind a public id and the URL it stands for; None for an unknown one."""
        for runner in self:
            if runner.state is RunnerState.READY:
                for session in runner.sessions.values():
                    if proxy_id in session.proxies:
                        return runner, session, session.proxies[proxy_id]
        return None

    def is_public(self, route: str) -> bool:
        """Whether the route itself is a public id: of a single-shot runner with `proxy`."""
        runner = self._runners.get(route)
        return runner is not None and runner.says.proxy and runner.says.mode == SINGLE_SHOT
