"""HTTP as this package uses it: no redirects, no cookies, no compression, bounded bodies, and
aiohttp's exceptions translated once."""

from __future__ import annotations

import io
import os
import ssl
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from yarl import URL

from livepeer.client.exceptions import (
    CallTimeoutError,
    CertificateChangedError,
    CertificateError,
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.farewells import Farewells
from livepeer.client.http.in_flight import InFlight
from livepeer.client.http.tls import origin
from livepeer.client.untrusted import LARGE, shown_url
from livepeer.trickle.text import printable

CONNECT_LIMIT: Final = 10.0
KEEP_ALIVE: Final = 30.0
"""go-livepeer's server ends idle connections late; ours go first, so that none is used as it
dies."""
SMALL: Final = 1 << 20
HEADER_LIMIT: Final = 1 << 17

WEBSOCKET_PING: Final = 20.0
"""Seconds between two pings: whoever does not answer one in half of it is gone."""
WEBSOCKET_CLOSE: Final = 3.0
"""Seconds for the other side to say goodbye."""

Ssl = bool | ssl.SSLContext | aiohttp.Fingerprint
Body = bytes | aiohttp.FormData | AsyncIterable[bytes]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole, small answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """The connections of one event loop."""

    def __init__(self) -> None:
        self.farewells = Farewells()
        self.in_flight = InFlight()
        self._websockets: aiohttp.ClientSession | None = None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            # A kilobyte of gzip can hold a megabyte, and nobody here has a use for it.
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
        )

    async def open(
        self,
        method: str,
        url: str | URL,
        *,
        ssl: Ssl,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        job: bool = False,
        where: Mapping[str, Any] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the headers of its answer.

        `job` says that the request has effects, so that an error tells whether it may have run.
        """
        named, place = dict(where or {}), origin(str(url))
        connect = min(CONNECT_LIMIT, max(0.001, deadline.remaining() - 0.01))
        try:
            async with deadline.timeout():
                response = await self._session.request(
                    method,
                    url,
                    data=_payload(body),
                    headers=headers,
                    ssl=ssl,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
                )
        except aiohttp.ConnectionTimeoutError as error:
            if connect < CONNECT_LIMIT:
                raise CallTimeoutError(
                    f"no connection to {place} within the {deadline.seconds:g} s of the call",
                    phase="connect",
                    **named,
                ) from error
            raise ConnectionFailedError(
                f"no connection to {place} within {connect:g} s", **named
            ) from error
        except TimeoutError as error:
            raise CallTimeoutError(
                f"no answer from {place} within the {deadline.seconds:g} s of this call"
                " (give it more with timeout=)",
                phase="answer",
                may_have_run=job,
                **named,
            ) from error
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            # They quote the whole URL, and one of a session is a credential.
            raise translate(error, str(url), job=job, named=named) from None
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error, str(url), job=job, named=named) from error
        except (TypeError, ValueError) as error:  # a header of ours that cannot be one
            raise _unsendable(place, error, named) from None
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            response.close()
            raise ProtocolError(
                f"{place} answered in the coding {printable(coding, 40)!r}, which it was told"
                " not to use",
                may_have_run=job,
                **named,
            )
        return response

    async def websocket(
        self,
        url: str | URL,
        *,
        ssl: Ssl,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        limit: int,
        where: Mapping[str, Any] | None = None,
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket whose messages have `limit` bytes at most.

        Raises a `LivepeerError` with the status of an answer that refuses it.
        """
        named, place = dict(where or {}), origin(str(url))
        if self._websockets is None:
            self._websockets = aiohttp.ClientSession(
                connector=self._session.connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
                trace_configs=[_no_redirects()],
                max_line_size=HEADER_LIMIT,
                max_field_size=HEADER_LIMIT,
            )
        try:
            async with deadline.timeout():
                return await self._websockets.ws_connect(
                    url,
                    ssl=ssl,
                    headers=headers,
                    protocols=protocols,
                    max_msg_size=limit,
                    heartbeat=WEBSOCKET_PING,
                    timeout=aiohttp.ClientWSTimeout(ws_close=WEBSOCKET_CLOSE),
                )
        except aiohttp.WSServerHandshakeError as error:
            raise ProtocolError(
                f"{place} opened no WebSocket there: it answered {error.status}",
                status=error.status,
                **named,
            ) from None  # it quotes the whole URL, and one of a session is a credential
        except TimeoutError as error:
            raise CallTimeoutError(
                f"no WebSocket of {place} within {deadline.seconds:g} s",
                phase="connect",
                **named,
            ) from error
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            raise translate(error, str(url), job=False, named=named) from None
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error, str(url), job=False, named=named) from error
        except (TypeError, ValueError) as error:
            raise _unsendable(place, error, named) from None

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        ssl: Ssl,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int = SMALL,
    ) -> Fetched:
        """Send a request that has no effects and read its whole answer, of `limit` bytes."""
        response = await self.open(
            method, url, ssl=ssl, deadline=deadline, headers=headers, body=body, where=where
        )
        data = await read(response, deadline, limit=limit, where=where)
        return Fetched(response.status, response.headers, data)

    async def aclose(self) -> None:
        try:
            await self.farewells.aclose()
        finally:
            try:
                await self.in_flight.aclose()
            finally:
                if self._websockets is not None:
                    await self._websockets.close()
                await self._session.close()


