"""A caller of the network, whoever brings it: found by the entry point `livepeer.callers`.

livepeer-client brings one. Neither package imports the other; what this one needs of it is written
here, and its errors are known by what they carry: `code`, `message`, and `fields` of an input.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from livepeer.runner.playground.caller import CallRefused, HttpAnswer, LiveCall

GROUP = "livepeer.callers"


class BroughtCaller(Protocol):
    """What the entry point `livepeer.callers` has to provide: calls of one capability, in plain
    types, so that it need not import this package."""

    document: dict[str, Any]
    price: str
    """What it costs, for people; empty where it is free."""

    def on_spent(self, listener: Callable[[float], None]) -> None:
        """Call it with the wei that have been spent by now, after each payment."""

    def call(
        self, body: bytes
    ) -> AbstractAsyncContextManager[tuple[int, str, AsyncIterator[bytes]]]: ...

    def live(
        self, params: dict[str, Any], *, sends: bool
    ) -> AbstractAsyncContextManager[LiveCall]: ...


class OpenCaller(Protocol):
    """The function that an entry point of `livepeer.callers` names."""

    def __call__(
        self,
        capability: str,
        settings: Mapping[str, Any],
        document: dict[str, Any] | None = None,
    ) -> AbstractAsyncContextManager[BroughtCaller]:
        """With a `document` the capability is not asked what it takes, so opening costs nothing."""


def find_caller() -> OpenCaller | None:
    """The first installed entry point of `livepeer.callers`; None if there is none."""
    for point in entry_points(group=GROUP):
        return cast(OpenCaller, point.load())
    return None


class AdaptedCaller:
    """A `PipelineCaller` over a `BroughtCaller`: its refusals become `CallRefused`."""

    def __init__(self, brought: BroughtCaller) -> None:
        self._brought = brought

    @asynccontextmanager
    async def call(self, body: bytes) -> AsyncIterator[HttpAnswer]:
        with _refusals():
            async with self._brought.call(body) as (status, content_type, chunks):
                yield HttpAnswer(status, content_type, chunks)

    @asynccontextmanager
    async def live(self, params: dict[str, Any], *, sends: bool) -> AsyncIterator[LiveCall]:
        with _refusals():
            async with self._brought.live(params, sends=sends) as stream:
                yield _NetworkStream(stream)


class _NetworkStream:
    """`LiveCall` over one that was brought."""

    def __init__(self, stream: LiveCall) -> None:
        self._stream = stream
        self.input_url = stream.input_url
        self.output_url = stream.output_url
        self.tls = stream.tls

    def events(self) -> AsyncIterator[dict[str, Any]]:
        return self._stream.events()

    def data(self) -> AsyncIterator[dict[str, Any]]:
        return self._stream.data()

    async def update(self, params: dict[str, Any]) -> dict[str, Any]:
        with _refusals():
            return await self._stream.update(params)

    async def control(self, message: dict[str, Any]) -> None:
        with _refusals():
            await self._stream.control(message)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except CallRefused:
        raise
    except Exception as error:
        code, message = getattr(error, "code", None), getattr(error, "message", None)
        if not isinstance(code, str) or not isinstance(message, str):
            raise
        fields = [
            {"name": each.field, "message": each.message} for each in getattr(error, "fields", ())
        ]
        status = getattr(error, "status", None)
        refused = status if isinstance(status, int) and status >= 400 else 502
        raise CallRefused(refused, {"type": code, "message": message, "fields": fields}) from error
