"""A connection to the server, bounded where uvicorn sets no bounds.

Anybody who reaches the port can use these up before any token is looked at, so they are held here,
below the app: the size of a head, the time that it takes, requests sent ahead, how long a reader
may stand still, and how many connections there are. What a body may be is for the app to say.
"""

from __future__ import annotations

import asyncio
import logging
import select
import time
from http import HTTPStatus
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from livepeer.runner.errors import InvalidInput, JobError, OverCapacity, PayloadTooLarge, error_body

logger = logging.getLogger(__name__)

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 15.0
"""From a head's first byte to its last."""
SILENT_SECONDS = 75.0
"""For the first byte of a new connection: a caller's pool may have opened it ahead of its need."""
STALLED_SECONDS = 60.0
"""How long a reader may take none of what waits for it."""
SENT_AHEAD = 16
"""Requests of one connection that wait for the answer of an earlier one."""
UNWANTED_BYTES = 128 * 1024 * 1024
"""What is read of a body after its answer, since closing early could be taken for a breakdown."""
CONNECTIONS = 1024
LEAVING_SECONDS = 1.0
"""When the server ends: for a request that may be on its way already."""
_LINGER_SECONDS = 1.0
_WARN_SECONDS = 60.0


def most_connections(capacity: int) -> int:
    """Room for every job and more, with at least half of the process's files left for its work."""
    wanted = max(CONNECTIONS, 2 * capacity)
    try:
        import resource
    except ImportError:  # Windows
        return wanted
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(8, min(wanted, files // 2))


class _Refused(Exception):
    """Raised inside of the parser, to stop it."""


class BoundedConnection(HttpToolsProtocol):
    """One caller's connection."""

    leaving: ClassVar[bool] = False
    """Of the class of one server (`limited`): it ends, and each connection with its next answer."""
    most: ClassVar[int] = CONNECTIONS
    head_seconds: ClassVar[float] = HEAD_SECONDS
    _warned: ClassVar[float] = float("-inf")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = 0  # bytes since a head or a piece of a body was complete
        self._unwanted = 0
        self._in_head = True
        self._since = 0.0  # when it began to wait for a head
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._why: tuple[int, JobError] | None = None
        self._refused = False

    @property
    def waits(self) -> bool:
        """Whether no request is being answered: closing it takes nothing from anybody."""
        cycle = self._latest
        return cycle is None or (cycle.response_complete and not self.pipeline)

    @property
    def _latest(self) -> RequestResponseCycle | None:
        """The request that came last; None before the first."""
        return cast("RequestResponseCycle | None", self.cycle)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._head_timer = self.loop.call_later(SILENT_SECONDS, self._head_is_late)
        if len(self.connections) > self.most:
            self._make_room()
        if self.leaving:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        self._tell_that_the_caller_left()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # read and forgotten, so that the answer is not lost to a reset
        if self._latest is None and self._unparsed == 0 and not self.leaving:
            self._stop_timers()
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES:
            self._refuse(431, _too_large())
        elif self._unparsed and self._in_head and self._head_timer is None:
            self._since = self.loop.time()
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def shutdown(self) -> None:
        """The server ends: what the caller has sent, or is about to send, is answered first.

        To close a connection with a request in it resets it under its caller, who cannot know
        whether it was run. An idle one that an answer went over before is closed at once: that a
        request may cross its end is HTTP's own, and clients send it again (RFC 9112, 9.3.1).
        """
        if not self.waits:
            super().shutdown()
            return
        if self._unparsed or self._has_arrived():
            seconds = LEAVING_SECONDS
        elif self._latest is None:
            seconds = self._since + LEAVING_SECONDS - self.loop.time()
        else:
            seconds = 0.0
        self._stop_timers()
        if seconds > 0:
            self._head_timer = self.loop.call_later(seconds, self._head_is_late)
        else:
            self.transport.close()

    def _has_arrived(self) -> bool:
        """Whether bytes wait in the socket that the loop has not read yet."""
        if not hasattr(select, "poll"):  # Windows
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    # --- what the parser calls -------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        if self._unparsed > HEAD_BYTES and self._head_size() > HEAD_BYTES:
            self._stop_parser(431, _too_large())
        if len(self.pipeline) >= SENT_AHEAD:
            self._stop_parser(400, InvalidInput(f"over {SENT_AHEAD} requests were sent ahead"))
        if len(self.connections) > self.most:
            self._stop_parser(503, OverCapacity("too many connections are open", retry_after=1))
        if self.parser.should_upgrade() and self._announces_body():
            # The parser takes what follows such a head for another protocol: the body would be lost
            # without a sign, and the job run with none.
            self._stop_parser(
                400,
                InvalidInput(
                    "this is HTTP/1.1 only: send a body without an Upgrade header "
                    "(curl: --http1.1; Java: HttpClient.Version.HTTP_1_1)"
                ),
            )
        self._unparsed = 0
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        waited = self.waits
        super().on_headers_complete()
        if waited:
            self._answering = self.cycle
        if self.leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if self.cycle.response_complete:
            self._unwanted += len(body)
            if self._unwanted > UNWANTED_BYTES:
                self._stop_parser(413, PayloadTooLarge("the body goes on after its answer"))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        self._unwanted = 0
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        self._answering = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser refused, or one of the limits above made it refuse."""
        self._refuse(*(self._why or (400, InvalidInput(msg))))

    def _unsupported_upgrade_warning(self) -> None:
        """uvicorn would tell the operator to install a WebSocket library. The request is answered
        as HTTP/1.1, which its caller may take (RFC 9110, 7.8), and whoever offers h2c does."""
        logger.debug("a request offers another protocol, and is answered as HTTP/1.1")

    def _stop_parser(self, status: int, error: JobError) -> None:
        self._why = (status, error)
        raise _Refused

    # --- the other direction ---------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _watch_reader(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALLED_SECONDS, self._look_at_reader, unsent)

    def _look_at_reader(self, unsent: int) -> None:
        if self.transport.get_write_buffer_size() < unsent:
            self._watch_reader()
        else:
            self.transport.abort()

    # --- refusing --------------------------------------------------------------------------------

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _announces_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
            for name, value in self.headers
        )

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.waits:
            # An earlier request of this connection is still being answered: that comes first.
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)
        elif self._unparsed:
            self._refuse(408, InvalidInput(f"the head took over {self.head_seconds:g} s"))
        else:
            self.transport.close()

    def _make_room(self) -> None:
        """Close the connection that has waited longest for a head; heads begun but not ended first.

        A caller's own head is here within milliseconds, so a flood of half heads ends its own.
        """
        waiting = [
            each
            for each in self.connections
            if isinstance(each, BoundedConnection) and each is not self and each.waits
        ]
        now = time.monotonic()
        if now - BoundedConnection._warned > _WARN_SECONDS:
            BoundedConnection._warned = now
            logger.warning(
                "%d connections are open, %d of them without a request: the limit is %d",
                len(self.connections),
                len(waiting),
                self.most,
            )
        if waiting:
            oldest = min(waiting, key=lambda each: (each._latest is not None, each._since))
            oldest.transport.abort()
            self.connections.discard(oldest)

    def _refuse(self, status: int, error: JobError) -> None:
        """Answer and close; where an answer is under way already, only close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_timers()
        self._unset_keepalive_if_required()
        answering = self._answering
        self._tell_that_the_caller_left()
        self.pipeline.clear()
        if answering is not None and answering.response_started:
            self.transport.close()
            return
        body = error_body(error)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s"
            % (status, HTTPStatus(status).phrase.encode(), len(body), body)
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._head_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _tell_that_the_caller_left(self) -> None:
        """uvicorn tells the request that came last, which need not be the one being answered."""
        cycle, self._answering = self._answering, None
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._stall_timer = None


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"the head is over the limit of {HEAD_BYTES} bytes")


def limited(capacity: int) -> type[BoundedConnection]:
    """`BoundedConnection` for a server with so many slots."""
    return type("BoundedConnection", (BoundedConnection,), {"most": most_connections(capacity)})
