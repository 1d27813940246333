"""WebSockets, by aiohttp, which is imported when the first is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final

from livepeer.client.exceptions import CallTimeoutError, LivepeerError, ProtocolError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.tls import origin
from livepeer.client.http.translation import ended, uncallable, unreached, unsendable
from livepeer.trickle.text import printable
from livepeer.trickle.tls.pins import PinTrust
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    import aiohttp

CONNECT_LIMIT: Final = 10.0
_HEADER_LIMIT: Final = 1 << 16
WEBSOCKET_PING: Final = 20.0
"""Seconds between two pings: whoever does not answer one in half of it is gone."""
WEBSOCKET_CLOSE: Final = 3.0
"""Seconds for the other side to say goodbye."""


class WebSockets:
    """Opens them, over connections of their own."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def open(
        self,
        url: str,
        *,
        ssl: TLS,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        limit: int,
        where: Mapping[str, Any] | None = None,
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket whose messages have `limit` bytes at most.

        Raises a `LivepeerError` with the status of an answer that refuses it.
        """
        import aiohttp  # late: its import takes longer than that of all this package
        from yarl import URL

        named, place = dict(where or {}), origin(url)
        try:
            async with deadline.timeout():
                return await self._opened().ws_connect(
                    URL(url, encoded=True),  # whose escapes stay as its caller wrote them
                    ssl=_for_aiohttp(ssl),
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
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise uncallable(url, named) from None
        except aiohttp.ClientResponseError as error:
            told = printable(error.message, 200)
            raise ProtocolError(f"{place} did not answer in HTTP: {told}", **named) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, url, named) from error
        except (TypeError, ValueError) as error:
            raise unsendable(place, error, named) from None

    def _opened(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
                trace_configs=[_no_redirects()],
                max_line_size=_HEADER_LIMIT,
                max_field_size=_HEADER_LIMIT,
            )
        return self._session

    async def aclose(self) -> None:
        """Close what is open, and open no more."""
        if self._session is not None:
            await self._session.close()


def _for_aiohttp(trust: TLS) -> bool | SSLContext | aiohttp.Fingerprint:
    if isinstance(trust, bool | SSLContext):
        return trust
    from livepeer.trickle.tls.aiohttp_pin import Pin

    assert isinstance(trust, PinTrust)
    return Pin(trust.store, renew=trust.renew)


def _translated(error: Exception, url: str, named: dict[str, Any]) -> LivepeerError:
    """Our error for one of aiohttp's, by what it carries."""
    import aiohttp

    match error:
        case aiohttp.ServerFingerprintMismatch():
            return unreached(error.__cause__ or error, url, named)
        case aiohttp.ClientConnectorCertificateError():
            return unreached(error.certificate_error, url, named)
        case aiohttp.ClientConnectorError():
            return unreached(error.os_error, url, named)
    return ended(url, job=False, named=named)


def _no_redirects() -> aiohttp.TraceConfig:
    """`ws_connect` follows redirects, and has no argument against it."""
    import aiohttp

    async def refuse(_: Any, __: Any, params: aiohttp.TraceRequestRedirectParams) -> None:
        status = params.response.status
        raise ProtocolError(
            f"a WebSocket was answered {status}: redirects are not followed", status=status
        )

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config
