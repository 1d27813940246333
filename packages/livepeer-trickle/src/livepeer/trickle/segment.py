"""One segment, written piece by piece: `SegmentWriter`."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import TYPE_CHECKING, Protocol

from livepeer.trickle.exceptions import (
    ChannelClosed,
    SegmentFailed,
    TrickleConnectionError,
    TrickleError,
    TrickleTimeout,
)
from livepeer.trickle.protocol.publish_state import Action, Rule
from livepeer.trickle.protocol.publish_state import Stage as PublishStage
from livepeer.trickle.protocol.wire import Answer

if TYPE_CHECKING:
    from livepeer.trickle.http.exchange import ShortReply
    from livepeer.trickle.http.upload import Upload


logger = logging.getLogger(__name__)


class _Publisher(Protocol):
    """What a segment needs of its publisher."""

    async def _begin(self, segment: SegmentWriter) -> None: ...
    async def _turn(self, segment: SegmentWriter) -> None: ...
    def _begun(self, segment: SegmentWriter) -> None: ...
    def _left(self, segment: SegmentWriter) -> None: ...
    def _settled(
        self, segment: SegmentWriter, answer: Answer, reply: ShortReply | None
    ) -> Rule: ...

    @property
    def _limits(self) -> tuple[float, float]: ...


class SegmentWriter:
    """One segment to write, from `TricklePublisher.segment()`; use it as a context manager.

    `write` returns when the connection has taken the bytes, which is how a slow network slows the
    writer. Leaving the block ends the segment; it does not wait for the server's answer, which is
    counted in the publisher's `stats` (`acknowledged()` waits for it). Left by an exception or a
    cancellation, the segment ends where it is: short, but whole for its readers.
    """

    def __init__(self, publisher: _Publisher) -> None:
        self._publisher = publisher
        self._upload: Upload | None = None
        self._seq: int | None = None
        self._begun_at = 0.0
        self._ended_at = 0.0
        self._stage = PublishStage.IDLE
        self._error: TrickleError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.done = False
        """Whether the server has answered, or never will."""

    def __repr__(self) -> str:
        return f"<SegmentWriter seq={self._seq} {self._stage.value}, {self.bytes_written} bytes>"

    @property
    def seq(self) -> int:
        """Its number. It is known in the block, and final once a byte is written."""
        if self._seq is None:
            raise RuntimeError("the segment has no number yet: use `async with`")
        return self._seq

    @property
    def bytes_written(self) -> int:
        """How many bytes were written so far. 0: none has left, and none will."""
        return self._upload.handed if self._upload is not None else 0

    @property
    def failed(self) -> bool:
        """Whether it is known that the server did not acknowledge it, and never will."""
        return self.done and self._error is not None

    async def __aenter__(self) -> SegmentWriter:
        await self._publisher._begin(self)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            await self.aclose()
        else:
            self._end()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` now.

        Raises:
            SegmentFailed: the segment was cut (it counts as uncertain); go on with a new one.
            ChannelClosed: the channel was deleted.
            TrickleError: with the first bytes, whatever opening a segment raises
                (`TricklePublisher`); none of them has left then.
        """
        await self._write(data)

    async def _write(self, data: bytes | bytearray | memoryview, *, end: bool = False) -> None:
        if self._stage is PublishStage.IDLE:
            if self._seq is None:
                raise RuntimeError("write to a segment inside its `async with` block")
            await self._publisher._turn(self)
        elif self._stage is PublishStage.ENDED:
            raise RuntimeError("write to a segment that has ended")
        if self._error is not None:
            raise self._error
        upload = self._upload
        assert upload is not None
        if not data:
            return
        first = self._stage is PublishStage.IDLE
        if first:
            self._stage = PublishStage.FLOWING
            self._begun_at = time.monotonic()
        try:
            await upload.write(data, limit=self._publisher._limits[0], end=end)
        except TrickleTimeout as error:
            self._settle(Answer.SILENT, None, error)
        except TrickleConnectionError as error:
            if upload.over:
                self._answered()
            else:
                upload.abort()
                self._settle(Answer.LOST, None, error)
        if first:
            self._publisher._begun(self)
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """End the segment. Raises `SegmentFailed` if it is already known to be cut, and, where
        nothing was written, as `write`."""
        try:
            if self._stage is PublishStage.IDLE and self._seq is not None:
                # An empty segment still takes its number, so it keeps its turn as well.
                await self._publisher._turn(self)
        finally:
            self._end()
        if self._error is not None:
            raise self._error

    async def acknowledged(self) -> None:
        """Wait until the server has the whole segment.

        Raises:
            SegmentFailed: it may have arrived, whole or short, or not at all.
        """
        if self._stage is not PublishStage.ENDED:
            raise RuntimeError("end the segment before waiting for its acknowledgement")
        if not self.done:
            await self._settled_or_given_up()
        if self._error is not None:
            raise self._error

    # --- called by the publisher -----------------------------------------------------------------

    async def _wait(self, limit: float | None = None) -> None:
        """Wait until it is settled, or for `limit` seconds."""
        if self._upload is not None:
            await self._upload.wait(limit)

    async def _settled_or_given_up(self) -> None:
        """Wait until it is settled: its timer gives it up when no answer comes."""
        if not self.done and self._upload is not None:
            await self._upload.wait(None)
            self._answered()

    def _abort(self) -> None:
        if self._upload is not None:
            self._upload.abort()

    def _bind(self, seq: int, upload: Upload) -> None:
        self._seq, self._upload = seq, upload
        upload.on_over(functools.partial(self._on_answer, upload))

    @property
    def _reached(self) -> PublishStage:
        """Where its request stands. A whole segment ends while `write` waits for the network."""
        ended = self._upload is not None and self._upload.whole
        return PublishStage.ENDED if ended else self._stage

    def _unbind(self) -> None:
        """It lost its number before its first byte; `_bind` gives it another."""
        self._upload = None

    def _end(self) -> None:
        """End the body without waiting."""
        if self._stage is PublishStage.ENDED:
            return
        upload = self._upload
        was_idle = self._stage is PublishStage.IDLE
        if was_idle and (upload is None or upload.over):
            # It was refused and then given up: nothing of it ever left, so nothing is uncertain.
            self._answered()
            self._error = self._error or SegmentFailed("it was never begun", seq=self._seq)
            self.done = True
        self._stage = PublishStage.ENDED
        if upload is not None and not self.done:
            self._ended_at = time.monotonic()
            self._begun_at = self._begun_at or self._ended_at
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._publisher._limits[1], upload.abort)
            upload.end()
            if was_idle:
                self._publisher._begun(self)
        self._publisher._left(self)

    def _on_answer(self, upload: Upload) -> None:
        # An idle segment is looked at by `_turn`, which may open another number for it.
        if upload is self._upload and self._stage is not PublishStage.IDLE:
            self._answered()

    def _answered(self) -> None:
        if self.done or self._upload is None:
            return
        try:
            reply = self._upload.reply()
        except TrickleTimeout as error:
            self._settle(Answer.SILENT, None, error)
        except TrickleError as error:
            self._settle(Answer.LOST, None, error)
        else:
            self._settle(reply.answer, reply, None)

    def _settle(self, answer: Answer, reply: ShortReply | None, cause: TrickleError | None) -> None:
        if self.done:
            return
        self.done = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rule = self._publisher._settled(self, answer, reply)
        if rule.action is Action.ACKNOWLEDGED:
            return
        told = str(reply) if reply is not None else cause.message if cause else answer.value
        error = rule.error or SegmentFailed
        url = self._upload.url if self._upload else None
        self._error = error(f"{rule.why}: {told}", url=url, seq=self._seq)
        self._error.__cause__ = cause
        if self._stage is PublishStage.ENDED and not isinstance(self._error, ChannelClosed):
            logger.warning("segment %s of %s is uncertain: %s", self._seq, url, told)
