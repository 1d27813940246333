"""What a caller says to a stream, and whether it is still there."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from livepeer.runner.author.live_pipeline import LivePipeline
from livepeer.runner.errors import InvalidInput, JobError
from livepeer.runner.live.failures import Refusals
from livepeer.runner.live.params import ParamsType, ParamValues
from livepeer.runner.live.status import StreamStatus
from livepeer.trickle import ChannelNotFound, JSONLSubscriber, TrickleError

WAITING = 64
"""Messages that wait for their turn between the frames; the oldest gives way."""
FIRST_SIGN_SECONDS = 20.0
"""What a caller gets for its first word or input: a start that was given up on, such as by a time
limit, is told to nobody. A gateway's first keepalive comes after 10 s, ours at once."""


class CallerWatch:
    """Ends a stream whose caller has gone: without a sign of life for `limit` seconds.

    A direct caller that disappears tells nobody, so no input and no word is all there is to go by
    (go-livepeer: BYOC control channel). `heard` is the one way in for any other sign.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._heard = time.monotonic()
        self.came = False
        """Whether there has been a sign of life."""

    def heard(self) -> None:
        """The caller is there."""
        self._heard = time.monotonic()
        self.came = True

    @property
    def silent(self) -> float:
        """Seconds since the caller's last sign of life."""
        return time.monotonic() - self._heard

    async def run(self, activity: Callable[[], object], end: Callable[[str], None]) -> None:
        """Watch for ever. `activity` changes as long as input comes; None: it is not looked for."""
        seen = activity()
        while True:
            await asyncio.sleep(min(1.0, self._limit / 4))
            if (now := activity()) != seen:
                came, seen = self.came or seen is not None, now
                self.heard()
                self.came = came
            if self.silent > self._limit:
                end(f"the caller has gone: no input and no keepalive for {self._limit:g} s")
            elif not self.came and seen is not None and self.silent > FIRST_SIGN_SECONDS:
                end(f"the caller never came: no input and no keepalive in {FIRST_SIGN_SECONDS:g} s")


class ParamUpdates:
    """The newest valid parameters of a stream, on their way from a caller to its hooks."""

    def __init__(
        self,
        params_type: ParamsType,
        first: ParamValues,
        copy: LivePipeline,
        status: StreamStatus,
        refusals: Refusals,
    ) -> None:
        self._type = params_type
        self._values = first
        self._copy = copy
        self._status = status
        self._refusals = refusals
        self._changed = asyncio.Event()
        self._applied = asyncio.Event()
        self._applied.set()
        status.update_params(*params_type.shown(first))

    @property
    def value(self) -> Any:
        return self._values.value

    def update(self, changes: object) -> dict[str, Any]:
        """Merge and validate `changes`; returns all parameters as JSON has them.

        Raises `InvalidInput`, tells the caller by an event too, and changes nothing then.
        """
        try:
            values = self._type.merged(self._values, changes)
        except JobError as error:
            self._refusals.tell("params", error, f"params: {error.message}")
            raise
        self._values = values
        self._applied.clear()
        self._changed.set()
        return self._type.dump(values)

    async def applied(self) -> None:
        """Wait until the hooks have the newest ones, `on_params_update` included."""
        await self._applied.wait()

    def over(self) -> None:
        """Nobody waits any more."""
        self._applied.set()

    async def run(self, on_params_update: Callable[..., Awaitable[object]]) -> None:
        """Bring each change to the hooks, for ever; of several that wait, only the newest.

        `on_params_update` is the hook; it calls its argument `before` in the same turn.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            values = self._values
            await on_params_update(values.value, before=partial(self._swap, values))
            if values is self._values:
                self._applied.set()

    def _swap(self, values: ParamValues) -> None:
        self._copy.params = values.value
        self._status.update_params(*self._type.shown(values))


class NoControlHook(JobError):
    """A message for a class without `on_control`."""

    status = 422
    type = "no_control_hook"
    code = "no_control_hook"


class ControlMessages:
    """A caller's messages for `on_control`, one by one and in order, between two frames."""

    def __init__(self, pipeline: str, *, taken: bool, refusals: Refusals) -> None:
        self._pipeline = pipeline
        self._taken = taken
        self._refusals = refusals
        self._waiting: deque[dict[str, Any]] = deque()
        self._came = asyncio.Event()
        self._handled = asyncio.Event()
        self._handled.set()

    @property
    def waiting(self) -> int:
        """Messages that the hook has not had yet."""
        return len(self._waiting)

    def put(self, message: object) -> None:
        """Queue a message; one that is refused is told of by an event, as nobody waits for it."""
        if not self._taken:
            self._refuse(
                NoControlHook(
                    f"{self._pipeline} takes no control messages: it has no on_control(self, "
                    "message); parameters are changed by an update"
                )
            )
        elif not isinstance(message, dict):
            kind = type(message).__name__
            self._refuse(InvalidInput(f"a control message is a JSON object, not {kind}"))
        else:
            if len(self._waiting) == WAITING:
                self._waiting.popleft()
                self._refuse(InvalidInput(f"over {WAITING} messages wait: the oldest is left out"))
            self._waiting.append(message)
            self._handled.clear()
            self._came.set()

    async def handled(self) -> None:
        """Wait until the hook has had every message."""
        await self._handled.wait()

    def over(self) -> None:
        """Nobody waits any more."""
        self._handled.set()

    async def run(self, call: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
        """Call the hook with each message, for ever."""
        while True:
            await self._came.wait()
            while self._waiting:
                await call(self._waiting.popleft())
            self._came.clear()
            self._handled.set()

    def _refuse(self, error: JobError) -> None:
        self._refusals.tell("on_control", error, error.message)


async def listen(
    records: JSONLSubscriber,
    watch: CallerWatch,
    update: Callable[[object], object],
    messages: ControlMessages,
    end: Callable[[str], None],
) -> None:
    """Read a control channel: keepalives, parameters, messages, and the end of the session.

    After a gateway changed orchestrators, the first record is the body of its caller's last update.
    """
    try:
        async with records:
            async for record in records:
                watch.heard()
                began = time.monotonic()
                if is_message(record):
                    messages.put(record["message"])
                elif "keep" not in record:
                    with suppress(JobError):  # told by an event
                        update(record)
                # A flood of them leaves the loop to the others for three quarters of its time.
                await asyncio.sleep(3 * (time.monotonic() - began))
        end("the control channel ended")
    except ChannelNotFound:
        end("the control channel ended")  # before, or between two messages
    except TrickleError as error:
        end(f"the control channel is lost: {error.message}")


def is_message(record: Mapping[str, Any]) -> bool:
    """Whether it is for `on_control`: `{"type": "control", "message": {...}}` and nothing more.

    Anything else but a keepalive is parameters, because a gateway that has changed the orchestrator
    writes the body of its caller's last update as it is (go-livepeer: BYOC control channel).
    """
    return record.keys() == {"type", "message"} and record["type"] == "control"
