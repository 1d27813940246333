"""What the registry is told of a runner; each heartbeat says all of it, and replaces the last."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from livepeer.runner.attach import gpu
from livepeer.runner.attach.seat import Listing

PATH = "/r/"
"""Before the secret in the path of what an orchestrator sends."""
MOST_METADATA = 1024
"""Bytes; go-livepeer answers a heartbeat with more by 400."""


class RunnerRecord:
    """One service as a live runner. What it asks of the machine and the service it asks once."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._url = ""
        self._fixed: dict[str, Any] | None = None

    async def read(self) -> str:
        """Find out what is to be told; where the orchestrator is told to call, without the secret.

        Raises as `Listing.url` does.
        """
        url = (await self._listing.url()).rstrip("/")
        secret = self._listing.caller.token.reveal()
        self._url = f"{url}{PATH}{secret}" if self._listing.secret_path else url
        if self._fixed is None:
            self._fixed = self._known(await gpu.read_gpus())
        return url

    def body(self, runner_id: str, capacity: int) -> dict[str, Any]:
        """A heartbeat, after `read`."""
        assert self._fixed is not None
        return {
            "runner_id": runner_id,
            "runner_url": self._url,
            "capacity": capacity,
            # Any other would end the calls of sessions that run (go-livepeer: live runner proxy).
            "status": "ready",
            **self._fixed,
        }

    def _known(self, gpus: list[gpu.GPU]) -> dict[str, Any]:
        capability = self._listing.capability
        known: dict[str, Any] = {
            "label": socket.gethostname(),
            "app": capability.app or capability.name,
            "mode": capability.mode,
        }
        if capability.app_version:
            known["version"] = capability.app_version
        if told := metadata(self._listing.metadata()):
            known["metadata"] = told
        if gpus:
            known["gpu"] = {"id": "0", "name": gpus[0].name, "vram_mb": gpus[0].vram_mb}
        if capability.price_usd > 0:
            known["price_info"] = {
                "price": capability.price_usd,
                "currency": "usd",
                "unit": capability.price_unit,
            }
        return known


def metadata(told: Mapping[str, str]) -> str:
    """A JSON object of it; what comes last is left out first where it is too long."""
    kept = {key: value.replace("\ufffd", "?") for key, value in told.items()}
    while kept:
        text = json.dumps(kept, separators=(",", ":"))
        if len(text) <= MOST_METADATA:
            return text
        kept.popitem()
    return ""
