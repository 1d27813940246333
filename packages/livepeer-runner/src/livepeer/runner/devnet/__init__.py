"""A local network: what an offchain go-livepeer orchestrator does for free BYOC capabilities
(`LocalOrchestrator`), and what a gateway does in front of it (`LocalGateway`), in one process. With
a `LocalChain` live runners cost test money, and a `LocalSigner` pays for a caller.

For development and tests: in memory, on loopback unless told otherwise, and with the reference's
traps on purpose. What works here works there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepeer.runner.devnet.gateway import LocalGateway
    from livepeer.runner.devnet.orchestrator import LocalOrchestrator
    from livepeer.runner.devnet.payments.chain import LocalChain
    from livepeer.runner.devnet.payments.signer import LocalSigner

__all__ = ["LocalChain", "LocalGateway", "LocalOrchestrator", "LocalSigner"]

_HOMES = {
    "LocalChain": "payments.chain",
    "LocalGateway": "gateway",
    "LocalOrchestrator": "orchestrator",
    "LocalSigner": "payments.signer",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
