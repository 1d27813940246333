"""A generator's events on their way to its caller: as a stream, or collected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from livepeer.runner.batch.buffer import EventBuffer
from livepeer.runner.batch.cut import Cuts, cut_off
from livepeer.runner.errors import JobError, JobTimeout
from livepeer.runner.http.asgi import CallerLeft, Receive, Send, respond
from livepeer.runner.http.sse import DONE, HEARTBEAT, MEDIA_TYPE, error_event
from livepeer.runner.running.execution import Execution, disconnected, leave

HEARTBEAT_SECONDS = 10.0
# A reader that takes nothing for so long is taken for gone.
SEND_STALL_SECONDS = 60.0
# How long the end waits for the generator's thread or task to be over, so that a caller's next
# request finds the slot free.
END_SECONDS = 1.0


class EventSource:
    """One running generator, watched for its caller's leaving, its deadline, and the cut."""

    def __init__(
        self,
        execution: Execution,
        buffer: EventBuffer,
        deadline: float | None,
        receive: Receive,
        cuts: Cuts,
    ) -> None:
        self._execution = execution
        self._buffer = buffer
        self._deadline = deadline
        self._receive = receive
        self._cuts = cuts
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> EventSource:
        if self._deadline is not None:
            self._timer = self._loop.call_at(self._deadline, self._overrun)
        self._watcher = self._loop.create_task(disconnected(self._receive))
        self._watcher.add_done_callback(self._left)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if not self._execution.future.done():
            leave(self._execution, self._deadline)

    def heartbeat(self) -> None:
        self._buffer.insert(HEARTBEAT)

    async def get(self) -> bytes:
        """What the generator made since the last call; `b""` at its end. Raises what it raised.

        At the end, or an error, it has really stopped: its slot is free before its caller knows.
        """
        try:
            async with self._cuts.place(self._cut_off):
                chunk = await self._buffer.get()
        except (CallerLeft, JobTimeout):
            raise
        except Exception:
            await self._stopped()
            raise
        if not chunk:
            await self._stopped()
        return chunk

    def _cut_off(self) -> JobError:
        self._execution.stop()
        return cut_off(self._execution)

    async def _stopped(self) -> None:
        if not self._execution.future.done():
            await asyncio.wait((self._execution.future,), timeout=END_SECONDS)

    def _overrun(self) -> None:
        self._buffer.end(JobTimeout("the stream took longer than the pipeline's timeout"))
        self._execution.overrun()

    def _left(self, watcher: asyncio.Task[None]) -> None:
        if not watcher.cancelled():
            self._buffer.close()
            self._buffer.end(CallerLeft())


def wants_json(accept: bytes) -> bool:
    """The caller asks for one JSON answer and not for a stream. (An orchestrator forwards no
    `Accept`, so what it carries is always a stream.)"""
    return b"application/json" in accept and MEDIA_TYPE.encode() not in accept


async def collect(source: EventSource, send: Send) -> None:
    """All events as one JSON array. The chunks are items that each end in a comma."""
    parts = []
    while chunk := await source.get():
        parts.append(chunk)
    await respond(send, b"[%b]" % b"".join(parts)[:-1])


async def stream(
    source: EventSource, send: Send, *, on_error: Callable[[BaseException], JobError]
) -> None:
    """Server-sent events, which end with `[DONE]` whatever happens.

    The headers leave with the first bytes: an error before them is an answer of its own status,
    which makes a gateway try another orchestrator. Errors after them are `error` events.
    """
    response = EventResponse(send)
    beat = SilenceTimer(source.heartbeat)
    try:
        while chunk := await source.get():
            await response.write(chunk)
            beat.postpone()
    except CallerLeft:
        raise
    except Exception as error:
        if not response.started:
            raise
        await response.write(error_event(on_error(error)))
    finally:
        beat.stop()
    await response.finish()


class SilenceTimer:
    """Calls `beat` whenever nothing was sent for `HEARTBEAT_SECONDS`."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._beat = beat
        self._last = self._loop.time()
        self._timer = self._loop.call_later(HEARTBEAT_SECONDS, self._due)

    def postpone(self) -> None:
        self._last = self._loop.time()

    def stop(self) -> None:
        self._timer.cancel()

    def _due(self) -> None:
        now = self._loop.time()
        if now - self._last >= HEARTBEAT_SECONDS:
            self._last = now
            self._beat()
        self._timer = self._loop.call_at(self._last + HEARTBEAT_SECONDS, self._due)


class EventResponse:
    """The ASGI messages of one event stream."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def write(self, chunk: bytes) -> None:
        await self._body(chunk, more=True)

    async def finish(self) -> None:
        await self._body(DONE, more=False)

    async def _body(self, chunk: bytes, *, more: bool) -> None:
        if not self.started:
            self.started = True
            await self._send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", MEDIA_TYPE.encode()),
                        (b"cache-control", b"no-cache"),
                        (b"x-accel-buffering", b"no"),
                    ],
                }
            )
        try:
            async with asyncio.timeout(SEND_STALL_SECONDS):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        except TimeoutError:
            raise CallerLeft from None
