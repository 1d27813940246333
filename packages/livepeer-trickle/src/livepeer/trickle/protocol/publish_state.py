"""The publisher's side of the protocol, without I/O: what does an answer mean, what comes next?

`RULES` is the whole behaviour: one line for each pair of "where a request stands" and "what came
back". `PublishState` holds the few numbers that the rules move. Nothing here waits.

Sources: go-livepeer's trickle server (numbers, resets, answers before a body ends) and the delivery
contract in `specs/trickle.md`: at most once; what was not acknowledged is counted, never repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from livepeer.trickle.exceptions import (
    ChannelClosed,
    ChannelNotFound,
    ChannelRefused,
    ProtocolError,
    TrickleError,
)
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.wire import Answer

ORDER_SETTLES: Final = 0.5
"""Seconds after which the first byte of a segment has surely arrived.

The server's next write follows first bytes, also backwards: were the first byte of `n + 1` to pass
the first byte of `n`, `/next` would tell an old number. So `n + 1` begins when `n` is acknowledged,
or was begun this long ago: a short segment costs one round trip, a live one none.
"""


class Stage(Enum):
    """Where a request stands when its answer (or the loss of it) comes."""

    CREATE = "creating the channel"
    ASK = "asking for the next number"
    IDLE = "segment opened, no byte sent"
    FLOWING = "bytes sent, body open"
    ENDED = "body ended"
    DELETE = "deleting the channel"


class Action(Enum):
    """What the publisher does about it."""

    GO_ON = "go on"
    CREATE = "make the channel, then ask for the number"
    ASK = "ask for the next number"
    AGAIN = "try the same again, after a pause"
    ACKNOWLEDGED = "count the segment as delivered"
    SKIP = "count it uncertain, end it on the server, go on with a new number"
    FAIL = "raise"


@dataclass(frozen=True, slots=True)
class Rule:
    action: Action
    why: str
    error: type[TrickleError] | None = None


_GO_ON: Final = Rule(Action.GO_ON, "")
_AGAIN: Final = Rule(Action.AGAIN, "nothing was sent yet, so the same request is safe to repeat")
_SKIP: Final = Rule(Action.SKIP, "at most once: what was sent may have arrived")
_GONE: Final = Rule(Action.GO_ON, "it is gone, which is what was wanted")
_REFUSED: Final = Rule(Action.FAIL, "the server refused: check the credentials", ChannelRefused)
_REJECTED: Final = Rule(
    Action.FAIL, "the server rejected the request: is this a trickle channel?", ProtocolError
)
_CLOSED: Final = Rule(Action.FAIL, "the channel was closed on the server", ChannelClosed)
_NO_CREATION: Final = Rule(
    Action.FAIL, "the server does not let clients make channels", ChannelRefused
)

RULES: Final[dict[tuple[Stage, Answer], Rule]] = {
    # Creating answers 200 also where the channel exists; 404 where clients may not make any.
    (Stage.CREATE, Answer.OK): Rule(Action.ASK, "an existing channel goes on with its numbers"),
    (Stage.CREATE, Answer.TERMINATED): _CLOSED,
    (Stage.CREATE, Answer.NOT_FOUND): _NO_CREATION,
    (Stage.CREATE, Answer.RESYNC): _REJECTED,
    (Stage.CREATE, Answer.REFUSED): _REFUSED,
    (Stage.CREATE, Answer.REJECTED): _REJECTED,
    (Stage.CREATE, Answer.SERVER_ERROR): _AGAIN,
    (Stage.CREATE, Answer.LOST): _AGAIN,
    (Stage.CREATE, Answer.SILENT): _AGAIN,
    # A publisher may have been here before: the first number always comes from the server.
    (Stage.ASK, Answer.OK): Rule(Action.GO_ON, "the first POST there resets what was left open"),
    (Stage.ASK, Answer.TERMINATED): _CLOSED,
    (Stage.ASK, Answer.NOT_FOUND): Rule(Action.CREATE, "the channel is missing", ChannelNotFound),
    (Stage.ASK, Answer.RESYNC): _REJECTED,
    (Stage.ASK, Answer.REFUSED): _REFUSED,
    (Stage.ASK, Answer.REJECTED): _REJECTED,
    (Stage.ASK, Answer.SERVER_ERROR): _AGAIN,
    (Stage.ASK, Answer.LOST): _AGAIN,
    (Stage.ASK, Answer.SILENT): _AGAIN,
    # An idle POST is answered when somebody else closed its segment: 200, without a byte read.
    (Stage.IDLE, Answer.OK): Rule(Action.ASK, "this number is closed; its body would be lost"),
    (Stage.IDLE, Answer.TERMINATED): _CLOSED,
    (Stage.IDLE, Answer.NOT_FOUND): Rule(Action.CREATE, "the channel is gone", ChannelClosed),
    (Stage.IDLE, Answer.RESYNC): Rule(Action.ASK, "this number is not to be had"),
    (Stage.IDLE, Answer.REFUSED): _REFUSED,
    (Stage.IDLE, Answer.REJECTED): _REJECTED,
    (Stage.IDLE, Answer.SERVER_ERROR): _AGAIN,
    (Stage.IDLE, Answer.LOST): _AGAIN,
    (Stage.IDLE, Answer.SILENT): _AGAIN,
    # Once a byte has left, only a 200 after the end of the body says that it arrived.
    (Stage.FLOWING, Answer.OK): Rule(Action.SKIP, "the server closed the segment under way"),
    (Stage.FLOWING, Answer.TERMINATED): _CLOSED,
    (Stage.FLOWING, Answer.NOT_FOUND): Rule(Action.SKIP, "the channel is gone"),
    (Stage.FLOWING, Answer.RESYNC): _SKIP,
    (Stage.FLOWING, Answer.REFUSED): _REFUSED,
    (Stage.FLOWING, Answer.REJECTED): _SKIP,
    (Stage.FLOWING, Answer.SERVER_ERROR): _SKIP,
    (Stage.FLOWING, Answer.LOST): _SKIP,
    (Stage.FLOWING, Answer.SILENT): _SKIP,
    (Stage.ENDED, Answer.OK): Rule(Action.ACKNOWLEDGED, "the server has the whole segment"),
    (Stage.ENDED, Answer.TERMINATED): _CLOSED,
    (Stage.ENDED, Answer.NOT_FOUND): Rule(Action.SKIP, "the channel is gone"),
    (Stage.ENDED, Answer.RESYNC): _SKIP,
    (Stage.ENDED, Answer.REFUSED): _REFUSED,
    (Stage.ENDED, Answer.REJECTED): _SKIP,
    (Stage.ENDED, Answer.SERVER_ERROR): _SKIP,
    (Stage.ENDED, Answer.LOST): _SKIP,
    (Stage.ENDED, Answer.SILENT): _SKIP,
    # Deleting a channel that is missing answers 400.
    (Stage.DELETE, Answer.OK): _GO_ON,
    (Stage.DELETE, Answer.TERMINATED): _GONE,
    (Stage.DELETE, Answer.NOT_FOUND): _GONE,
    (Stage.DELETE, Answer.RESYNC): _GONE,
    (Stage.DELETE, Answer.REFUSED): _REFUSED,
    (Stage.DELETE, Answer.REJECTED): _GONE,
    (Stage.DELETE, Answer.SERVER_ERROR): _AGAIN,
    (Stage.DELETE, Answer.LOST): _AGAIN,
    (Stage.DELETE, Answer.SILENT): _AGAIN,
}


class PublishState:
    """The numbers of one publisher. `answered` looks an answer up and moves them."""

    def __init__(self, *, create: bool = False) -> None:
        self.create = create
        self.stage: Stage | None = Stage.CREATE if create else Stage.ASK
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
        self, stage: Stage, answer: Answer, *, seq: int | None = None, next_seq: int | None = None
    ) -> Rule:
        """What to do about `answer`; `seq` is the segment's number, `next_seq` what ASK told."""
        rule = RULES[stage, answer]
        if stage is Stage.ASK and answer is Answer.OK:
            if next_seq is None:
                return _REJECTED
            # A number that was answered as closed stays closed, whatever the server tells next.
            self.seq = max(next_seq, self._floor)
            self.reset = self._met = True
            self.stage = None
            return rule
        match rule.action:
            case Action.CREATE:
                if not self.create:
                    self.closed = self._met or rule.error is ChannelClosed
                    error = ChannelClosed if self.closed else rule.error
                    return Rule(Action.FAIL, rule.why, error)
                self.stage = Stage.CREATE
                self._floor = 0
            case Action.ASK:
                self.stage = Stage.ASK
                if seq is not None:
                    self._floor = max(self._floor, seq + 1)
            case Action.AGAIN if stage is Stage.IDLE and seq is not None:
                self.withdraw(seq)
            case Action.SKIP if seq is not None:
                self._floor = max(self._floor, seq + 1)
                self.seq = max(self.seq, self._floor)
                self.reset = True
                if answer is Answer.NOT_FOUND:
                    # One who writes at once would never see the 404 before its first byte.
                    self.stage = Stage.ASK
            case Action.FAIL:
                self.closed = self.closed or answer is Answer.TERMINATED
            case _:
                pass
        return rule

    @staticmethod
    def settles_in(since_previous: float) -> float:
        """Seconds until a segment may send its first byte, `since_previous` seconds after that of
        the one before it, which is not acknowledged yet. 0 or less: now."""
        return ORDER_SETTLES - since_previous
