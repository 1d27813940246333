"""Guessing the URL by which an orchestrator can reach this service."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from livepeer.runner.exceptions import RegistrationError


async def guess_url(orchestrator_url: str, port: int, host: str = "0.0.0.0") -> str:
    """`http://` and the address that this machine uses towards the orchestrator.

    `host` is what the service listens on; one that is no wildcard is the answer itself. Right on
    one machine, in one container network, and in one local network. Raises `RegistrationError`
    where the orchestrator cannot come here that way, and `OSError` where its name cannot be
    resolved or no route leads to it (which may pass).
    """
    parts = urlsplit(orchestrator_url)
    target_port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(
        parts.hostname, target_port, type=socket.SOCK_DGRAM
    )
    family, _, _, _, target = found[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)  # a datagram socket sends nothing to connect; it picks the route
        ours = ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])
    theirs = ipaddress.ip_address(str(target[0]).partition("%")[0])
    if theirs.is_global and not ours.is_global:
        raise RegistrationError(
            f"this service is at {ours}, which {parts.hostname} cannot reach: "
            f"set LIVEPEER_CAPABILITY_URL to the URL that leads here from outside"
        )
    bound = _bound_to(host)
    if bound is not None and bound.is_loopback and not ours.is_loopback:
        raise RegistrationError(
            f"this service listens on {host} only, where {parts.hostname} cannot come: "
            f"set HOST=0.0.0.0, or LIVEPEER_CAPABILITY_URL to a URL that leads here"
        )
    address = bound or ours
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


def _bound_to(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The one address that is listened on; None for all of them, or for a name."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None
    return None if address.is_unspecified else address
