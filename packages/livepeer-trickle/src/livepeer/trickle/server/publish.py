"""POST of a segment: its bytes go to the readers as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from livepeer.trickle.protocol import wire
from livepeer.trickle.server.answers import ContinueTimer, answer, send_continue
from livepeer.trickle.server.channel import Channel
from livepeer.trickle.server.limits import LimitExceeded, SegmentTaken
from livepeer.trickle.server.listener import ServerStops, receive
from livepeer.trickle.server.turn import WriteTurn


async def publish(
    request: web.BaseRequest, channel: Channel, seq: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Write the body into the segment and answer when it ends, or the segment before it began."""
    turn = channel.open_write(seq, reset=bool(request.headers.get(wire.RESET)))
    fields = {**headers, wire.SEQ: str(turn.seq)}
    if turn.segment.closed:
        turn.too_late()
        return answer(200, headers=fields, close=True)
    try:
        send_continue(request)
        with receive(request) as body:
            data = await _first_bytes(request, turn)
            if data is None:
                turn.passed_over()
                if turn.terminated:
                    fields[wire.CLOSED] = wire.TERMINATED
                return answer(200, headers=fields, close=True)
            content = request.content
            while data:
                turn.write(data)
                body.goes_to(turn.write)
                data = await content.readany()
        turn.finish()
    except LimitExceeded as error:
        return answer(error.status, f"{error}\n", fields, close=True)
    except SegmentTaken as error:
        return answer(409, f"{error}\n", fields, close=True)
    except ServerStops as error:
        return answer(503, f"{error}\n", headers, close=True)
    except (web.RequestPayloadError, ConnectionError):
        # Broken off: the segment stays open, and the publisher may come back to it.
        return answer(500, wire.TEXT_SERVER_ERROR, headers, close=True)
    finally:
        turn.leave()
    return answer(200, headers=fields, close=not turn.wrote)


async def _first_bytes(request: web.BaseRequest, turn: WriteTurn) -> bytes | None:
    """Wait for the body to begin; None where the segment is closed before."""
    content = request.content
    if data := content.read_nowait():
        return data
    if content.at_eof():
        return b""
    loop = asyncio.get_running_loop()
    timer = ContinueTimer(request, wire.PROVISIONAL_INTERVAL)
    waiting = asyncio.timeout(None)

    def stop_waiting() -> None:
        waiting.reschedule(loop.time())

    turn.segment.on_close(stop_waiting)
    try:
        async with waiting:
            return await content.readany()
    except TimeoutError:
        return None
    finally:
        timer.cancel()
        turn.segment.forget(stop_waiting)
