"""What the orchestrator tells a runner the moment it happens: the o2r channel, which may say
nothing, end, or lie, so that it is only ever a reason to ask for the list of sessions sooner."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from livepeer.runner.attach.client import TLS
from livepeer.trickle import SegmentFailed, TrickleConnectionError, TrickleError, TrickleSubscriber

PAUSE_SECONDS = 0.25
"""Between two hints at least: a channel that never stops talking costs no more than this."""
AGAIN_SECONDS = 5.0
"""Before a channel that was lost is asked for again."""
_LONGEST_URL = 2048
_PATH = re.compile(r"/ai/trickle/[^/?#\s]+$")
_KEEPALIVE = b'"keep"'


async def follow(url: str, orchestrator: str, tls: TLS, hint: Callable[[], None]) -> None:
    """Call `hint` at events of the channel, and at its end; return when no more can come.

    A segment for each event, from 0 on, `{"event": "reserved" or "released", "session",
    "timestamp"}`, and keepalives (go-livepeer: live runner o2r). What it says of whom is not
    looked at. Of its address only the path counts, below the orchestrator that we registered at; it
    holds a credential, so nothing here is logged.
    """
    path = _PATH.search(url) if len(url) <= _LONGEST_URL else None
    while path is not None:
        try:
            await _read(orchestrator + path[0], tls, hint)
        except TrickleConnectionError:
            hint()
            await asyncio.sleep(AGAIN_SECONDS)
        except TrickleError:
            hint()
            return
        else:
            hint()
            return


async def _read(url: str, tls: TLS, hint: Callable[[], None]) -> None:
    async with TrickleSubscriber(url, start=0, tls=tls) as events:
        async for event in events:
            try:
                said = await event.receive()
            except SegmentFailed:
                said = b""
            if _KEEPALIVE not in said:
                hint()
            await asyncio.sleep(PAUSE_SECONDS)
