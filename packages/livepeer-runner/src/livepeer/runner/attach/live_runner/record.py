"""What the registry is told of a runner; each heartbeat says all of it, and replaces the last."""

from __future__ import annotations

import hmac
import json
import socket
from collections.abc import Mapping
from typing import Any

from livepeer.runner.attach import gpu
from livepeer.runner.attach.capability import Capability
from livepeer.runner.attach.seat import Listing
from livepeer.runner.http.asgi import Scope

PATH = "/r/"
"""Before the secret in the path of what an orchestrator sends."""
MOST_METADATA = 1024
"""Bytes; go-livepeer answers a heartbeat with more by 400."""
_NOTHING: Mapping[str, str] = {}


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

    def came_by_url(self, scope: Scope) -> bool:
        """Whether a request has the secret of the URL that the orchestrator is told; what is behind
        it is the request's path from now on."""
        root: str = scope.get("root_path", "")
        path: str = scope["path"].removeprefix(root)
        if not path.startswith(PATH):
            return False
        given, _, rest = path.removeprefix(PATH).partition("/")
        token = self._listing.caller.token.reveal()
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            return False
        scope["path"] = f"{root}/{rest}"
        scope["raw_path"] = scope["path"].encode("utf-8", "surrogateescape")
        return True

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
        known = {"label": socket.gethostname(), **_told(capability, self._listing.metadata())}
        if gpus:
            known["gpu"] = {"id": "0", "name": gpus[0].name, "vram_mb": gpus[0].vram_mb}
        return known


def static_entry(
    capability: Capability,
    label: str,
    *,
    health: str = "/ready",
    told: Mapping[str, str] = _NOTHING,
) -> dict[str, Any]:
    """A runner as an operator lists it by hand (go-livepeer: `-liveRunnerConfig`).

    One missed health check ends every session there, so `health` is to be the road that says 200
    when work is taken, and 503 before.
    """
    url = (capability.url or "").rstrip("/")
    return {
        "label": label,
        "runner_url": url,
        "capacity": capability.capacity,
        "health_url": f"{url}{health}",
        "healthy_status_code": 200,
        **_told(capability, told),
    }


def _told(capability: Capability, told: Mapping[str, str]) -> dict[str, Any]:
    """What the public is told, with each heartbeat or once and for all."""
    fields: dict[str, Any] = {"app": capability.app or capability.name, "mode": capability.mode}
    if capability.app_version:
        fields["version"] = capability.app_version
    if text := metadata(told):
        fields["metadata"] = text
    if capability.price_usd > 0:
        fields["price_info"] = {
            "price": capability.price_usd,
            "currency": "usd",
            "unit": capability.price_unit,
        }
    return fields


def metadata(told: Mapping[str, str]) -> str:
    """A JSON object of it; what comes last is left out first where it is too long."""
    kept = {key: value.replace("\ufffd", "?") for key, value in told.items()}
    while kept:
        text = json.dumps(kept, separators=(",", ":"))
        if len(text) <= MOST_METADATA:
            return text
        kept.popitem()
    return ""
