"""The publisher's side of the protocol, without I/O: what does an answer mean, what comes next?

`RULES` is the whole behaviour: one line for each pair of "where a request stands" and "what the
server answered". `SEGMENT` has every way of a segment from one stage to another, `PublishState` the
few numbers that the rules move. Nothing here waits.

Sources: go-livepeer's trickle server (numbers, resets, answers before a body ends) and the delivery
contract in `specs/trickle.md`: at most once; what was not acknowledged is counted, never repeated.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

from livepeer.trickle.exceptions import (
    ChannelClosed,
    ChannelNotFound,
    ChannelRefused,
    ProtocolError,
)
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.rule import Rule
from livepeer.trickle.protocol.wire import Answer

ORDER_SETTLES: Final = 0.5
"""Seconds after which the first byte of a segment has surely arrived.

The server's next write follows first bytes, also backwards: were the first byte of `n + 1` to pass
the first byte of `n`, `/next` would tell an old number. So `n + 1` begins when `n` is acknowledged,
or was begun this long ago: a short segment costs one round trip, a live one none.
"""


class PublishStage(Enum):
    """Where a request stands: the first six wait for an answer, or for the loss of it."""

    __hash__ = object.__hash__  # by identity, as they compare: tables are asked often

    CREATE = "creating the channel"
    ASK = "asking for the next number"
    IDLE = "segment opened, no byte sent"
    FLOWING = "bytes sent, body open"
    ENDED = "body ended"
    DELETE = "deleting the channel"
    UNUSED = "segment given up before its first byte"
    ACKNOWLEDGED = "the server has the whole segment"
    CUT = "segment not acknowledged, and never will be"


class SegmentEvent(Enum):
    """What moves a segment from one stage to the next."""

    __hash__ = object.__hash__  # by identity, as they compare: tables are asked often

    BYTES = "its first byte leaves"
    END = "the end of its body leaves"
    GIVE_UP = "it was answered, or is not wanted, before its first byte"
    ACKNOWLEDGE = "a rule says ACKNOWLEDGED"
    CUT = "another rule"


SEGMENT: Final[dict[tuple[PublishStage, SegmentEvent], PublishStage]] = {
    (PublishStage.IDLE, SegmentEvent.BYTES): PublishStage.FLOWING,
    (PublishStage.IDLE, SegmentEvent.END): PublishStage.ENDED,
    (PublishStage.IDLE, SegmentEvent.GIVE_UP): PublishStage.UNUSED,
    (PublishStage.FLOWING, SegmentEvent.END): PublishStage.ENDED,
    (PublishStage.FLOWING, SegmentEvent.CUT): PublishStage.CUT,
    (PublishStage.ENDED, SegmentEvent.ACKNOWLEDGE): PublishStage.ACKNOWLEDGED,
    (PublishStage.ENDED, SegmentEvent.CUT): PublishStage.CUT,
}
"""Every way of a segment from one stage to another; a pair that is not listed can't happen."""


class PublishAction(Enum):
    """What the publisher does about it."""

    GO_ON = "go on"
    CREATE = "make the channel, then ask for the number"
    ASK = "ask for the next number"
    AGAIN = "try the same again, after a pause"
    ACKNOWLEDGED = "count the segment as delivered"
    SKIP = "count it uncertain, end it on the server, go on with a new number"
    FAIL = "raise"


PublishRule: TypeAlias = Rule[PublishAction]

_At = PublishStage
_Do = PublishAction

_GO_ON: Final = Rule(_Do.GO_ON, "")
_AGAIN: Final = Rule(_Do.AGAIN, "nothing was sent yet, so the same request is safe to repeat")
_SKIP: Final = Rule(_Do.SKIP, "at most once: what was sent may have arrived")
_GONE: Final = Rule(_Do.GO_ON, "it is gone, which is what was wanted")
_REFUSED: Final = Rule(_Do.FAIL, "the server refused: check the credentials", ChannelRefused)
_REJECTED: Final = Rule(
    _Do.FAIL, "the server rejected the request: is this a trickle channel?", ProtocolError
)
_CLOSED: Final = Rule(_Do.FAIL, "the channel was closed on the server", ChannelClosed)
_NO_CREATION: Final = Rule(
    _Do.FAIL, "the server does not let clients make channels", ChannelRefused
)

