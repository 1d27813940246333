"""The live runners that orchestrators list: asked, shared by all calls, and kept for a moment."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from livepeer.client.exceptions import CallTimeoutError, LivepeerError, ProtocolError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.protocol.discovery import (
    DISCOVERY_BYTES,
    DISCOVERY_PATH,
    RunnerEntry,
    runners_in,
)
from livepeer.client.untrusted import LARGE, loads

logger = logging.getLogger(__name__)

DISCOVERY_LIMIT: Final = 2.0
"""Seconds that a discovery may take, as go-livepeer's own signer waits for one."""
LISTED_SECONDS: Final = 5.0
"""Free places change from call to call, so a list is good for calls in a row and no longer."""
REMEMBERED_SECONDS: Final = 60.0
"""For so long whoever was listed is asked for a session at once, a round trip sooner: the answer
says itself whether there is room."""
EMPTY_SECONDS: Final = 1.0
"""One may register at any moment where there is none yet."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds: an orchestrator that does not tell is asked again after the first, which doubles up to
the longest. A call for a runner's app waits for the first one only."""
LISTS: Final = 256
"""Orchestrators whose runners are remembered."""


@dataclass(frozen=True, slots=True)
class RunnerList:
    """What one orchestrator told last."""

    runners: tuple[RunnerEntry, ...]
    at: float
    lasts: float
    failures: int = 0
    """In a row; 0 where it told."""
    apps: frozenset[str] = frozenset()
    """What it has listed when it last told."""

    def holds(self, app: str | None) -> bool:
        """Whether it is good enough to be taken without asking again, for a call of `app`."""
        likely = app is not None and (is_app_id(app) or app in self.apps)
        lasts = min(self.lasts, FIRST_PAUSE) if self.failures and likely else self.lasts
        return time.monotonic() < self.at + lasts


class RunnerLists:
    """Lists by orchestrator. Plain dicts with single operations: safe across threads."""

    def __init__(self, trust: TlsPolicy) -> None:
        self._trust = trust
        self._kept: dict[str, RunnerList] = {}

    async def get(
        self, http: Http, orchestrator: str, deadline: Deadline, app: str | None = None
    ) -> tuple[RunnerEntry, ...]:
        """Those that it lists, for a call of `app`; none where it does not tell in time.

        One request serves all who wait, and goes on for the next call where nobody does any more.
        """
        try:
            return await self.told(http, orchestrator, deadline, app)
        except LivepeerError:
            return ()  # its other road says why

    async def told(
        self, http: Http, orchestrator: str, deadline: Deadline, app: str | None = None
    ) -> tuple[RunnerEntry, ...]:
        """The same; raises a `LivepeerError` where the orchestrator cannot be reached."""
        known = self._kept.get(orchestrator)
        if known is not None and known.holds(app):
            return known.runners
        work = partial(self._ask, http, orchestrator)
        answer = await http.in_flight.join((self, orchestrator), work, deadline)
        if isinstance(answer, LivepeerError):
            raise answer
        return answer or ()

    def remembered(self, orchestrator: str, app: str) -> tuple[RunnerEntry, ...]:
        """Those that it has listed within the last minute, if `app` was one of them."""
        known = self._kept.get(orchestrator)
        if known is None or known.failures or app not in known.apps:
            return ()
        return known.runners if time.monotonic() < known.at + REMEMBERED_SECONDS else ()

    def likely(self, orchestrator: str, app: str) -> bool:
        """Whether it may have a runner of that app: by its name, or because it has listed one."""
        known = self._kept.get(orchestrator)
        return is_app_id(app) or (known is not None and app in known.apps)

    def forget(self, orchestrator: str) -> None:
        """Ask anew next time: something went otherwise than it was told."""
        if (known := self._kept.get(orchestrator)) is not None and not known.failures:
            self._kept.pop(orchestrator, None)

    async def _ask(self, http: Http, orchestrator: str) -> tuple[RunnerEntry, ...] | LivepeerError:
        """Given back, not raised: nobody may wait for it any more."""
        try:
            reply = await http.fetch(
                "GET",
                orchestrator + DISCOVERY_PATH,
                ssl=self._trust.for_peer(),
                deadline=Deadline(DISCOVERY_LIMIT),
                where={"orchestrator": orchestrator},
                limit=DISCOVERY_BYTES,
            )
        except (CallTimeoutError, ProtocolError) as error:
            return self._failed(orchestrator, str(error))
        except LivepeerError as error:
            # It cannot be reached now, and each call may try.
            logger.debug("%s tells no live runners: %s", orchestrator, error)
            return error
        if reply.status != 200:
            return self._failed(orchestrator, f"answered {reply.status}")
        body = reply.body
        runners = await asyncio.to_thread(_read, body) if len(body) > LARGE else _read(body)
        if runners is None:
            return self._failed(orchestrator, "no list of runners")
        lasts = LISTED_SECONDS if runners else EMPTY_SECONDS
        apps = frozenset(each.app for each in runners)
        self._keep(orchestrator, RunnerList(runners, time.monotonic(), lasts, apps=apps))
        return runners

    def _failed(self, orchestrator: str, why: str) -> tuple[RunnerEntry, ...]:
        before = self._kept.get(orchestrator)
        failures = before.failures + 1 if before else 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
        logger.debug("%s tells no live runners for %g s: %s", orchestrator, pause, why)
        apps = before.apps if before else frozenset()
        self._keep(orchestrator, RunnerList((), time.monotonic(), pause, failures, apps))
        return ()

    def _keep(self, orchestrator: str, told: RunnerList) -> None:
        while len(self._kept) >= LISTS and orchestrator not in self._kept:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[orchestrator] = told


def is_app_id(name: str) -> bool:
    """Whether it is of the form `org/name`, which is that of live runners' apps by convention."""
    return "/" in name


def _read(body: bytes) -> tuple[RunnerEntry, ...] | None:
    try:
        return runners_in(loads(body))
    except ValueError:
        return None
