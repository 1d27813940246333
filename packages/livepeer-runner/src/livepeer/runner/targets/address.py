"""Where a target is, as seen from this machine."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urlsplit


def is_on_loopback(url: str) -> bool:
    """Whether the host of this URL is on loopback."""
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def address_towards(url: str) -> str:
    """The address that this machine uses towards it: where it finds channels of ours."""
    if is_on_loopback(url):
        return "127.0.0.1"
    parts = urlsplit(url)
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname, parts.port or 80))
        return str(probe.getsockname()[0])
    return "127.0.0.1"
