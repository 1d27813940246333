"""Plain values that the clients and the server share."""

from __future__ import annotations

import ssl
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

__all__ = [
    "DEFAULT_TIMEOUTS",
    "TLS",
    "GapPolicy",
    "PeerTrust",
    "PublisherStats",
    "RecordStats",
    "Start",
    "SubscriberStats",
    "Timeouts",
]


class PeerTrust(Protocol):
    """Decides whether a server is trusted by its certificate; `Pin` is one."""

    def trust(
        self, host: str, port: int, certificate: bytes, *, address: str | None = None
    ) -> None:
        """Raise `CertificateError` unless `certificate` (DER) is trusted."""

    def lost(self, host: str, port: int) -> None:
        """The server was away."""


TLS: TypeAlias = ssl.SSLContext | bool | PeerTrust
"""How to trust an https server: True = by the system's store, False = not at all, a context, or a
`Pin` that knows the certificate."""

Start = Literal["current", "next"] | int
"""Where a reader begins: the segment begun last, the next one, or a number (from 0)."""

GapPolicy = Literal["latest", "oldest"]
"""Where a reader goes on after it fell out of the ring: at the live edge, or as early as it can."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """A limit, in seconds, on each wait. None of them limits how long a segment lasts."""

    connect: float = 10.0
    """To reach the server: name lookup, TCP and TLS together."""
    write: float = 15.0
    """For a write that the server does not take (its window is full)."""
    answer: float = 15.0
    """For the answer to a small request, and for the answer to a segment that has ended."""
    silence: float = 20.0
    """After this long without news a reader asks again on a fresh connection. Go's does at 20 s."""
    outage: float = 15.0
    """How long a client goes on reconnecting before it raises. Any progress starts it afresh."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"Timeouts.{name} must be above 0 seconds, not {value!r}")


DEFAULT_TIMEOUTS: Final = Timeouts()


@dataclass(slots=True)
class PublisherStats:
    """Counters of one publisher, always current."""

    segments: int = 0
    """Segments that the server acknowledged."""
    bytes: int = 0
    """Body bytes handed to the connection."""
    uncertain: int = 0
    """Segments cut before they were acknowledged: they may have arrived, whole or short."""
    reconnects: int = 0
    """Requests that had to be opened again because the connection or the server failed."""
    resyncs: int = 0
    """Times the next number was taken from the server again."""
    latency: float = 0.0
    """Seconds from the end of the last acknowledged segment to its acknowledgement."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class SubscriberStats:
    """Counters of one subscriber, always current."""

    segments: int = 0
    """Segments handed out."""
    bytes: int = 0
    """Body bytes handed out."""
    gaps: int = 0
    """Segments that were never seen: the ring had overwritten them, or they were skipped."""
    empty: int = 0
    """Segments without a byte; they are passed over."""
    cut: int = 0
    """Segments whose end could not be read, even on another connection."""
    resyncs: int = 0
    """470 answers: the server told where it stands and the reader went there."""
    reconnects: int = 0
    """Requests that had to be asked again because the connection or the server failed."""
    behind: int = 0
    """How many segments newer than the last one handed out had been begun when it was asked for."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class RecordStats:
    """Counters of a channel of records, always current."""

    records: int = 0
    """Records taken from the caller, or handed to it."""
    bad: int = 0
    """Read: lines that were no JSON object."""
    keepalives: int = 0
    """Read: records that only keep the channel alive."""
    uncertain: int = 0
    """Written: records in segments that were cut before they were acknowledged."""
