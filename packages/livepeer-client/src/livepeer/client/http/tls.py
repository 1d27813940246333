"""Whom to trust: certificates verified, pinned on first use, or, when told so, not looked at.

go-livepeer makes a new self-signed certificate at every start, without an IP address in it, so an
orchestrator can rarely be verified by name. `tls="pin"` remembers the fingerprint that a host
showed first, in a file that only this user can read, and refuses another before a header leaves.
"""

from __future__ import annotations

import functools
import logging
import ssl
from urllib.parse import urlsplit

from livepeer.client.exceptions import ConfigurationError
from livepeer.client.types import TlsMode
from livepeer.client.untrusted import shown_url
from livepeer.trickle.tls.pins import PinStore, PinTrust, pins_path
from livepeer.trickle.types import TLS

logger = logging.getLogger(__name__)


def address(url: str) -> tuple[str, int]:
    """Host and port of a URL, or of a bare `host[:port]` (443 where none is named)."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:  # it may quote a password
        raise ConfigurationError(f"{shown_url(url)!r} is no host:port") from None
    if not host:
        raise ConfigurationError(f"{shown_url(url)!r} names no host")
    return host, port or (80 if parts.scheme == "http" else 443)


def origin(url: str) -> str:
    """`host:port`, the name under which a certificate is pinned."""
    host, port = address(url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def forget(host: str) -> bool:
    """Forget the pinned certificate of `host:port`, so that the next one shown is accepted.

    False where none was pinned.
    """
    return PinStore(pins_path()).forget(*address(host))


@functools.cache
def _warn_once() -> None:
    logger.warning("tls='insecure': certificates are not checked, anybody may listen or answer")


class TlsPolicy:
    """A gateway's `tls` setting, as the transport takes it for a URL."""

    def __init__(self, mode: TlsMode | ssl.SSLContext) -> None:
        self.mode = mode
        self._pin = PinTrust(PinStore(pins_path())) if mode == "pin" else None
        if mode == "insecure":
            _warn_once()

    def for_peer(self) -> TLS:
        """For orchestrators and gateways."""
        return self._pin or self.for_service()

    def for_service(self) -> bool | ssl.SSLContext:
        """For signers and discovery, which get secrets in headers: pinning is not enough there."""
        if isinstance(self.mode, ssl.SSLContext):
            return self.mode
        return self.mode != "insecure"
