"""The sessions of callers at one orchestrator, and the end of those that nobody uses."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from livepeer.runner.attach.callers import Caller, OpenChannel
from livepeer.runner.attach.client import RegistryAnswer, RegistryClient, Unreachable
from livepeer.runner.attach.live_runner import answers
from livepeer.runner.errors import PipelineError
from livepeer.runner.http.asgi import Scope, header
from livepeer.runner.redaction import Redactor
from livepeer.runner.settings import Secret

logger = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""A session without a request, and without work that one began, ends after this: go-livepeer keeps
it for ever, and its place with it."""
FIRST_REQUEST_SECONDS = 30.0
"""What a caller gets between its reservation and its first request."""
SETTLE_SECONDS = 15.0
"""What a session that is not listed yet gets where it may be younger than the question: the answer
may have been on its way when it began."""
MOST_SESSIONS = 4096
_LONGEST = 256
_CONTROL = re.compile(r"/runner/[^/?#]+/session/[^/?#]+$")


class SessionCaller(Caller):
    """One session as a caller, with what its first request carried: by that its channels are
    opened, and it is ended. All of it goes to the orchestrator that we registered at, and to no
    address that a request named."""

    def __init__(self, orchestrator: Caller, client: RegistryClient, scope: Scope) -> None:
        session = header(scope, b"livepeer-session-id").decode("latin-1")
        super().__init__(orchestrator.url, orchestrator.token, session=session)
        self._client = client
        control = _CONTROL.search(header(scope, b"livepeer-session-control").decode("latin-1"))
        self._control = control[0] if control else ""
        self._secret = Secret(header(scope, b"livepeer-session-token").decode("latin-1"))
        self.began = self.used = time.monotonic()

    async def release(self) -> None:
        """Give its place back. It may be over already."""
        if self._control:
            with suppress(Unreachable):
                answer = await self._ask("stop")
                if answer.status not in (204, 404):
                    logger.warning(
                        "a session may stay at %s: %s", self.url, answers.of_session(answer)
                    )

    async def open_channels(self, wanted: Mapping[str, str]) -> dict[str, OpenChannel] | None:
        body = {"channels": [{"name": name, "mime_type": mime} for name, mime in wanted.items()]}
        try:
            answer = await self._ask("channels", json=body)
        except Unreachable as error:
            raise self._no_channels(str(error)) from error
        if answer.status != 200:
            raise self._no_channels(answers.of_session(answer))
        found = _channels(answer.text)
        if set(wanted) - set(found):
            raise self._no_channels("its answer does not have them: is it go-livepeer?")
        return found

    def _no_channels(self, reason: str) -> PipelineError:
        logger.warning("no channels are opened at %s: %s", self.url, reason)
        return PipelineError(f"the orchestrator opens no channels: {reason}")

    async def _ask(self, what: str, **request: Any) -> RegistryAnswer:
        headers = {"Livepeer-Session-Token": self._secret.reveal()}
        path = f"{self._control}/{what}"
        answer = await self._client.ask("POST", path, headers=headers, **request)
        return replace(answer, text=Redactor([self._secret])(answer.text))


class RunnerSessions:
    """The sessions of one runner, known by their requests; what is listed of them is the truth."""

    def __init__(self, orchestrator: Caller, client: RegistryClient) -> None:
        self._orchestrator = orchestrator
        self._client = client
        self._known: dict[str, SessionCaller] = {}
        self.listed: frozenset[str] = frozenset()
        self._silent: dict[str, float] = {}
        """Sessions that are listed and sent nothing yet, each since when."""

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
            session = self._known[name] = SessionCaller(self._orchestrator, self._client, scope)
        session.used = now
        return session

    def are(self, listed: frozenset[str], *, asked: float) -> None:
        """What the orchestrator has, as it said to a question that was put after `asked`: the
        others are over."""
        self.listed = listed
        now = time.monotonic()
        self._silent = {
            name: self._silent.get(name, now) for name in listed if name not in self._known
        }
        for name, session in list(self._known.items()):
            if name not in listed and (
                session.began < asked or now - session.began > SETTLE_SECONDS
            ):
                del self._known[name]
                session.end()

    @property
    def deserted(self) -> bool:
        """Whether every session that there is was reserved by somebody who never came.

        Only a request brings the token by which a session can be ended, so all of them have to be.
        """
        if not self.listed or len(self._silent) < len(self.listed):
            return False
        return time.monotonic() - max(self._silent.values()) > FIRST_REQUEST_SECONDS

    async def watch(self, every: float) -> None:
        """End what nobody uses, as long as this runs."""
        while True:
            await asyncio.sleep(every)
            now = time.monotonic()
            for name, session in list(self._known.items()):
                if session.in_flight:
                    session.used = now
                elif now - session.used > IDLE_SECONDS:
                    del self._known[name]
                    if name in self.listed:
                        logger.info("a session that nobody uses is ended at %s", session.url)
                        await session.release()

    async def release_all(self) -> None:
        """On the way out: no session is to wait for a runner that is gone."""
        known, self._known = self._known, {}
        for session in known.values():
            session.end()


def _channels(text: str) -> dict[str, OpenChannel]:
    try:
        listed = json.loads(text)["channels"]
        return {
            each["name"]: OpenChannel(str(each["url"]), str(each["internal_url"]))
            for each in listed
        }
    except (ValueError, RecursionError, LookupError, TypeError):
        return {}
