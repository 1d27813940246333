"""Who may come in: whoever has the address with its token, from a page that is ours.

Any page that a person has open may send requests to this machine, and a name of the attacker's may
lead to its loopback address. So the path has a secret in it, the `Host` has to be one of ours, and
whatever changes something has to come from a page of ours (`Origin`).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Collection
from urllib.parse import urlsplit


class Door:
    """The token of a playground, and the names by which it may be called.

    `host` is where it listens. On loopback only loopback's names are ours; elsewhere it is any
    address (nobody can make one lead elsewhere), this machine's name, and `host` itself.
    """

    def __init__(self, host: str, *, token: str | None = None) -> None:
        self.token = secrets.token_urlsafe(18) if token is None else token
        self.is_loopback = _is_loopback(host)
        self._names = {"localhost", host.lower()}
        if not self.is_loopback:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def is_ours(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if not name or "@" in host:
            return False
        if name in self._names or _is_loopback(name):
            return True
        return not self.is_loopback and _is_address(name)

    def is_from_us(self, origin: str | None, host: str) -> bool:
        """Whether a request comes from our own page: its `Origin` is what its `Host` names.

        https too: there may be a proxy that ends TLS in front.
        """
        return origin in _origins(host)


def _origins(host: str) -> Collection[str]:
    return (f"http://{host}", f"https://{host}")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
