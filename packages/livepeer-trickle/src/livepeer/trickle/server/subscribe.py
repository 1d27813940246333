"""GET of a segment: its bytes so far, then the rest as they are written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from livepeer.trickle.http.buffer import PIECE
from livepeer.trickle.protocol import wire
from livepeer.trickle.server.answers import answer
from livepeer.trickle.server.channel import Channel
from livepeer.trickle.server.sender import SocketSender
from livepeer.trickle.server.turn import ReadTurn

logger = logging.getLogger(__name__)

CHECK: Final = 30.0
"""Seconds between looks whether a client that waits for its first byte is still there. Our own
listener hears of it at once; an application that we are mounted in may not cancel handlers."""

FIRST: Final = 16 * 1024
"""Most bytes of a segment that leave with the headers, through aiohttp, where the rest can go
straight to the socket. They fit into one that has nothing left to send."""
SHARED: Final = 4 * 1024
"""Bytes from which on a chunk is made once for all readers, and goes straight to a transport that
has nothing left to send."""
UNTIMED: Final = 32 * 1024
"""What the connection takes without a wait (asyncio's mark is 64 KiB)."""


class SegmentResponse(web.StreamResponse):
    """A chunked answer whose headers leave together with its first bytes."""

    # aiohttp's own switch, which only its `Response` sets: one packet less for each segment.
    _send_headers_immediately = False


async def subscribe(
    request: web.BaseRequest, channel: Channel, seq: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer when the segment's first byte is there, or its end."""
    turn = channel.open_read(seq)
    if turn is None:
        latest = wire.Headers(seq=channel.resolve(seq), latest=channel.next_seq)
        return answer(wire.STATUS_RESYNC, wire.TEXT_NO_SEGMENT, {**headers, **latest.format()})
    try:
        return await _read(request, channel, turn, headers)
    finally:
        turn.close()


async def _read(
    request: web.BaseRequest, channel: Channel, turn: ReadTurn, headers: Mapping[str, str]
) -> web.StreamResponse:
    segment = turn.segment
    while not segment.size and not segment.closed:
        try:
            async with asyncio.timeout(CHECK):
                await segment.changed()
        except TimeoutError:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the reader left") from None
    if not segment.size:
        fields = {**headers, wire.SEQ: str(segment.seq), wire.LATEST: str(turn.latest_now)}
        if turn.terminated:
            fields[wire.CLOSED] = wire.TERMINATED
        return answer(200, headers=fields)
    response = SegmentResponse(
        headers={
            **headers,
            **wire.Headers(seq=segment.seq, latest=turn.latest).format(),
            wire.CONTENT_TYPE: channel.mime_type,
        }
    )
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    await _stream(request, response, turn, channel.limits.stall)
    return response


def _chunk(data: bytes) -> bytes:
    """As a chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _stream(
    request: web.BaseRequest, response: SegmentResponse, turn: ReadTurn, stall: float
) -> None:
    segment = turn.segment
    transport = request.transport
    chunked = request.version >= (1, 1)
    begun = False  # the headers leave with the first bytes, which aiohttp writes
    fd = SocketSender.descriptor(transport) if chunked else None
    straight = fd is not None and not (segment.closed and segment.size <= PIECE)

    def push() -> bool:
        while turn.waiting:
            if transport is None or transport.is_closing() or transport.get_write_buffer_size():
                return False
            transport.write(segment.framed(turn.take(), _chunk))
        return True

    try:
        while True:
            if begun and straight and transport is not None and fd is not None:
                if transport.get_write_buffer_size():
                    await asyncio.sleep(0)  # uvloop writes at the end of its turn
                if not (transport.is_closing() or transport.get_write_buffer_size()):
                    await SocketSender(turn, transport, fd, stall).run()
            data = turn.take(FIRST if straight and not begun else PIECE)
            if segment.discarded:
                raise TimeoutError
            last = turn.at_end
            if not (data or last):
                await segment.changed(push if chunked and begun else None)
                continue
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the reader left")
            waiting = transport.get_write_buffer_size()
            if chunked and begun and not (last or waiting) and len(data) >= SHARED:
                # aiohttp would join each reader's chunk anew, which copies it.
                transport.write(segment.framed(data, _chunk))
                continue
            begun = True
            write = response.write_eof if last else response.write
            if len(data) + waiting < UNTIMED:
                await write(data)
            else:
                async with asyncio.timeout(stall):
                    await write(data)
            if last:
                return
    except TimeoutError:
        # Too slow. Cut, not ended: a clean end would claim that the segment is whole.
        logger.warning("a reader of segment %d is cut: it takes too little", segment.seq)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader took nothing for too long") from None
    except OSError as error:
        if transport is not None:
            transport.abort()
        raise ConnectionResetError("the reader left") from error
