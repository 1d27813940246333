"""The end of listening: who was accepted a moment before is met first."""

from __future__ import annotations

import asyncio
from typing import Final

_TURNS: Final = 3
"""Of the loop, from accepting a connection until its protocol is told."""


async def stop_listening(server: asyncio.Server | asyncio.AbstractServer) -> None:
    """Accept no more, meet those that were accepted, then close `server`.

    `Server.close` alone loses one that was accepted in the same turn of the loop: in Python 3.11
    its transport cannot be made any more, and its socket is left to the garbage collector.
    """
    loop = asyncio.get_running_loop()
    try:
        # Other loops have no such turn between accepting and telling.
        if isinstance(server, asyncio.Server) and isinstance(loop, asyncio.SelectorEventLoop):
            for each in server.sockets:
                loop.remove_reader(each.fileno())
            for _ in range(_TURNS):
                await asyncio.sleep(0)
    finally:
        server.close()
