"""GET as a stranger's errand: public addresses only, bounded, with nothing of ours in it.

A host is made into addresses here, whatever its spelling (`127.1`, `2130706433` and `0` are this
machine to a resolver), and it is these addresses that are judged and connected to: nothing below
looks a name up again, so it cannot be rebound between check and use. Each redirect is checked anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Self
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from livepeer.runner.exceptions import FileError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_CHUNK = 64 * 1024
_MOST_ADDRESSES = 4
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Python calls some of these global, depending on its version: translation within a site (RFC 8215),
# segment routing (RFC 9602), documentation (RFC 9637), and relays of 6to4 (RFC 7526).
_NOT_PUBLIC = tuple(
    map(ipaddress.ip_network, ("64:ff9b:1::/48", "5f00::/16", "3fff::/20", "192.88.99.0/24"))
)


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody may ask us to connect to.

    IPv6 forms that carry an IPv4 address (mapped, 6to4, Teredo, NAT64) are judged by it.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        tunnelled = (ip.sixtofour, *(ip.teredo or ()))
        if ip.is_site_local or any(v4 and not is_public(str(v4)) for v4 in tunnelled):
            return False
    if any(ip.version == network.version and ip in network for network in _NOT_PUBLIC):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


class PublicClient:
    """Fetches URLs whose addresses are public, up to `max_bytes` for all of them together.

    `allow_private` turns the check of addresses off. Use as an async context manager; a limit of
    time is the caller's to set.
    """

    def __init__(self, *, max_bytes: int, allow_private: bool = False) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._allow_private = allow_private

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Kept connections are found by their address, and one address serves many names.
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "livepeer-runner", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    async def get(self, url: str) -> tuple[bytes, str | None]:
        """The body and its media type. Raises `FileError` with the reason it cannot be had."""
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                target = self._checked(url)
                async with await self._answer(target) as response:
                    if response.status not in _REDIRECTS or "Location" not in response.headers:
                        return await self._read(response)
                    url = urljoin(url, response.headers["Location"])
        except aiohttp.ClientConnectorError as error:
            raise FileError(f"cannot connect: {error.os_error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, FileError):
                raise
            reason = str(error) or type(error).__name__
            raise FileError(f"cannot be fetched: {reason}") from error
        raise FileError(f"redirects more than {_MAX_REDIRECTS} times")

    def _checked(self, url: str) -> URL:
        target = URL(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise FileError("leads to something that is not an http(s) URL")
        if target.user is not None or target.password is not None:
            raise FileError("has a user name or password in it")
        return target

    async def _answer(self, target: URL) -> aiohttp.ClientResponse:
        """From the first of the host's addresses that takes the connection."""
        host, port = target.raw_host or "", target.port or 0
        addresses = await self._addresses(host, port)
        for address in addresses:
            try:
                return await self._session.get(
                    target.with_host(address),
                    headers={"Host": _authority(target)},
                    server_hostname=host.rstrip(".") if target.scheme == "https" else None,
                    allow_redirects=False,
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                if address == addresses[-1]:
                    raise
        raise AssertionError("a host has one address at least")

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses that may be connected to. Raises `FileError` if none may."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise FileError(f"cannot connect: {host} cannot be resolved ({error})") from error
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        allowed = [one for one in addresses if self._allow_private or is_public(one)]
        if not allowed:
            what = "is not a public address" if _is_ip(host) else "has no public address"
            raise FileError(f"{host} {what}")
        return allowed[:_MOST_ADDRESSES]

    async def _read(self, response: aiohttp.ClientResponse) -> tuple[bytes, str | None]:
        if response.status != 200:
            raise FileError(f"the server answered {response.status}")
        if (response.content_length or 0) > self._left:
            raise self._too_large()
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            self._left -= len(chunk)
            if self._left < 0:
                raise self._too_large()
            body += chunk
            # A server that is faster than we are must not keep the loop from everything else.
            await asyncio.sleep(0)
        return bytes(body), response.headers.get("Content-Type")

    def _too_large(self) -> FileError:
        return FileError(f"is over the limit of {self._max_bytes} bytes for the files of a request")


def _authority(target: URL) -> str:
    """Host and port as they go into the request: the name, whatever is connected to."""
    host = target.raw_host or ""
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"
    return host if target.is_default_port() else f"{host}:{target.port}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
