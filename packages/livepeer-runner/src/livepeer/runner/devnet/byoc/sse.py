"""Server-sent events through an orchestrator, line by line, with the quirks of the reference.

- A line over 65,535 bytes ends the reading without a sign; CRLF becomes LF.
- A balance goes before every line that contains `[DONE]`, and nothing ends there.
- After the container's end, blank lines come without a pause until the job's time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from aiohttp import web

from livepeer.runner.devnet.byoc.accounts import JobAccount, rounded
from livepeer.runner.devnet.upstream import AnswerBrokeOff, UpstreamAnswer

LONGEST_LINE = 65_535
"""Go's `bufio.Scanner` holds 64 KiB with the line end."""
DEBIT_SECONDS = 5
"""So often the reference takes the price of so much time."""
_UNPAID = b'event: insufficient balance\ndata: {"balance": 0}\n\ndata: [DONE]\n\n'
_FLOOD = b"\n" * 4096
"""The reference writes as fast as the caller reads. A megabyte a second shows the same, and
leaves the machine to the pipeline that is being developed on it."""
_FLOOD_PAUSE = 0.004


async def forward(
    request: web.Request,
    answer: UpstreamAnswer,
    metadata: str,
    seconds: float,
    account: JobAccount,
) -> web.StreamResponse:
    """Passes a stream on for at most `seconds` from now, whatever its status was, and as long as
    it is paid."""
    response = web.StreamResponse(
        headers={
            "Cache-Control": "no-cache",
            "Connection": "keep-alive",
            "Content-Type": "text/event-stream",
            "Livepeer-Payment-Balance": rounded(account.balance),
            "X-Metadata": metadata,
        }
    )
    passing = asyncio.create_task(_passed_on(request, answer, response, account))
    debits = asyncio.create_task(_until_unpaid(account))
    try:
        await asyncio.wait(
            {passing, debits}, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        unpaid = debits.done()
        for task in (passing, debits):
            task.cancel()
        await asyncio.gather(passing, debits, return_exceptions=True)
    if not passing.cancelled():
        passing.result()  # the caller left
    if unpaid:
        debits.result()
        await write(request, response, _UNPAID)
    return await end(request, response)


async def _passed_on(
    request: web.Request, answer: UpstreamAnswer, response: web.StreamResponse, account: JobAccount
) -> None:
    async with contextlib.aclosing(lines(answer)) as passing:
        async for line in passing:
            await write(request, response, _with_balance(line, account))
    # The connection to the container is done with: only the caller is kept waiting.
    answer.close()
    await flood(request, response)


async def _until_unpaid(account: JobAccount) -> None:
    """Takes the price again and again, until more is owed than was paid."""
    while account.balance >= 0:
        await account.accounts.sleep(DEBIT_SECONDS)
        account.debit(DEBIT_SECONDS)


async def lines(answer: UpstreamAnswer) -> AsyncGenerator[bytes, None]:
    """The lines of a stream, each with LF at its end, up to one that is too long."""
    buffer = bytearray()
    try:
        async with contextlib.aclosing(answer.chunks()) as chunks:
            async for data in chunks:
                buffer += data
                start = 0
                while (end := buffer.find(b"\n", start)) >= 0:
                    if end - start > LONGEST_LINE:
                        return
                    yield bytes(buffer[start:end]).removesuffix(b"\r") + b"\n"
                    start = end + 1
                del buffer[:start]
                if len(buffer) > LONGEST_LINE:
                    return
    except AnswerBrokeOff:
        pass  # looks like an end to the caller
    if buffer:
        yield bytes(buffer).removesuffix(b"\r") + b"\n"


async def flood(request: web.Request, response: web.StreamResponse) -> None:
    """Writes blank lines until it is cancelled."""
    while True:
        await write(request, response, _FLOOD)
        await asyncio.sleep(_FLOOD_PAUSE)


async def write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Writes at once; the headers leave with the first line, not before."""
    if not response.prepared:
        response.enable_chunked_encoding()
        await response.prepare(request)
    await response.write(data)


async def end(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Ends the body; one without a line has a length of 0."""
    if not response.prepared:
        response.content_length = 0
        await response.prepare(request)
    await response.write_eof()
    return response


def _with_balance(line: bytes, account: JobAccount) -> bytes:
    if b"[DONE]" not in line:
        return line
    return b'data: {"balance": %b}\n\n\n' % rounded(account.balance, 3).encode() + line
