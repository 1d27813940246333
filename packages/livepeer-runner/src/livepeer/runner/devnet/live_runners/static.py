"""Static runners: what a `runners.json` lists, and the look at their health."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from livepeer.runner.devnet.live_runners.records import RegisteredRunner
from livepeer.runner.devnet.live_runners.registry import RunnerRegistry
from livepeer.runner.devnet.live_runners.runners_file import StaticEntry, static_entries
from livepeer.runner.devnet.upstream import UpstreamClient, UpstreamUnreachable
from livepeer.runner.devnet.urls import parse_http_url

HEALTH_SECONDS = 5.0
"""Between two looks at all of them, one after the other."""
_ANSWER_SECONDS = 3.0


class StaticRunners:
    """The static runners of one registry. One missed check releases every session of a runner."""

    def __init__(self, registry: RunnerRegistry, upstream: UpstreamClient) -> None:
        self._registry = registry
        self._upstream = upstream
        self._known: dict[str, tuple[RegisteredRunner, StaticEntry]] = {}

    async def register(self, data: bytes) -> list[dict[str, Any]]:
        """Takes the content of a `runners.json`, as `-liveRunnerConfig` and the command line's
        `/registerLiveRunners` do; entries of labels that are known replace those. What became of
        each. Raises `RunnerRefusal`."""
        entries = static_entries(data, check_prices=self._registry.check_prices)
        healthy = [await self._is_healthy(entry) for entry in entries]
        return [
            self._take(entry, healthy=well) for entry, well in zip(entries, healthy, strict=True)
        ]

    def _take(self, entry: StaticEntry, *, healthy: bool) -> dict[str, Any]:
        says = entry.says
        runner = self._registry.register_static(entry, healthy=healthy)
        self._known[says.label] = runner, entry
        told: dict[str, Any] = {"runner_id": runner.id, "label": says.label, "app": says.app}
        if says.proxy:
            told["proxy"] = True
        return {
            **told,
            "runner_url": entry.runner_url,
            "mode": says.mode,
            "health_url": entry.health_url,
            "healthy_status_code": entry.healthy_status,
            "healthy": healthy,
        }

    async def look(self) -> None:
        """One look at each; a slow one holds up those behind it, as in the reference."""
        known: Sequence[tuple[RegisteredRunner, StaticEntry]] = list(self._known.values())
        for runner, entry in known:
            healthy = await self._is_healthy(entry)
            if self._known.get(entry.says.label) == (runner, entry):
                self._registry.checked(runner, entry, healthy=healthy)

    async def watch(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            await self.look()

    async def _is_healthy(self, entry: StaticEntry) -> bool:
        try:
            answer = await self._upstream.get(parse_http_url(entry.health_url), {}, _ANSWER_SECONDS)
        except UpstreamUnreachable:
            return False
        answer.close()
        return answer.status == entry.healthy_status
