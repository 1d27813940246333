"""A local network: what an offchain go-livepeer orchestrator does for free BYOC capabilities
(`LocalOrchestrator`), and what a gateway does in front of it (`LocalGateway`), in one process.

For development and tests: in memory, on loopback unless told otherwise, and with the reference's
traps on purpose. What works here works there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepeer.runner.devnet.gateway import LocalGateway
    from livepeer.runner.devnet.orchestrator import LocalOrchestrator

__all__ = ["LocalGateway", "LocalOrchestrator"]

_HOMES = {"LocalGateway": "gateway", "LocalOrchestrator": "orchestrator"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
