"""A live segment's bytes, from where they are kept to a reader's socket, past the event loop's
transport: for a reader that is slow nothing is copied, and nothing held but its place."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from livepeer.trickle.http.buffer import GATHER, PIECE
from livepeer.trickle.server.turn import ReadTurn

_CRLF: Final = b"\r\n"


class SocketSender:
    """Sends a segment in chunks of HTTP/1.1, each as large as what is there.

    The transport must have nothing left to send, and be written by nobody else meanwhile.
    `stall`: seconds in which the reader has to take a piece (120 KiB).
    """

    def __init__(self, turn: ReadTurn, transport: asyncio.Transport, fd: int, stall: float) -> None:
        self._turn = turn
        self._transport = transport
        self._fd = fd
        self._stall = stall
        self._watched: int | None = None
        """A second descriptor of the socket: the loop lets nobody watch its transport's own."""
        self._due = 0.0
        """When the reader is too slow; 0 for one that keeps up."""
        self._taken = 0
        """Bytes it has taken since `_due` was set."""
        # Of the chunk that is being sent: what has not left yet.
        self._head = b""
        self._body = 0
        self._tail = b""

    @staticmethod
    def descriptor(transport: asyncio.Transport | None) -> int | None:
        """The descriptor of a transport's socket; None where bytes can't be written past it."""
        if transport is None or not hasattr(os, "writev"):
            return None
        if transport.get_extra_info("sslcontext") is not None:
            return None
        sock = transport.get_extra_info("socket")
        return None if sock is None else sock.fileno()

    async def run(self) -> None:
        """Send until the segment has ended.

        Raises TimeoutError where the reader is too slow, or the bytes were given up for memory,
        and ConnectionError where it left.
        """
        turn = self._turn
        try:
            while True:
                if turn.segment.discarded:
                    raise TimeoutError
                if not self._send():
                    await self._catch_up()
                elif turn.at_end:
                    return
                else:
                    await turn.segment.changed(self._push)
        finally:
            if self._watched is not None:
                os.close(self._watched)

    def _send(self) -> bool:
        """Send what is there; False where the socket has not taken all of it."""
        turn = self._turn
        if self._transport.is_closing():  # its descriptor may be somebody else's soon
            raise ConnectionResetError("the reader left")
        if not self._tail:
            self._body = min(turn.waiting, GATHER)
            if not self._body:
                return True
            self._head = b"%x\r\n" % self._body
            self._tail = _CRLF
        head, body, tail = self._head, self._body, self._tail
        try:
            sent = os.writev(self._fd, [head, *turn.peek(body), tail])
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(head) + body + len(tail):
            turn.advance(body)
            self._tail = b""
            if not turn.waiting:
                self._due = 0.0
                return True
        else:
            left = max(sent - len(head), 0)
            self._head = head[sent:]
            taken = min(left, body)
            turn.advance(taken)
            self._body = body - taken
            self._tail = tail[left - taken :]
        self._taken += sent
        if not self._due or self._taken >= PIECE:
            self._due = asyncio.get_running_loop().time() + self._stall
            self._taken = 0
        return False

    async def _catch_up(self) -> None:
        """Send whenever the socket takes bytes, until it has taken all."""
        loop = asyncio.get_running_loop()
        if self._watched is None:
            self._watched = os.dup(self._fd)
        done: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._watched, self._send_on, done)
        try:
            while not done.done():
                left = self._due - loop.time()
                if left <= 0:
                    raise TimeoutError
                await asyncio.wait([done], timeout=left)
        finally:
            loop.remove_writer(self._watched)

    def _send_on(self, done: asyncio.Future[None]) -> None:
        if done.done():
            return
        try:
            sent = self._turn.segment.discarded or self._send()
        except OSError:
            sent = True  # `run` meets it again
        if sent:
            done.set_result(None)

    def _push(self) -> bool:
        try:
            return self._send()
        except OSError:
            return False  # `run` meets it again