RULES: Final[dict[tuple[PublishStage, Answer], PublishRule]] = {
    # Creating answers 200 also where the channel exists; 404 where clients may not make any.
    (_At.CREATE, Answer.OK): Rule(_Do.ASK, "an existing channel goes on with its numbers"),
    (_At.CREATE, Answer.TERMINATED): _CLOSED,
    (_At.CREATE, Answer.NOT_FOUND): _NO_CREATION,
    (_At.CREATE, Answer.RESYNC): _REJECTED,
    (_At.CREATE, Answer.REFUSED): _REFUSED,
    (_At.CREATE, Answer.REJECTED): _REJECTED,
    (_At.CREATE, Answer.SERVER_ERROR): _AGAIN,
    (_At.CREATE, Answer.LOST): _AGAIN,
    (_At.CREATE, Answer.SILENT): _AGAIN,
    # A publisher may have been here before: the first number comes from the server, unless it is
    # known that the channel is fresh.
    (_At.ASK, Answer.OK): Rule(_Do.GO_ON, "the first POST there resets what was left open"),
    (_At.ASK, Answer.TERMINATED): _CLOSED,
    (_At.ASK, Answer.NOT_FOUND): Rule(_Do.CREATE, "the channel is missing", ChannelNotFound),
    (_At.ASK, Answer.RESYNC): _REJECTED,
    (_At.ASK, Answer.REFUSED): _REFUSED,
    (_At.ASK, Answer.REJECTED): _REJECTED,
    (_At.ASK, Answer.SERVER_ERROR): _AGAIN,
    (_At.ASK, Answer.LOST): _AGAIN,
    (_At.ASK, Answer.SILENT): _AGAIN,
    # An idle POST is answered when somebody else closed its segment: 200, without a byte read.
    (_At.IDLE, Answer.OK): Rule(_Do.ASK, "this number is closed; its body would be lost"),
    (_At.IDLE, Answer.TERMINATED): _CLOSED,
    (_At.IDLE, Answer.NOT_FOUND): Rule(_Do.CREATE, "the channel is gone", ChannelClosed),
    (_At.IDLE, Answer.RESYNC): Rule(_Do.ASK, "this number is not to be had"),
    (_At.IDLE, Answer.REFUSED): _REFUSED,
    (_At.IDLE, Answer.REJECTED): _REJECTED,
    (_At.IDLE, Answer.SERVER_ERROR): _AGAIN,
    (_At.IDLE, Answer.LOST): _AGAIN,
    (_At.IDLE, Answer.SILENT): _AGAIN,
    # Once a byte has left, only a 200 after the end of the body says that it arrived.
    (_At.FLOWING, Answer.OK): Rule(_Do.SKIP, "the server closed the segment under way"),
    (_At.FLOWING, Answer.TERMINATED): _CLOSED,
    (_At.FLOWING, Answer.NOT_FOUND): Rule(_Do.SKIP, "the channel is gone"),
    (_At.FLOWING, Answer.RESYNC): _SKIP,
    (_At.FLOWING, Answer.REFUSED): _REFUSED,
    (_At.FLOWING, Answer.REJECTED): _SKIP,
    (_At.FLOWING, Answer.SERVER_ERROR): _SKIP,
    (_At.FLOWING, Answer.LOST): _SKIP,
    (_At.FLOWING, Answer.SILENT): _SKIP,
    (_At.ENDED, Answer.OK): Rule(_Do.ACKNOWLEDGED, "the server has the whole segment"),
    (_At.ENDED, Answer.TERMINATED): _CLOSED,
    (_At.ENDED, Answer.NOT_FOUND): Rule(_Do.SKIP, "the channel is gone"),
    (_At.ENDED, Answer.RESYNC): _SKIP,
    (_At.ENDED, Answer.REFUSED): _REFUSED,
    (_At.ENDED, Answer.REJECTED): _SKIP,
    (_At.ENDED, Answer.SERVER_ERROR): _SKIP,
    (_At.ENDED, Answer.LOST): _SKIP,
    (_At.ENDED, Answer.SILENT): _SKIP,
    # Deleting a channel that is missing answers 400.
    (_At.DELETE, Answer.OK): _GO_ON,
    (_At.DELETE, Answer.TERMINATED): _GONE,
    (_At.DELETE, Answer.NOT_FOUND): _GONE,
    (_At.DELETE, Answer.RESYNC): _GONE,
    (_At.DELETE, Answer.REFUSED): _REFUSED,
    (_At.DELETE, Answer.REJECTED): _GONE,
    (_At.DELETE, Answer.SERVER_ERROR): _AGAIN,
    (_At.DELETE, Answer.LOST): _AGAIN,
    (_At.DELETE, Answer.SILENT): _AGAIN,
}


