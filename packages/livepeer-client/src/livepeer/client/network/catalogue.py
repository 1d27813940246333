"""What there is: capabilities by name, and all that is listed anywhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from livepeer.client.config import Config
from livepeer.client.exceptions import LivepeerError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.network.directory import NAMES, ORCHESTRATORS, Directory
from livepeer.client.network.live_runner import LiveRunners
from livepeer.client.network.offers import AT_ONCE, Offers, phase_of
from livepeer.client.network.selection import Attempt, located
from livepeer.client.types import CapabilityInfo

logger = logging.getLogger(__name__)


class Catalogue:
    """Asks all who are known, and keeps nothing."""

    def __init__(
        self, config: Config, directory: Directory, offers: Offers, runners: LiveRunners
    ) -> None:
        self._config, self._directory = config, directory
        self._offers, self._runners = offers, runners

    async def capabilities(
        self, http: Http, names: Iterable[str] | None, deadline: Deadline
    ) -> list[CapabilityInfo]:
        """What all orchestrators offer of these, freshly asked; of all that discovery lists."""
        if names is None:
            listed = await self._directory.listed(http, deadline)
            await self._list_runners(http, listed, deadline)
            pairs = [(name, sorted(listed[name])) for name in sorted(listed)]
        else:
            pairs = []
            for name in [names] if isinstance(names, str) else names:
                known = await self._directory.orchestrators(http, name, None, deadline)
                pairs.append((name, list(known)))
        infos: list[CapabilityInfo] = []
        for name, orchestrators in pairs:
            found, attempts = await self._offers.probe_all(http, orchestrators, name, deadline)
            rejections = tuple(attempt.rejection for attempt in attempts)
            infos.append(CapabilityInfo(name, tuple(offer for offer, _ in found), rejections))
        return infos

    async def _list_runners(
        self, http: Http, listed: dict[str, set[str]], deadline: Deadline
    ) -> None:
        """Add what the orchestrators that are known list themselves: their live runners.

        Raises a `LivepeerError` where nothing is listed and none of them could be reached.
        """
        places = {each for source in self._config.sources for each in source.orchestrators}
        places = set(sorted(places.union(*listed.values()))[:ORCHESTRATORS])
        room = asyncio.Semaphore(AT_ONCE)

        attempts: list[Attempt] = []

        async def names(place: str) -> set[str]:
            async with room:
                try:
                    return await self._runners.apps(http, place, deadline)
                except LivepeerError as error:
                    attempts.append(Attempt(error, phase_of(error)))
                    return set()

        for place, found in zip(places, await asyncio.gather(*map(names, places)), strict=True):
            for name in sorted(found):
                if name in listed or len(listed) < NAMES:
                    listed.setdefault(name, set()).add(place)
        if attempts and len(attempts) == len(places) and not listed:
            error = attempts[0].error
            error.rejections = tuple(attempt.rejection for attempt in attempts)
            raise located(error)
        for attempt in attempts:
            logger.warning("nothing is known of %s", attempt.rejection)
