"""The sessions of callers at one orchestrator, and the end of those that nobody uses."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from livepeer.runner.attach.callers import Caller
from livepeer.runner.attach.client import RegistryClient, Unreachable
from livepeer.runner.http.asgi import Scope, header
from livepeer.runner.settings import Secret

logger = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""A session without a request, and without work that one began, ends after this: go-livepeer keeps
it for ever, and its place with it."""
SETTLE_SECONDS = 15.0
"""What a session that is not listed yet gets: an answer may have been on its way when it began."""
MOST_SESSIONS = 4096
_LONGEST = 256


@dataclass(slots=True)
class RunnerSession:
    """One session: its caller, and what its first request carried, by which it can be ended."""

    caller: Caller
    control: str
    token: Secret
    began: float
    used: float


class RunnerSessions:
    """Known by their requests; what the orchestrator lists is the truth about them."""

    def __init__(self, orchestrator: Caller, client: RegistryClient) -> None:
        self._orchestrator = orchestrator
        self._client = client
        self._known: dict[str, RunnerSession] = {}
        self.listed: frozenset[str] = frozenset()

    def caller(self, scope: Scope) -> Caller:
        """The session that a request is part of, as a caller of its own: it reaches no other's
        streams."""
        name = header(scope, b"livepeer-session-id").decode("latin-1")
        if not name or len(name) > _LONGEST:
            return self._orchestrator
        now = time.monotonic()
        session = self._known.get(name)
        if session is None:
            if len(self._known) >= MOST_SESSIONS:
                return self._orchestrator
            session = self._known[name] = RunnerSession(
                Caller(self._orchestrator.url, self._orchestrator.token, session=name),
                header(scope, b"livepeer-session-control").decode("latin-1"),
                Secret(header(scope, b"livepeer-session-token").decode("latin-1")),
                now,
                now,
            )
        session.used = now
        return session.caller

    def are(self, listed: frozenset[str]) -> None:
        """What the orchestrator has: the others are over."""
        self.listed = listed
        now = time.monotonic()
        for name, session in list(self._known.items()):
            if name not in listed and now - session.began > SETTLE_SECONDS:
                del self._known[name]
                session.caller.end()

    async def watch(self, every: float) -> None:
        """End what nobody uses, as long as this runs."""
        while True:
            await asyncio.sleep(every)
            now = time.monotonic()
            for name, session in list(self._known.items()):
                if session.caller.in_flight:
                    session.used = now
                elif now - session.used > IDLE_SECONDS:
                    del self._known[name]
                    if name in self.listed:
                        await self._release(session)

    async def release_all(self) -> None:
        """On the way out: no session is to wait for a runner that is gone."""
        known, self._known = self._known, {}
        for session in known.values():
            session.caller.end()

    async def _release(self, session: RunnerSession) -> None:
        """`POST {control}/stop` with the session's token, which goes to its orchestrator alone."""
        parts, own = urlsplit(session.control), urlsplit(self._orchestrator.url)
        if (parts.scheme, parts.netloc) != (own.scheme, own.netloc) or not session.token.reveal():
            return
        logger.info("a session that nobody uses has been ended at %s", self._orchestrator.url)
        with suppress(Unreachable):
            await self._client.ask(
                "POST",
                f"{parts.path}/stop",
                headers={"Livepeer-Session-Token": session.token.reveal()},
            )
