"""A local gateway: what an on-chain go-livepeer gateway does in front of its orchestrators, for
free capabilities, as far as it needs neither WHIP nor RTMP. See `LocalGateway`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepeer.runner.devnet.gateway.server import LocalGateway

__all__ = ["LocalGateway"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from livepeer.runner.devnet.gateway import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
