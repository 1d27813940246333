"""GET as a stranger's errand: public addresses only, bounded, with nothing of ours in it.

The address is checked where the connection is made, on what the name resolved to for this very
connection, so a name cannot be rebound between check and use; each redirect is checked anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Self
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from livepeer.runner.exceptions import FileError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_CHUNK = 64 * 1024
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


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
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


class _RefusedAddress(OSError):
    """A name led to an address that is not public."""


class _PublicResolver(AbstractResolver):
    """Resolves names, and hands on none of their addresses that is not public."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise _RefusedAddress(f"{host} has no public address")
        return public

    async def close(self) -> None:
        await self._resolver.close()


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
        resolver = None if self._allow_private else _PublicResolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False),
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
                async with self._session.get(target, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS or "Location" not in response.headers:
                        return await self._read(response)
                    url = urljoin(url, response.headers["Location"])
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _RefusedAddress):
                raise FileError(str(error.os_error)) from error
            raise FileError(f"cannot connect: {error.os_error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, FileError):
                raise
            reason = str(error) or type(error).__name__
            raise FileError(f"cannot be fetched: {reason}") from error
        raise FileError(f"redirects more than {_MAX_REDIRECTS} times")

    def _checked(self, url: str) -> URL:
        """A numeric host never reaches the resolver, so it is judged here."""
        target = URL(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise FileError("leads to something that is not an http(s) URL")
        if target.user is not None or target.password is not None:
            raise FileError("has a user name or password in it")
        if not self._allow_private and _is_ip(target.host) and not is_public(target.host):
            raise FileError(f"{target.host} is not a public address")
        return target

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


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
