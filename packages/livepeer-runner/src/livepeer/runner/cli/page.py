"""The playground's page beside a command: served while it runs, and opened for whoever waits."""

from __future__ import annotations

import asyncio
import os
import sys
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livepeer.runner.playground.board import Board
from livepeer.trickle.cli.console import is_terminal

if TYPE_CHECKING:
    from livepeer.runner.playground.server import Playground

PORT = 8940


@dataclass(frozen=True, slots=True)
class Page:
    """Where it is served. `opens`: in the user's browser, once it is there."""

    host: str = "127.0.0.1"
    port: int = 0
    opens: bool = False


@asynccontextmanager
async def opened(board: Board, page: Page) -> AsyncIterator[Playground]:
    """The page of what is on `board`."""
    # Its codecs take longer to import than all else: the caller's pipelines start meanwhile.
    make = await asyncio.to_thread(_playground)
    async with make(board, host=page.host, port=page.port) as playground:
        if page.opens:
            # A browser may be slow to start, and its launcher to return: nobody waits for it.
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, playground.url)
        yield playground


def _playground() -> type[Playground]:
    from livepeer.runner.playground.server import Playground

    return Playground


def can_open() -> bool:
    """Whether a person is there, with a browser that has windows: no text browser is opened."""
    if not is_terminal():
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
