"""The other end of a stream: what it says on the control channel, and whether it is still there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from livepeer.runner.errors import JobError
from livepeer.runner.live.control import is_message
from livepeer.trickle import ChannelNotFound, JSONLSubscriber, TrickleError

FIRST_SIGN_SECONDS = 20.0
"""What a caller gets for its first word or input: a start that was given up on, such as by a time
limit, is told to nobody. A gateway's first keepalive comes after 10 s, ours at once."""


class Caller:
    """Ends the stream where its caller has; passes on what it says.

    `activity` changes as long as input comes, and is None before that is looked for. A direct
    caller that disappears tells nobody, so no input and no word for `limit` seconds is all there is
    (go-livepeer: BYOC control channel).
    """

    def __init__(
        self,
        limit: float,
        *,
        activity: Callable[[], object],
        update: Callable[[object], object],
        message: Callable[[object], None],
        end: Callable[[str], None],
    ) -> None:
        self._limit = limit
        self._activity = activity
        self._update = update
        self._message = message
        self._end = end
        self._heard = time.monotonic()
        self._came = False

    def heard(self) -> None:
        self._heard = time.monotonic()
        self._came = True

    async def watch(self) -> None:
        seen = self._activity()
        while True:
            await asyncio.sleep(min(1.0, self._limit / 4))
            if (now := self._activity()) != seen:
                came, seen = self._came or seen is not None, now
                self.heard()
                self._came = came
            silent = time.monotonic() - self._heard
            if silent > self._limit:
                self._end(f"the caller has gone: no input and no keepalive for {self._limit:g} s")
            elif not self._came and seen is not None and silent > FIRST_SIGN_SECONDS:
                self._end(
                    f"the caller never came: no input and no keepalive in {FIRST_SIGN_SECONDS:g} s"
                )

    async def listen(self, records: JSONLSubscriber) -> None:
        """Keepalives, parameters, messages, and the end of the session."""
        try:
            async with records:
                async for record in records:
                    self.heard()
                    began = time.monotonic()
                    self._take(record)
                    # A flood of them leaves the loop to the others for three quarters of its time.
                    await asyncio.sleep(3 * (time.monotonic() - began))
            self._end("the control channel ended")
        except ChannelNotFound:
            self._end("the control channel ended")  # before, or between two messages
        except TrickleError as error:
            self._end(f"the control channel is lost: {error.message}")

    def _take(self, record: dict[str, Any]) -> None:
        """After a gateway swapped orchestrators, the first one is the body of the last update."""
        if "keep" in record:
            return
        if is_message(record):
            self._message(record["message"])
            return
        with suppress(JobError):  # told by an event
            self._update(record)
