"""Standard input and output of a command, without holding up its event loop or its Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, BinaryIO

Record = dict[str, Any]

_PIECE = 64 * 1024
_LINE = 1024 * 1024


async def input_pieces() -> AsyncGenerator[bytes, None]:
    """Standard input as it comes, until its end."""
    if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):
        while piece := await asyncio.to_thread(sys.stdin.buffer.read, _PIECE):
            yield piece
        return
    # A thread that waits in a read could not be interrupted; a pipe or terminal can be awaited.
    reader = asyncio.StreamReader(limit=_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    try:
        while piece := await reader.read(_PIECE):
            yield piece
    finally:
        transport.close()


async def input_records() -> AsyncGenerator[tuple[int, Record | None], None]:
    """JSON objects of standard input, one in each line, with the line's number.

    None stands for a line that is no JSON object; empty lines are passed over.
    """
    number = 0
    rest = b""
    async with aclosing(input_pieces()) as pieces:
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                number += 1
                if line.strip():
                    yield number, _record(line)
    if rest.strip():
        yield number + 1, _record(rest)


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def write_all(out: BinaryIO, data: bytes) -> None:
    """Write and flush, so that what reads the pipe gets each piece at once."""
    out.write(data)
    out.flush()