def _payload(body: Body | None) -> Body | io.BytesIO | None:
    """A large body goes out piece by piece, or aiohttp would hold the loop up for all of it."""
    return io.BytesIO(body) if isinstance(body, bytes) and len(body) > LARGE else body


def _unsendable(place: str, error: Exception, named: dict[str, Any]) -> ConfigurationError:
    # Its text may quote all that was to be sent.
    told = printable(str(error), 200)
    return ConfigurationError(f"{place} cannot be asked: {told}", **named)


def _no_redirects() -> aiohttp.TraceConfig:
    """`ws_connect` follows redirects, and has no argument against it."""

    async def refuse(_: Any, __: Any, params: aiohttp.TraceRequestRedirectParams) -> None:
        status = params.response.status
        raise ProtocolError(
            f"a WebSocket was answered {status}: redirects are not followed", status=status
        )

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


async def read(
    response: aiohttp.ClientResponse,
    deadline: Deadline,
    *,
    limit: int,
    job: bool = False,
    where: Mapping[str, Any] | None = None,
) -> bytes:
    """The whole body; the connection is given back, or closed where that cannot be."""
    named = dict(where or {})
    chunks: list[bytes] = []
    size = 0
    whole = False
    try:
        if (response.content_length or 0) > limit:
            raise _too_long(response, limit, job, named)
        async with deadline.timeout():
            while chunk := await response.content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_long(response, limit, job, named)
                chunks.append(chunk)
        whole = True
    except TimeoutError as error:
        raise CallTimeoutError(
            f"the answer of {origin(str(response.url))} was not complete within the"
            f" {deadline.seconds:g} s of this call",
            phase="answer",
            may_have_run=job,
            **named,
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise translate(error, str(response.url), job=job, named=named, begun=True) from error
    finally:
        if whole:
            response.release()
        else:
            response.close()
    return b"".join(chunks)


def _too_long(
    response: aiohttp.ClientResponse, limit: int, job: bool, named: dict[str, Any]
) -> ProtocolError:
    place = origin(str(response.url))
    return ProtocolError(
        f"the answer of {place} is over {limit:,} bytes", may_have_run=job, **named
    )


def translate(
    error: Exception, url: str, *, job: bool, named: dict[str, Any], begun: bool = False
) -> LivepeerError:
    """Our error for one of aiohttp's; `begun`: an answer had already begun."""
    host = origin(url)
    match error:
        case aiohttp.ServerFingerprintMismatch() if not getattr(error, "changed", True):
            return CertificateError(f"{host} was asked nothing: {error}", **named)
        case aiohttp.ServerFingerprintMismatch():
            return CertificateChangedError(
                f"{error}. If you know that {host} was restarted (go-livepeer makes a new"
                f" certificate at each start), accept the new one with: livepeer trust {host}",
                **named,
            )
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            return CertificateError(
                f"the certificate of {host} could not be verified: {why}. Orchestrators sign their"
                " own: tls='pin' (--tls pin, LIVEPEER_TLS=pin) trusts the one shown first",
                **named,
            )
        case aiohttp.ClientConnectorSSLError():
            return CertificateError(
                f"no TLS with {host}: {error.os_error}. Does it serve plain http:// there?", **named
            )
        case aiohttp.ClientConnectorDNSError():
            return ConnectionFailedError(f"the host name of {host} does not resolve", **named)
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            why = os.strerror(number) if number else str(error.os_error)
            return ConnectionFailedError(
                f"no connection to {host}: {why}. Is it running, and is the address right?", **named
            )
        case aiohttp.InvalidURL():
            return ConfigurationError(
                f"{shown_url(url)!r} is not a URL that can be called", **named
            )
        case aiohttp.ClientPayloadError():
            return ConnectionFailedError(
                f"the answer of {host} broke off in the middle", may_have_run=job, **named
            )
        case aiohttp.ClientResponseError():
            return ProtocolError(
                f"{host} did not answer in HTTP: {printable(error.message, 200)}",
                may_have_run=job,
                **named,
            )
        case _:
            when = "in the middle of its answer" if begun else "before it answered"
            plain = url.startswith("http://") and not begun
            hint = ". If it speaks TLS, its address begins with https://" if plain else ""
            return ConnectionFailedError(
                f"{host} ended the connection {when}{hint}", may_have_run=job, **named
            )
