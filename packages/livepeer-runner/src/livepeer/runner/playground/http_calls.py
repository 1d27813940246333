"""Requests of the page's server to what it calls: bounded, and each failure one error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp

from livepeer.runner.playground.caller import (
    LARGEST_ERROR,
    CallRefused,
    HttpAnswer,
    failure,
    refusal,
)
from livepeer.trickle.exceptions import CertificateError
from livepeer.trickle.types import TLS

CALL_SECONDS = 600.0
"""What a request may take, its answer included."""
STREAM_SECONDS = 30.0
"""What a start, an update or a stop of a stream may take."""
STOP_SECONDS = 5.0
LARGEST_ANSWER = 512 * 1024 * 1024
"""Bytes of an answer that are passed on."""


class HttpCalls:
    """Requests to one base URL; an async context manager that owns their connections."""

    def __init__(self, url: str, *, tls: TLS = True) -> None:
        self.url = url.rstrip("/")
        self.tls = tls

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=64, ssl=self.tls),  # type: ignore[arg-type]
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0),
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    @asynccontextmanager
    async def opened(
        self, path: str, body: bytes, headers: Mapping[str, str] = {}
    ) -> AsyncIterator[HttpAnswer]:
        """A POST, its answer while it comes. Raises `CallRefused` where none begins."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=10.0)
        try:
            async with self._session.post(
                self.url + path,
                data=body,
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                kind = response.headers.get("Content-Type", "application/octet-stream")
                yield HttpAnswer(response.status, kind, _bounded(response))
        except (aiohttp.ClientError, CertificateError, TimeoutError, OSError) as error:
            raise CallRefused(502, failure(_told(error, self.url))) from error

    async def posted(
        self,
        path: str,
        content: object,
        headers: Mapping[str, str] = {},
        *,
        seconds: float = STREAM_SECONDS,
    ) -> tuple[Mapping[str, str], bytes]:
        """A POST of JSON; headers and body of its answer. Raises `CallRefused` but for a 200."""
        try:
            async with self._session.post(
                self.url + path,
                data=json.dumps(content).encode(),
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                body = await response.content.read(LARGEST_ERROR)
                if response.status != 200:
                    raise refusal(response.status, body)
                return response.headers, body
        except (aiohttp.ClientError, CertificateError, TimeoutError, OSError) as error:
            raise CallRefused(502, failure(_told(error, self.url))) from error


async def _bounded(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    left = LARGEST_ANSWER
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            return
        yield chunk


def _told(error: Exception, url: str) -> str:
    if isinstance(error, TimeoutError):
        return f"{url} did not answer in time"
    return f"{url} cannot be reached: {str(error) or type(error).__name__}"


def params_in(body: bytes) -> dict[str, Any]:
    """The parameters in a container's answer to an update; empty if it names none."""
    try:
        params = json.loads(body).get("params")
    except (ValueError, AttributeError):
        return {}
    return params if isinstance(params, dict) else {}
