"""A session that is to be begun: by `async with`, or by `with`."""

from __future__ import annotations

from types import TracebackType

from livepeer.client.apps.calls import AppCalls
from livepeer.client.apps.session import AppSession
from livepeer.client.apps.sync import SyncAppSession
from livepeer.client.http.deadline import Deadline
from livepeer.client.portal import Portal


class AppOpening:
    """What `Gateway.session` returns: nothing is sent before it is entered, which is done once.

    `async with` gives an `AppSession`, `with` a `SyncAppSession`.
    """

    def __init__(
        self, calls: AppCalls, app: str, timeout: float, hosts: frozenset[str], portal: Portal
    ) -> None:
        self._calls, self._app, self._timeout = calls, app, timeout
        self._hosts, self._portal = hosts, portal
        self._begun = False
        self._session: AppSession | None = None

    def __repr__(self) -> str:
        return f"AppOpening({self._app!r})"

    async def __aenter__(self) -> AppSession:
        if self._begun:
            raise RuntimeError("a session is entered once: call session() again")
        self._begun = True
        opened = await self._calls.open(self._app, Deadline(self._timeout))
        self._session = AppSession(self._calls, opened, self._timeout, self._hosts)
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()

    def __enter__(self) -> SyncAppSession:
        return SyncAppSession(self._portal, self._portal.call(self.__aenter__()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(self.__aexit__(kind, error, traceback))
