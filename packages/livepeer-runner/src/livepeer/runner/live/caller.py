"""The other end of a stream: what it says on the control channel, and whether it is still there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from livepeer.runner.errors import JobError
from livepeer.trickle import ChannelNotFound, JSONLSubscriber, TrickleError


class Caller:
    """Ends the stream where its caller has; changes parameters where it says so.

    `activity` changes as long as input comes. A direct caller that disappears tells nobody, so no
    input and no word for `limit` seconds is all there is (go-livepeer: BYOC control channel).
    """

    def __init__(
        self,
        limit: float,
        *,
        activity: Callable[[], object],
        update: Callable[[object], object],
        end: Callable[[str], None],
    ) -> None:
        self._limit = limit
        self._activity = activity
        self._update = update
        self._end = end
        self._heard = time.monotonic()

    def heard(self) -> None:
        self._heard = time.monotonic()

    async def watch(self) -> None:
        limit, seen = self._limit, self._activity()
        while True:
            await asyncio.sleep(min(1.0, limit / 4))
            if (now := self._activity()) != seen:
                seen = now
                self.heard()
            if time.monotonic() - self._heard > limit:
                self._end(f"the caller has gone: no input and no keepalive for {limit:g} s")

    async def listen(self, records: JSONLSubscriber) -> None:
        """Keepalives, parameters, and the end of the session."""
        try:
            async with records:
                async for record in records:
                    self.heard()
                    self._take(record)
            self._end("the control channel ended")
        except ChannelNotFound:
            self._end("the control channel ended")  # before, or between two messages
        except TrickleError as error:
            self._end(f"the control channel is lost: {error.message}")

    def _take(self, record: dict[str, Any]) -> None:
        """After a gateway swapped orchestrators, the first one is the body of the last update."""
        if "keep" not in record:
            with suppress(JobError):  # told by an event
                self._update(record)
