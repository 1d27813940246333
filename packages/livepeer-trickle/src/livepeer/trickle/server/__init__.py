"""A trickle server to embed: `async with TrickleServer(port=0) as server: ...`."""

from __future__ import annotations

from livepeer.trickle.server.channel import Channel, LocalSegmentWriter
from livepeer.trickle.server.handlers import Access, Authorize
from livepeer.trickle.server.limits import LimitExceeded, SegmentTaken, ServerLimits
from livepeer.trickle.server.server import TrickleServer

__all__ = [
    "Access",
    "Authorize",
    "Channel",
    "LimitExceeded",
    "LocalSegmentWriter",
    "SegmentTaken",
    "ServerLimits",
    "TrickleServer",
]
