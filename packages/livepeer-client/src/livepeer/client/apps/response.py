"""An app's answer: whole (`AppResponse`), or as it comes (`AppStream`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

from livepeer.client.exceptions import (
    CallTimeoutError,
    LivepeerError,
    ProtocolError,
    StreamInterruptedError,
)
from livepeer.client.http.translation import translate
from livepeer.client.payments.bill import Bill, unpaid
from livepeer.client.protocol.results import error_of, media_type
from livepeer.client.protocol.sse import EventParser
from livepeer.client.types import StreamEvent
from livepeer.client.untrusted import loads
from livepeer.trickle.exceptions import TrickleError, TrickleTimeout
from livepeer.trickle.http.call import HTTPCall
from livepeer.trickle.text import printable


@dataclass(frozen=True, slots=True)
class AppResponse:
    """An app's whole answer, whatever its `status`. Names in `headers` match in any case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    where: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Named in errors: the app and the orchestrator."""
    spent: Fraction = Fraction(0)
    """Wei that this answer cost; 0 in a session, which is paid as a whole."""

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    def bytes(self) -> bytes:
        """The body as it came."""
        return self.content

    def text(self) -> str:
        """The body as UTF-8; what is none is replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body parsed as JSON. Raises `ProtocolError` if it is none."""
        try:
            return loads(self.content)
        except ValueError:
            told = f"the app answered {self.status} with {media_type(self.headers) or 'no type'},"
            begin = printable(self.text()[:60], 60)
            raise ProtocolError(
                f"{told} which is no JSON: {begin!r}", status=self.status, **self.where
            ) from None

    def raise_for_status(self) -> Self:
        """This answer; raises what `run` would for its status if that is 400 or above."""
        if self.ok:
            return self
        raise error_of(self.status, self.headers, self.content, gateway=False, where=self.where)


class AppStream:
    """An app's answer as it comes: iterate it for bytes, or `events()` for server-sent events.

        async with await session.request("GET", "/events", stream=True) as answer:
            async for event in answer.events():
                print(event.json())

    Leaving the block, or `aclose`, closes the connection, which tells the app. The iterators end
    with the body; they raise `StreamInterruptedError` if it breaks off, and `CallTimeoutError` if
    nothing comes for the request's `timeout`.
    """

    def __init__(
        self,
        response: HTTPCall,
        where: Mapping[str, Any],
        silence: float,
        closed: Callable[[AppStream], None],
        begin: bytes | None = None,
        bill: Bill | None = None,
        session_bill: Bill | None = None,
    ) -> None:
        self._response, self._where, self._silence = response, where, silence
        self._closed = closed
        self._begin = begin
        """A body that has been read already, all of it."""
        self._over = False
        self._bill = bill
        """What this answer is paid by, until it is closed."""
        self._session_bill = session_bill
        """What the session is paid by that it is an answer in: it ends with it."""
        self._problem: LivepeerError | None = None
        if session_bill is not None:
            session_bill.listen(self._end_unpaid)

    def __repr__(self) -> str:
        return f"AppStream({self.status}, {media_type(self.headers)!r})"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names match in any case."""
        return self._response.headers

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def spent(self) -> Fraction:
        """Wei that it has cost so far; 0 in a session, which is paid as a whole."""
        return self._bill.spent if self._bill is not None else Fraction(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave. Safe to repeat."""
        self._over = True
        self._response.abort()
        self._closed(self)
        if self._session_bill is not None:
            self._session_bill.forget(self._end_unpaid)
        if self._bill is not None:
            self._bill.stop()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def _chunks(self) -> AsyncGenerator[bytes]:
        while chunk := await self.receive():
            yield chunk

    async def receive(self) -> bytes:
        """The bytes that come next; empty at the end."""
        if self._begin is not None:
            begin, self._begin, self._over = self._begin, None, True
            return begin
        if self._problem is not None:
            raise self._failed(StreamInterruptedError("the app's answer was left"))
        if self._over:
            return b""
        try:
            chunk = await self._response.read(self._silence)
        except TrickleTimeout as error:
            await self.aclose()
            told = f"nothing came of the app's answer for {self._silence:g} s"
            raise self._failed(CallTimeoutError(told, phase="stream")) from error
        except TrickleError as error:
            await self.aclose()
            why = translate(error, self._response, job=True, named={}).message
            raise self._failed(StreamInterruptedError(why)) from error
        if not chunk:
            await self.aclose()
        return chunk

    async def events(self) -> AsyncGenerator[StreamEvent]:
        """Its server-sent events, up to the end of the body or a `[DONE]`.

        Raises `ProtocolError` if the answer is another one, or an event over 64 MiB.
        """
        if media_type(self.headers) != "text/event-stream":
            told = f"answered {self.status} with {media_type(self.headers) or 'no type'}: no events"
            raise self._failed(ProtocolError(f"the app {told}", status=self.status))
        parser = EventParser()
        while not parser.done and (chunk := await self.receive()):
            try:
                found = parser.feed(chunk)
            except ProtocolError as error:
                await self.aclose()
                raise self._failed(error) from None
            for event in found:
                yield event
        await self.aclose()

    def _end_unpaid(self, problem: LivepeerError) -> None:
        self._problem, self._over = problem, True
        self._response.abort()  # which wakes whoever reads
        self._closed(self)

    def _failed(self, error: LivepeerError) -> LivepeerError:
        error.capability = self._where.get("capability")
        error.orchestrator = self._where.get("orchestrator")
        error.may_have_run = True
        if self._problem is not None:
            return unpaid(error, self._problem)
        return error if self._bill is None else self._bill.failed(error)
