"""WebSockets over the connections of one event loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
from yarl import URL

from livepeer.client.exceptions import CallTimeoutError, ProtocolError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.tls import Ssl, origin
from livepeer.client.http.translation import translate, unsendable

CONNECT_LIMIT: Final = 10.0
HEADER_LIMIT: Final = 1 << 17
WEBSOCKET_PING: Final = 20.0
"""Seconds between two pings: whoever does not answer one in half of it is gone."""
WEBSOCKET_CLOSE: Final = 3.0
"""Seconds for the other side to say goodbye."""


class WebSockets:
    """Opens them, in a session of their own: that for requests has other rules."""

    def __init__(self, connector: aiohttp.BaseConnector | None) -> None:
        self._connector = connector
        self._session: aiohttp.ClientSession | None = None

    async def open(
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
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
                trace_configs=[_no_redirects()],
                max_line_size=HEADER_LIMIT,
                max_field_size=HEADER_LIMIT,
            )
        try:
            async with deadline.timeout():
                return await self._session.ws_connect(
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
            raise unsendable(place, error, named) from None

    async def aclose(self) -> None:
        """Open no more; the connector is its owner's to close."""
        if self._session is not None:
            await self._session.close()


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
