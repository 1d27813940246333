"""`AppSession` for code without a loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from livepeer.client.apps.request import Data, Params
from livepeer.client.apps.response import AppResponse, AppStream
from livepeer.client.apps.session import AppSession
from livepeer.client.apps.websocket import MESSAGE_LIMIT, AppWebSocket
from livepeer.client.portal import Portal
from livepeer.client.types import StreamEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from livepeer.client.protocol.discovery import Mode

T = TypeVar("T")


class SyncAppSession:
    """A session with an app, by `with gw.session("org/app") as session`: see `AppSession`.

    Channels are for async code alone.
    """

    def __init__(self, portal: Portal, session: AppSession) -> None:
        self._portal, self._session = portal, session

    def __repr__(self) -> str:
        return f"Sync{self._session!r}"

    @property
    def app(self) -> str:
        """The name that it was asked for by."""
        return self._session.app

    @property
    def orchestrator(self) -> str:
        """The URL of the orchestrator."""
        return self._session.orchestrator

    @property
    def mode(self) -> Mode:
        """`"persistent"`: in a session; `"single-shot"`: each request by itself."""
        return self._session.mode

    @property
    def ended(self) -> str | None:
        """Why it is over; None while it is not."""
        return self._session.ended

    @property
    def spent(self) -> Fraction:
        """Wei that it has cost so far, with all of its requests."""
        return self._session.spent

    def close(self) -> None:
        """Close what is open, and give the place back. Safe to repeat."""
        self._portal.call(self._session.aclose())

    @overload
    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: Data | None = None,
        files: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
        stream: Literal[False] = False,
        timeout: float | None = None,
    ) -> AppResponse: ...

    @overload
    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: Data | None = None,
        files: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
        stream: Literal[True],
        timeout: float | None = None,
    ) -> SyncAppStream: ...

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: Data | None = None,
        files: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
        stream: bool = False,
        timeout: float | None = None,
    ) -> AppResponse | SyncAppStream:
        """Send a request to the app; arguments as for `AppSession.request`."""
        options: dict[str, Any] = {
            "json": json,
            "data": data,
            "files": files,
            "headers": headers,
            "params": params,
            "timeout": timeout,
        }
        if stream:
            answer = self._session.request(method, path, stream=True, **options)
            return SyncAppStream(self._portal, self._portal.call(answer))
        whole: AppResponse = self._portal.call(self._session.request(method, path, **options))
        return whole

    def websocket(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        max_bytes: int = MESSAGE_LIMIT,
        timeout: float | None = None,
    ) -> SyncAppWebSocket:
        """Open a WebSocket to the app; arguments as for `AppSession.websocket`."""
        opening = self._session.websocket(
            path, headers=headers, protocols=protocols, max_bytes=max_bytes, timeout=timeout
        )
        return SyncAppWebSocket(self._portal, self._portal.call(opening))


class SyncAppStream:
    """An app's answer as it comes, for code without a loop: see `AppStream`."""

    def __init__(self, portal: Portal, stream: AppStream) -> None:
        self._portal, self._stream = portal, stream

    def __repr__(self) -> str:
        return f"Sync{self._stream!r}"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._stream.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names match in any case."""
        return self._stream.headers

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self._stream.ok

    @property
    def spent(self) -> Fraction:
        """Wei that it has cost so far; 0 in a session, which is paid as a whole."""
        return self._stream.spent

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave. Safe to repeat."""
        self._portal.call(self._stream.aclose())

    def receive(self) -> bytes:
        """The bytes that come next; empty at the end."""
        return self._portal.call(self._stream.receive())

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.receive, b"")

    def events(self) -> Iterator[StreamEvent]:
        """Its server-sent events, up to the end of the body or a `[DONE]`."""
        return _each(self._portal, self._stream.events())


class SyncAppWebSocket:
    """A WebSocket to an app, for code without a loop: see `AppWebSocket`."""

    def __init__(self, portal: Portal, ws: AppWebSocket) -> None:
        self._portal, self._ws = portal, ws

    def __repr__(self) -> str:
        return f"Sync{self._ws!r}"

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the app chose."""
        return self._ws.protocol

    @property
    def close_code(self) -> int | None:
        """The code of RFC 6455 it was closed with; None while it is open, 1006 if it broke."""
        return self._ws.close_code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait 3 s for the app to do so too. Safe to repeat."""
        self._portal.call(self._ws.aclose(code, reason))

    def send(self, message: str | bytes) -> None:
        """Send text or bytes. Raises `ConnectionFailedError` if it is closed."""
        self._portal.call(self._ws.send(message))

    def send_json(self, value: Any) -> None:
        """Send a value as JSON text."""
        self._portal.call(self._ws.send_json(value))

    def receive(self, *, timeout: float | None = None) -> str | bytes:
        """The next message: see `AppWebSocket.receive`."""
        return self._portal.call(self._ws.receive(timeout=timeout))

    def receive_json(self, *, timeout: float | None = None) -> Any:
        """`receive`, parsed as JSON. Raises `ProtocolError` if it is none."""
        return self._portal.call(self._ws.receive_json(timeout=timeout))

    def __iter__(self) -> Iterator[str | bytes]:
        return _each(self._portal, self._ws)


def _each(portal: Portal, items: AsyncIterator[T]) -> Iterator[T]:
    async def following() -> tuple[T] | None:
        try:
            return (await anext(items),)
        except StopAsyncIteration:
            return None

    while (found := portal.call(following())) is not None:
        yield found[0]
