"""Trickle: publish and subscribe segments of a live stream while they are written.

Importing this package imports nothing else; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepeer.trickle.exceptions import (
        CertificateError,
        ChannelClosed,
        ChannelNotFound,
        ChannelRefused,
        PictureTooLarge,
        ProtocolError,
        RecordTooLarge,
        SegmentFailed,
        TrickleConnectionError,
        TrickleError,
        TrickleTimeout,
    )
    from livepeer.trickle.http.transport import Transport
    from livepeer.trickle.jsonl_publisher import JSONLPublisher
    from livepeer.trickle.jsonl_subscriber import JSONLSubscriber
    from livepeer.trickle.publisher import SegmentWriter, TricklePublisher
    from livepeer.trickle.reader import SegmentReader
    from livepeer.trickle.relay import relay
    from livepeer.trickle.server import ServerLimits, TrickleServer
    from livepeer.trickle.subscriber import TrickleSubscriber
    from livepeer.trickle.tls.aiohttp_pin import Pin
    from livepeer.trickle.tls.pins import PinStore
    from livepeer.trickle.types import PublisherStats, SubscriberStats, Timeouts

__all__ = [
    "CertificateError",
    "ChannelClosed",
    "ChannelNotFound",
    "ChannelRefused",
    "JSONLPublisher",
    "JSONLSubscriber",
    "PictureTooLarge",
    "Pin",
    "PinStore",
    "ProtocolError",
    "PublisherStats",
    "RecordTooLarge",
    "SegmentFailed",
    "SegmentReader",
    "SegmentWriter",
    "ServerLimits",
    "SubscriberStats",
    "Timeouts",
    "Transport",
    "TrickleConnectionError",
    "TrickleError",
    "TricklePublisher",
    "TrickleServer",
    "TrickleSubscriber",
    "TrickleTimeout",
    "relay",
]

_HOMES = {
    "exceptions": (
        "CertificateError",
        "ChannelClosed",
        "ChannelNotFound",
        "ChannelRefused",
        "ProtocolError",
        "PictureTooLarge",
        "RecordTooLarge",
        "SegmentFailed",
        "TrickleConnectionError",
        "TrickleError",
        "TrickleTimeout",
    ),
    "jsonl_publisher": ("JSONLPublisher",),
    "jsonl_subscriber": ("JSONLSubscriber",),
    "publisher": ("SegmentWriter", "TricklePublisher"),
    "relay": ("relay",),
    "reader": ("SegmentReader",),
    "server": ("ServerLimits", "TrickleServer"),
    "subscriber": ("TrickleSubscriber",),
    "tls.aiohttp_pin": ("Pin",),
    "tls.pins": ("PinStore",),
    "http.transport": ("Transport",),
    "types": ("PublisherStats", "SubscriberStats", "Timeouts"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
