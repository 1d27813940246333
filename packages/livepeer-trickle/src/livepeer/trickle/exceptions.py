"""What can go wrong with a channel, as one small tree.

::

    TrickleError
    ├── ChannelNotFound          404: nobody made the channel, or it was swept
    ├── ChannelClosed            the channel was deleted, or this client is closed
    ├── ChannelRefused           401, 403, and creation refused
    ├── SegmentFailed            one segment is damaged; the client goes on with the next
    ├── ProtocolError            the server answered something trickle has no meaning for
    ├── RecordTooLarge           a JSON record over 64 KiB; nothing was sent
    ├── PictureTooLarge          the pictures of a stream have more pixels than its reader takes
    └── TrickleConnectionError   no connection, or it broke, longer than the client retries
        ├── TrickleTimeout       one of the limits of `Timeouts` passed
        └── CertificateError     the server's certificate is not the one that was expected

Every error tells the `url` (without credentials), and where they mean something the `seq` of the
segment and the `attempt` (1 for the first try) at which the client gave up. Its `code` never
changes; `livepeer explain CODE` says more.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

__all__ = [
    "CertificateError",
    "ChannelClosed",
    "ChannelNotFound",
    "ChannelRefused",
    "PictureTooLarge",
    "ProtocolError",
    "RecordTooLarge",
    "SegmentFailed",
    "TrickleConnectionError",
    "TrickleError",
    "TrickleTimeout",
    "public_url",
]

_USERINFO: Final = re.compile(r"//[^/?#]*@")
_CREDENTIAL: Final = re.compile(r"(?<=session_)[A-Za-z0-9]+|(?<=-)[A-Za-z0-9]{16}(?=-o2r)")
"""In the names of channels (go-livepeer: live runners): whoever knows a session's id speaks for it,
and the key of the channel to a runner is all that its reader needs."""


def public_url(url: str) -> str:
    """`url` as it may be shown: without a name, a password or a credential that it may carry."""
    return _CREDENTIAL.sub("***", _USERINFO.sub("//***@", url, count=1))


class TrickleError(Exception):
    """Root of every error that `livepeer.trickle` raises on purpose."""

    code: ClassVar[str] = "trickle_error"

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        seq: int | None = None,
        attempt: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.url = None if url is None else public_url(url)
        self.seq = seq
        self.attempt = attempt

    def __str__(self) -> str:
        where = [
            f"{name} {value}"
            for name, value in (("url", self.url), ("seq", self.seq), ("attempt", self.attempt))
            if value is not None
        ]
        return f"{self.message} ({', '.join(where)})" if where else self.message


class ChannelNotFound(TrickleError):
    """The server has no such channel (404)."""

    code = "channel_not_found"


class ChannelClosed(TrickleError):
    """The channel has ended, or the client was closed."""

    code = "channel_closed"


class ChannelRefused(TrickleError):
    """The server does not allow this (401, 403, or a creation it does not take)."""

    code = "channel_refused"


class SegmentFailed(TrickleError):
    """One segment did not arrive whole. The client stays usable and goes on with the next one."""

    code = "segment_failed"


class ProtocolError(TrickleError):
    """The server's answer has no meaning in trickle: is this a trickle URL?"""

    code = "trickle_protocol"


class RecordTooLarge(TrickleError, ValueError):
    """A record is longer than what readers of a line-based channel take (64 KiB)."""

    code = "record_too_large"


class PictureTooLarge(TrickleError, ValueError):
    """The pictures of a stream have more pixels than its reader takes; two keyframes said so."""

    code = "picture_too_large"


class TrickleConnectionError(TrickleError, ConnectionError):
    """No connection could be made, or it broke, for longer than the client tries again."""

    code = "trickle_connection"


class TrickleTimeout(TrickleConnectionError, TimeoutError):
    """A limit of `Timeouts` passed."""

    code = "trickle_timeout"


class CertificateError(TrickleConnectionError):
    """The server's certificate is not trusted; no header and no byte was sent."""

    code = "trickle_certificate"
