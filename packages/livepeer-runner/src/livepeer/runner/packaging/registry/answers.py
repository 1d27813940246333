"""What a registry answers: errors in its own words, bodies of a bounded size."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from livepeer.runner.logs import shown


class RegistryError(Exception):
    """A registry did not do what was asked; the message says what, why, and what to do."""

    code = "registry"


class ImageNotFound(RegistryError):
    """The registry has no such image, or does not show it to this user."""

    code = "image_not_found"


class NotAllowed(RegistryError):
    """The registry wants another login."""

    code = "registry_denied"


class RegistryUnreachable(RegistryError):
    """No answer: a wrong host, a network that is down, or a registry that is."""

    code = "registry_unreachable"


class DigestMismatch(RegistryError):
    """What came is not what its digest says: it was changed on the way, or is damaged."""

    code = "digest_mismatch"


async def read(
    answer: aiohttp.ClientResponse, limit: int, what: str, *, cut: bool = False
) -> bytes:
    """The body; `cut`: only its beginning where it is too long, else `RegistryError`."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > limit:
            if cut:
                break
            raise RegistryError(f"{what} is larger than {limit} bytes")
    return bytes(body)


def json_object(body: bytes, what: str, source: str) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise RegistryError(f"{what} that {shown(source)} sent is no JSON object")
    return content


def said(body: bytes) -> str:
    """The first of a registry's own errors, for the end of a sentence."""
    try:
        first = json.loads(body)["errors"][0]
        text = first.get("message") or first.get("code")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return f" ({shown(text)})" if isinstance(text, str) and text else ""


def check_address(url: str, registry: str, *, plain_http: bool) -> None:
    """No login and no blob over plain HTTP, except where the registry itself speaks it. Raises
    `RegistryError`."""
    parts = urlsplit(url)
    allowed = ("https", "http") if plain_http else ("https",)
    if not parts.hostname or parts.scheme not in allowed:
        raise RegistryError(f"{registry} leads to {shown(url)}, which is not https")
