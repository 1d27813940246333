"""What a server is willing to hold, and the errors that say so."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from livepeer.trickle.exceptions import TrickleError


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds on memory and waits. Over one of them a client gets a precise status (4xx, 503,
    507); nothing grows past it."""

    segment_bytes: int = 64 * 1024 * 1024
    """Longest segment. Over it its POST is 413, and the segment ends short."""
    channel_bytes: int = 128 * 1024 * 1024
    """All that one channel holds, with what slow readers still read of overwritten segments.
    The oldest finished segments make room; where that is not enough, the POST is 413."""
    total_bytes: int = 512 * 1024 * 1024
    """All that the channels hold together. A channel makes room by giving up its own oldest
    finished segments, those that nobody reads; where that is not enough, its POST is 507, and the
    segment ends short."""
    connections: int = 5_000
    """Connections at one time, to a server that listens by itself. Over it one more is 503."""
    channels: int = 10_000
    """Channels at one time. Over it a creation is 429."""
    readers: int = 1_000
    """Requests that read one channel at one time. Over it a GET is 429."""
    writers: int = 100
    """Requests that write one channel at one time. Over it a POST is 429."""
    name_length: int = 1_024
    """Longest name of a channel, in letters. Over it a request is 414."""
    stall: float = 60.0
    """Seconds in which a reader has to take a piece (120 KiB at most); then it is
    cut, so that it can't hold memory for ever."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"ServerLimits.{name} must be above 0, not {value!r}")


class Stock:
    """What all channels of a server hold together, and may."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0


class LimitExceeded(TrickleError):
    """A limit of the server is reached; `status` is what an HTTP client is told."""

    code = "limit_exceeded"

    def __init__(self, message: str, *, status: int, seq: int | None = None) -> None:
        super().__init__(message, seq=seq)
        self.status = status


class SegmentTaken(TrickleError):
    """A later POST writes this segment now; what this one still sends is not taken."""

    code = "segment_taken"