class PublishState:
    """The numbers of one publisher. `answered` looks an answer up and moves them."""

    def __init__(self, *, create: bool = False, fresh: bool = False) -> None:
        self.create = create
        self.stage: PublishStage | None = _At.CREATE if create else None if fresh else _At.ASK
        """The request that has to succeed before a segment can be opened; None when one can."""
        self.seq = 0
        """The number of the next segment to open."""
        self.reset = True
        """Whether the next segment to open closes what was left open before it."""
        self.closed = False
        self._floor = 0
        self._met = False

    def open(self) -> tuple[int, dict[str, str]]:
        """Take the next number; gives it and the headers that its POST carries."""
        seq = self.seq
        headers = {wire.RESET: "1"} if self.reset else {}
        self.seq += 1
        self.reset = False
        return seq, headers

    def withdraw(self, seq: int) -> None:
        """A segment that was opened has been given up without a byte: its number is free again."""
        self.seq = seq
        self.reset = True

    def answered(
        self,
        stage: PublishStage,
        answer: Answer,
        *,
        seq: int | None = None,
        next_seq: int | None = None,
    ) -> PublishRule:
        """What to do about `answer`; `seq` is the segment's number, `next_seq` what ASK told."""
        rule = RULES[stage, answer]
        if stage is _At.ASK and answer is Answer.OK:
            if next_seq is None:
                return _REJECTED
            # A number that was answered as closed stays closed, whatever the server tells next.
            self.seq = max(next_seq, self._floor)
            self.reset = self._met = True
            self.stage = None
            return rule
        match rule.action:
            case _Do.CREATE:
                if not self.create:
                    self.closed = self._met or rule.error is ChannelClosed
                    error = ChannelClosed if self.closed else rule.error
                    return Rule(_Do.FAIL, rule.why, error)
                self.stage = _At.CREATE
                self._floor = 0
            case _Do.ASK:
                self.stage = _At.ASK
                if seq is not None:
                    self._floor = max(self._floor, seq + 1)
            case _Do.AGAIN if stage is _At.IDLE and seq is not None:
                self.withdraw(seq)
            case _Do.SKIP if seq is not None:
                self._floor = max(self._floor, seq + 1)
                self.seq = max(self.seq, self._floor)
                self.reset = True
                if answer is Answer.NOT_FOUND:
                    # One who writes at once would never see the 404 before its first byte.
                    self.stage = _At.ASK
            case _Do.FAIL:
                self.closed = self.closed or answer is Answer.TERMINATED
            case _:
                pass
        return rule

    @staticmethod
    def settles_in(since_previous: float) -> float:
        """Seconds until a segment may send its first byte, `since_previous` seconds after that of
        the one before it, which is not acknowledged yet. 0 or less: now."""
        return ORDER_SETTLES - since_previous
