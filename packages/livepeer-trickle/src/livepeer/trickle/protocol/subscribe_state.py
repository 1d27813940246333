"""The subscriber's side of the protocol, without I/O: what does an answer mean, what comes next?

`RULES` is the whole behaviour, `SubscribeState` the cursor that it moves. Nothing here waits.

Sources: go-livepeer's trickle server (470, the ring of five, `Lp-Trickle-Latest`) and the delivery
contract in `specs/trickle.md`: nothing doubled, what is skipped is counted, 470 is no failure.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

from livepeer.trickle.exceptions import (
    ChannelNotFound,
    ChannelRefused,
    ProtocolError,
)
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.rule import Rule
from livepeer.trickle.protocol.wire import Answer
from livepeer.trickle.types import GapPolicy, Start


class SubscribeStage(Enum):
    """Where a request stands when its answer (or the loss of it) comes."""

    __hash__ = object.__hash__  # by identity, as they compare: tables are asked often

    WAITING = "a segment was asked for"
    READING = "its bytes are coming"
    RESUMING = "it was asked for again, to read the rest"
    PROBING = "it was silent, so the next number was asked for"


class SubscribeAction(Enum):
    """What the subscriber does about it."""

    DELIVER = "hand out its bytes, ask for the next segment meanwhile"
    NEXT = "go on with the next segment"
    RESYNC = "go where the server stands, count what is skipped"
    HOLD = "keep it in hand, ask for those before it first"
    AGAIN = "ask the same again, after a pause"
    REPEAT = "ask the same again at once, on a fresh connection; no failure"
    RESUME = "ask for this segment again, skip what was handed out"
    PROBE = "ask the server whether the channel lives and where it stands"
    CUT = "this segment ends here, damaged; go on with the next"
    END = "the channel has ended"
    FAIL = "raise"


SubscribeRule: TypeAlias = Rule[SubscribeAction]

_At = SubscribeStage
_Do = SubscribeAction

_REFUSED: Final = Rule(_Do.FAIL, "the server refused: check the credentials", ChannelRefused)
_REJECTED: Final = Rule(
    _Do.FAIL, "the server rejected the request: is this a trickle channel?", ProtocolError
)
_AGAIN: Final = Rule(_Do.AGAIN, "reading changes nothing, so it is safe to repeat")
_CUT: Final = Rule(_Do.CUT, "the rest of this segment is not to be had any more")
_END: Final = Rule(_Do.END, "the channel was closed")
_RESUME: Final = Rule(_Do.RESUME, "the ring still has it, from its first byte")
_HOLD: Final = Rule(_Do.HOLD, "the ring may have older ones")
_HELD: Final = Rule(_Do.RESYNC, "the channel was closed, one of its segments is in hand")

RULES: Final[dict[tuple[SubscribeStage, Answer], SubscribeRule]] = {
    # An empty 200 without the mark of the end is a skipped segment: DELIVER hands out no bytes.
    (_At.WAITING, Answer.OK): Rule(_Do.DELIVER, ""),
    (_At.WAITING, Answer.TERMINATED): _END,
    # A reader that had bytes can't see the end of the channel: the next GET is 404.
    (_At.WAITING, Answer.NOT_FOUND): Rule(_Do.END, "the channel is missing", ChannelNotFound),
    (_At.WAITING, Answer.RESYNC): Rule(_Do.RESYNC, "the channel lives, this number does not"),
    (_At.WAITING, Answer.REFUSED): _REFUSED,
    (_At.WAITING, Answer.REJECTED): _REJECTED,
    (_At.WAITING, Answer.SERVER_ERROR): _AGAIN,
    (_At.WAITING, Answer.LOST): _AGAIN,
    # A waiting GET hears nothing until the first byte, for ever: a quiet channel is no failure.
    (_At.WAITING, Answer.SILENT): Rule(_Do.REPEAT, "the connection may be dead"),
    (_At.READING, Answer.OK): Rule(_Do.NEXT, "the body ended"),
    (_At.READING, Answer.LOST): _RESUME,
    # A publisher that drops leaves its segment open: its readers would wait for ever.
    (_At.READING, Answer.SILENT): Rule(_Do.PROBE, "slow, or left by its publisher?"),
    (_At.RESUMING, Answer.OK): Rule(_Do.DELIVER, "the rest of it"),
    (_At.RESUMING, Answer.TERMINATED): _CUT,
    (_At.RESUMING, Answer.NOT_FOUND): _CUT,
    (_At.RESUMING, Answer.RESYNC): _CUT,
    (_At.RESUMING, Answer.REFUSED): _CUT,
    (_At.RESUMING, Answer.REJECTED): _CUT,
    (_At.RESUMING, Answer.SERVER_ERROR): _AGAIN,
    (_At.RESUMING, Answer.LOST): _AGAIN,
    (_At.RESUMING, Answer.SILENT): _AGAIN,
    # `passed` in SubscribeState.answered turns DELIVER into CUT where a later segment has begun.
    (_At.PROBING, Answer.OK): Rule(_Do.DELIVER, "the channel lives: wait on"),
    (_At.PROBING, Answer.TERMINATED): _CUT,
    (_At.PROBING, Answer.NOT_FOUND): _CUT,
    (_At.PROBING, Answer.RESYNC): _CUT,
    (_At.PROBING, Answer.REFUSED): _CUT,
    (_At.PROBING, Answer.REJECTED): _CUT,
    (_At.PROBING, Answer.SERVER_ERROR): _RESUME,
    (_At.PROBING, Answer.LOST): _RESUME,
    (_At.PROBING, Answer.SILENT): _RESUME,
}


class SubscribeState:
    """The cursor of one subscriber.

    `ask` is the number to ask for next (or `NEXT_WRITE`, `CURRENT_WRITE`), `expected` the first one
    that was neither handed out nor counted in `gaps`, where that is known.

    Where the oldest segment of the ring is to be had, it is looked for: each 470 tells the next
    write, before which the ring has five at most. While the channel moves on between two answers,
    a later one is asked for each time, in the end the one begun last, which always is there. What
    comes is held until each one before it was handed out or refused: so the tail of a burst is read
    whole, and a burst that goes on is read where it is.
    """

    def __init__(self, start: Start = "next", on_gap: GapPolicy = "latest") -> None:
        if isinstance(start, bool) or not (start in ("current", "next") or isinstance(start, int)):
            raise ValueError(f"start is 'current', 'next' or a number from 0, not {start!r}")
        if isinstance(start, int) and not 0 <= start <= wire.MAX_SEQ:
            raise ValueError(f"start is 'current', 'next' or a number from 0, not {start!r}")
        if on_gap not in ("latest", "oldest"):
            raise ValueError(f"on_gap is 'latest' or 'oldest', not {on_gap!r}")
        self.on_gap = on_gap
        self.ask: int
        self.expected: int | None = None
        if isinstance(start, int):
            self.ask = self.expected = start
        else:
            self.ask = wire.NEXT_WRITE if start == "next" else wire.CURRENT_WRITE
        self.gaps = 0
        """Numbers that were passed over and will never be handed out."""
        self.odd = 0
        """Answers in a row that named no number, or another than the one asked for."""
        self.resyncs_in_a_row = 0
        self.held: int | None = None
        """The segment in hand that waits for those before it."""
        self._told: int | None = None
        """The next write as the last 470 told it, until a segment comes."""
        self.seen = False
        """Whether the channel has ever answered with a segment or a 470: 404 is its end then."""

    def answered(
        self,
        stage: SubscribeStage,
        answer: Answer,
        *,
        seq: int | None = None,
        latest: int | None = None,
    ) -> SubscribeRule:
        """What to do about `answer`, whose headers told `seq` and `latest`; moves the cursor."""
        rule = RULES[stage, answer]
        match stage, rule.action:
            case _At.WAITING, _Do.DELIVER:
                return self._arrived(rule, seq, latest)
            case _At.WAITING, _Do.RESYNC:
                self._resync(latest)
            case _At.WAITING, _Do.END if rule.error is not None and not self.seen:
                return Rule(_Do.FAIL, rule.why, rule.error)
            case _At.WAITING, _Do.END if self.held is not None:
                self._skip(self.held)
                self.ask = self.held
                return _HELD
            case _At.WAITING, _Do.END:
                self._ended(seq, latest)
            case _At.RESUMING, _Do.DELIVER if seq is not None and seq != self.current:
                return _CUT
            case _At.PROBING, _Do.DELIVER if self._passed(latest):
                return Rule(_Do.CUT, "its publisher left it and began a later one")
            case _:
                pass
        return rule

    @property
    def current(self) -> int:
        """The number of the segment that was handed out last."""
        return self.ask - 1

    def _arrived(self, rule: SubscribeRule, seq: int | None, latest: int | None) -> SubscribeRule:
        if seq is None or seq < 0:
            # Where a number was asked for, the answer is that segment; else it can't be known.
            if self.ask < 0:
                return _REJECTED
            seq = self.ask
            self.odd += 1
        elif 0 <= self.ask != seq:
            self.odd += 1
        else:
            self.odd = 0
        if self._told is not None and self.held is None and self.ask != self.expected:
            self._skip((seq if latest is None else latest) - wire.RING)
            assert self.expected is not None
            if seq > self.expected:
                self.held, self.ask = seq, self.expected
                return _HOLD
        if self.held is not None and seq >= self.held:
            self.held = None
        self._skip(seq)
        self.ask = self.expected = seq + 1
        self.resyncs_in_a_row = 0
        self._told = None
        self.seen = True
        return rule

    def _resync(self, latest: int | None) -> None:
        self.seen = True
        row = self.resyncs_in_a_row
        self.resyncs_in_a_row += 1
        told, self._told = self._told, None
        if latest is None or latest < 0:
            self.ask = wire.NEXT_WRITE
            return
        if self.expected is not None and latest < self.expected:
            # The numbers began anew (a publisher restarted at 0): what was expected means nothing.
            self.expected = self.held = None
        if self.on_gap == "latest":
            self._skip(latest)
            self.ask = latest
            return
        self._told = latest
        # What was refused is gone, and what is older; five segments are all that the ring has.
        gone = max(0, latest - wire.RING, self.ask + 1 if self.ask < latest else 0)
        self._skip(gone if self.held is None else min(gone, self.held))
        assert self.expected is not None
        if latest == told or self.expected >= latest or self.held is not None:
            self.ask = self.expected
        elif row < wire.RING:
            self.ask = max(self.expected, latest - wire.RING + row)
        else:
            self.ask = wire.CURRENT_WRITE

    def _ended(self, seq: int | None, latest: int | None) -> None:
        """What was written and not handed out before the end is a gap too."""
        if self.expected is None:
            return
        if seq == self.expected:
            self.expected += 1  # the one asked for: it never had a byte
        last = latest if latest is not None else self._told
        if last is not None:
            self._skip(last)

    def _skip(self, seq: int) -> None:
        """Go on at `seq`; what lies before it is counted."""
        if self.expected is not None:
            self.gaps += max(0, seq - self.expected)
            seq = max(seq, self.expected)
        self.expected = max(0, seq)

    def _passed(self, latest: int | None) -> bool:
        return latest is not None and latest > self.current + 1
