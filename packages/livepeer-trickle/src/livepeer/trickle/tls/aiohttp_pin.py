"""`Pin`: trust in a certificate met before, also for those who ask by aiohttp."""

from __future__ import annotations

import asyncio

from aiohttp import Fingerprint, ServerFingerprintMismatch

from livepeer.trickle.exceptions import CertificateError
from livepeer.trickle.tls.pins import PinStore, PinTrust


class _Changed(ServerFingerprintMismatch):
    """Carries our own error through aiohttp, which closes the connection on its base class."""

    def __init__(
        self, error: CertificateError, host: str, port: int, *, changed: bool = True
    ) -> None:
        super().__init__(b"", b"", host, port)
        self.error = error
        self.changed = changed

    def __str__(self) -> str:
        return str(self.error)


class Pin(Fingerprint):
    """Trust the certificate met first, and no other afterwards. Pass it as `tls=`.

    - `store`: where the pins are kept; by default a store in memory.
    - `renew`: accept a changed certificate of a loopback or private address, with a warning, if the
      last connection to it was lost before (`lost()`): go-livepeer makes a new one at each start.
      Elsewhere a change is refused, also if the first certificate was met at a public address and
      the name leads to a private one since.

    aiohttp calls `check` between the TLS handshake and the first header, so nothing is told to a
    server whose certificate is refused.
    """

    def __init__(self, store: PinStore | None = None, *, renew: bool = False) -> None:
        # The base class wants a digest; `check`, its only reader, is ours.
        super().__init__(bytes(32))
        self._trust = PinTrust(store, renew=renew)
        self.store, self.renew = self._trust.store, renew

    def __repr__(self) -> str:
        return f"Pin({self.store!r}, renew={self.renew})"

    def lost(self, host: str, port: int) -> None:
        """The server was away: with `renew`, one new certificate of a private address is taken."""
        self._trust.lost(host, port)

    def check(self, transport: asyncio.Transport) -> None:
        """Raise if the peer of `transport` is not the one that is known; remember a new one."""
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is None:
            return
        address, port = transport.get_extra_info("peername")[:2]
        host = ssl_object.server_hostname or address
        try:
            certificate = ssl_object.getpeercert(binary_form=True) or b""
            self.trust(host, port, certificate, address=address)
        except CertificateError as error:
            unkept = isinstance(error.__cause__, OSError)
            raise _Changed(error, host, port, changed=not unkept) from error

    def trust(
        self, host: str, port: int, certificate: bytes, *, address: str | None = None
    ) -> None:
        """Check `certificate` (DER) of `host:port`.

        `address`: what the connection went to. A name (of a container, say) is private if it is.

        Raises `CertificateError` on a change, and if the store fails.
        """
        self._trust.trust(host, port, certificate, address=address)
