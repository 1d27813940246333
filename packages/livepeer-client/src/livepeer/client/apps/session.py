"""`AppSession`: requests, WebSockets and channels of one app, whoever made it."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
import weakref
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from livepeer.client.apps.calls import AppCalls, named
from livepeer.client.apps.channel import AppChannel
from livepeer.client.apps.parts import Parts
from livepeer.client.apps.request import AppRequest, Data, Params
from livepeer.client.apps.response import AppResponse, AppStream
from livepeer.client.apps.websocket import MESSAGE_LIMIT, AppWebSocket
from livepeer.client.exceptions import (
    ConfigurationError,
    LivepeerError,
    SessionEndedError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import read
from livepeer.client.live.stream import channel_problem
from livepeer.client.network.jobs import ANSWER_LIMIT

if TYPE_CHECKING:
    from livepeer.client.protocol.discovery import Mode, OpenApp


class AppSession:
    """A session with an app of live runners; made by `Gateway.session`.

        async with gw.session("org/app") as session:
            answer = await session.request("POST", "/detect", files={"image": Path("cat.png")})
            print(answer.status, answer.json())

    `with` in place of `async with` gives a `SyncAppSession`, the same without a loop.

    Entering reserves a place at a runner, which is this caller's until the block is left: all
    requests go there. An app of single requests (`mode` is `"single-shot"`) has no such places:
    each request takes one for itself, at whichever runner is free, and `NoCapacityError` says that
    none was.

    Leaving closes what is still open and gives the place back; so does the end of the event loop,
    or of the gateway, and dropping the session (with a `ResourceWarning`). The addresses of a
    session are credentials, and stay inside.

    Entering raises what `run` raises. A session that is over raises `SessionEndedError`.
    """

    def __init__(
        self,
        calls: AppCalls,
        opened: OpenApp,
        timeout: float,
        hosts: frozenset[str],
    ) -> None:
        """On the loop that it is used on."""
        self._calls, self._timeout, self._hosts = calls, timeout, hosts
        self._opened = opened
        self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        self._parts = Parts()
        self._ended: str | None = None
        self._unpaid: LivepeerError | None = None
        if (bill := calls.paid_by(opened)) is not None:
            # Only its user keeps it: what pays goes on until it is dropped.
            end = weakref.WeakMethod(self._end_unpaid)
            bill.listen(lambda problem: found(problem) if (found := end()) is not None else None)

    def __repr__(self) -> str:
        return f"AppSession({self.app!r}, {self._ended or 'open'})"

    @property
    def app(self) -> str:
        """The name that it was asked for by."""
        return self._opened.app

    @property
    def orchestrator(self) -> str:
        """The URL of the orchestrator."""
        return self._opened.place

    @property
    def mode(self) -> Mode:
        """`"persistent"`: in a session; `"single-shot"`: each request by itself."""
        return self._opened.mode

    @property
    def ended(self) -> str | None:
        """Why it is over; None while it is not."""
        return self._ended

    @property
    def spent(self) -> Fraction:
        """Wei that it has cost so far, with all of its requests."""
        return self._calls.budget.spent

    # -- its life ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close what is open, and give the place back. Safe to repeat."""
        self._ended = self._ended or "ended by this side"
        self._loop = None
        try:
            await self._parts.aclose()
        finally:
            await self._calls.release(self._opened)

    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is None:
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        with contextlib.suppress(RuntimeError):  # a loop that has ended released it with it
            loop.call_soon_threadsafe(self._calls.let_go, self._opened, self._parts.aclose)

    # -- requests ---------------------------------------------------------------------------------

    @overload
    async def request(
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
    async def request(
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
    ) -> AppStream: ...

    async def request(
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
    ) -> AppResponse | AppStream:
        """Send a request to the app, and return its answer, whatever its status.

        - `path`: at the app, with a query or without. What is escaped in it stays as it is.
        - `json`: a value to send as JSON.
        - `data`: bytes, text, an asynchronous iterable of bytes, or a dict, the fields of a form.
        - `files`: by their names in a form: bytes, paths, open files, pictures; or tuples of a file
          name, one of these, and (optionally) a media type. All in memory; `data` adds fields.
        - `params`: more of the query, a dict or a list of pairs.
        - `stream`: return an `AppStream` as soon as the headers are there.
        - `timeout`: seconds for the whole answer; with `stream` for its headers, and between two
          pieces. The gateway's by default.

        Nothing is sent twice, and no redirect is followed. Raises a `LivepeerError` if there is no
        answer, whose `may_have_run` tells whether the app may have seen the request.
        """
        limit = self._timeout if timeout is None else timeout
        deadline = Deadline(limit)
        self._parts.check()
        request = await AppRequest.make(
            method, path, json=json, data=data, files=files, headers=headers, params=params
        )
        opened = await self._target(deadline)
        bill = await self._calls.bill(opened)
        kept = False
        try:
            response, body = await self._calls.send(opened, request, deadline, bill)
            where = named(opened)
            if stream:
                kept = True
                session_bill = self._calls.paid_by(opened)
                return self._parts.keep(
                    AppStream(response, where, limit, self._parts.drop, body, bill, session_bill)
                )
            if body is None:
                body = await read(response, deadline, limit=ANSWER_LIMIT, job=True, where=where)
        except LivepeerError as error:
            if isinstance(error, SessionEndedError):
                self._ended = self._ended or error.message
            if bill is None:
                raise
            raise bill.failed(error) from error.__cause__
        finally:
            if bill is not None and not kept:
                await bill.end()
        spent = bill.spent if bill is not None else Fraction(0)
        return AppResponse(response.status, response.headers, body, where, spent)

    async def websocket(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        max_bytes: int = MESSAGE_LIMIT,
        timeout: float | None = None,
    ) -> AppWebSocket:
        """Open a WebSocket to the app.

        `protocols`: subprotocols to choose from. `max_bytes`: of one message (4 MiB). `timeout`:
        seconds for it to be open; the gateway's by default. Raises a `LivepeerError` with the
        `status` that the app answered where it opens none.
        """
        if max_bytes <= 0:
            raise ConfigurationError(f"max_bytes has to be a number above 0, not {max_bytes!r}")
        deadline = Deadline(self._timeout if timeout is None else timeout)
        self._parts.check()
        opened = await self._target(deadline)
        bill = await self._calls.bill(opened)

        parts = self._parts  # whatever pays keeps these, and not the session

        def closed(part: AppWebSocket) -> None:
            parts.drop(part)
            if bill is not None:
                bill.stop()

        try:
            ws = await self._calls.websocket(
                opened,
                path,
                deadline,
                headers=headers,
                protocols=protocols,
                limit=max_bytes,
                bill=bill,
            )
        except BaseException as error:
            if bill is not None:
                bill.stop()
                if isinstance(error, LivepeerError):
                    raise bill.failed(error) from error.__cause__
            raise
        paid_by = bill or self._calls.paid_by(opened)
        return parts.keep(
            AppWebSocket(ws, named(opened), max_bytes, closed, paid_by, self._calls.say)
        )

    def channel(self, url: str, *, mime_type: str = "application/octet-stream") -> AppChannel:
        """A trickle channel that the app opened, by the URL in one of its answers.

        Only an app can open channels: the orchestrator gives it the token for that. Raises
        `ConfigurationError` for a URL at another host than the orchestrator's (`trickle_hosts`
        allows others).
        """
        opened = self._running()
        if (problem := channel_problem(url, opened.place, self._hosts)) is not None:
            raise ConfigurationError(f"the channel {problem}", **named(opened))

        delete = partial(self._calls.delete, opened, url)
        return AppChannel(url, mime_type, self._calls.tls, self._parts, delete)

    # -- inside -----------------------------------------------------------------------------------

    def _end_unpaid(self, problem: LivepeerError) -> None:
        if self._ended is None:
            self._ended, self._unpaid = f"it cannot be paid for: {problem}", problem

    def _running(self) -> OpenApp:
        if self._ended is not None:
            told = f"the session is over: {self._ended}"
            raise SessionEndedError(told, **named(self._opened)) from self._unpaid
        return self._opened

    async def _target(self, deadline: Deadline) -> OpenApp:
        """Where the next request goes."""
        opened = self._running()
        if opened.reserved is None:
            self._opened = opened = await self._calls.open(self.app, deadline)
        return opened
