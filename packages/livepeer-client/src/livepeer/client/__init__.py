"""Call any capability of the Livepeer network: `run`, `stream` and `live`, sync and async.

    from livepeer.client import Gateway

    gw = Gateway(orch_url="https://orch:8935", tls="pin")
    result = gw.run("sentiment", input={"text": "hello"})

Nothing is imported before it is used: importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepeer.client.apps.channel import AppChannel
    from livepeer.client.apps.opening import AppOpening
    from livepeer.client.apps.response import AppResponse, AppStream
    from livepeer.client.apps.session import AppSession
    from livepeer.client.apps.sync import SyncAppSession, SyncAppStream, SyncAppWebSocket
    from livepeer.client.apps.websocket import AppWebSocket
    from livepeer.client.config import Token
    from livepeer.client.exceptions import (
        CallTimeoutError,
        CertificateChangedError,
        CertificateError,
        ConfigurationError,
        ConnectionFailedError,
        InsufficientBalanceError,
        InvalidInputError,
        LivepeerError,
        NoCapacityError,
        NoOrchestratorError,
        PaymentRequiredError,
        PipelineError,
        ProtocolError,
        SessionEndedError,
        StreamInterruptedError,
    )
    from livepeer.client.files import FileOutput
    from livepeer.client.gateway import Gateway
    from livepeer.client.live.session import LiveSession
    from livepeer.client.live.stream import LiveStats
    from livepeer.client.schema.schema import Schema
    from livepeer.client.streams import AsyncStreamResponse, StreamResponse
    from livepeer.client.types import (
        CapabilityInfo,
        FieldError,
        Offer,
        Rejection,
        RunnerInfo,
        StreamEvent,
    )

__all__ = [
    "AppChannel",
    "AppOpening",
    "AppResponse",
    "AppSession",
    "AppStream",
    "AppWebSocket",
    "AsyncStreamResponse",
    "CallTimeoutError",
    "CapabilityInfo",
    "CertificateChangedError",
    "CertificateError",
    "ConfigurationError",
    "ConnectionFailedError",
    "FieldError",
    "FileOutput",
    "Gateway",
    "InsufficientBalanceError",
    "InvalidInputError",
    "LiveSession",
    "LiveStats",
    "LivepeerError",
    "NoCapacityError",
    "NoOrchestratorError",
    "Offer",
    "PaymentRequiredError",
    "PipelineError",
    "ProtocolError",
    "Rejection",
    "RunnerInfo",
    "Schema",
    "SessionEndedError",
    "StreamEvent",
    "StreamInterruptedError",
    "StreamResponse",
    "SyncAppSession",
    "SyncAppStream",
    "SyncAppWebSocket",
    "Token",
]

_HOMES = {
    "AppChannel": "apps.channel",
    "AppOpening": "apps.opening",
    "AppResponse": "apps.response",
    "AppSession": "apps.session",
    "AppStream": "apps.response",
    "AppWebSocket": "apps.websocket",
    "AsyncStreamResponse": "streams",
    "CapabilityInfo": "types",
    "FieldError": "types",
    "FileOutput": "files",
    "Gateway": "gateway",
    "LiveSession": "live.session",
    "LiveStats": "live.stream",
    "Offer": "types",
    "Rejection": "types",
    "RunnerInfo": "types",
    "Schema": "schema.schema",
    "StreamEvent": "types",
    "StreamResponse": "streams",
    "SyncAppSession": "apps.sync",
    "SyncAppStream": "apps.sync",
    "SyncAppWebSocket": "apps.sync",
    "Token": "config",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "exceptions")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
