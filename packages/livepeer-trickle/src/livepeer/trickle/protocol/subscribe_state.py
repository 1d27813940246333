"""The subscriber's side of the protocol, without I/O: what does an answer mean, what comes next?

`RULES` is the whole behaviour, `SubscribeState` the cursor that it moves. Nothing here waits.

Sources: go-livepeer's trickle server (470, the ring of five, `Lp-Trickle-Latest`) and the delivery
contract in `specs/trickle.md`: nothing doubled, what is skipped is counted, 470 is no failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from livepeer.trickle.exceptions import (
    ChannelNotFound,
    ChannelRefused,
    ProtocolError,
    TrickleError,
)
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.wire import Answer
from livepeer.trickle.types import GapPolicy, Start


class Stage(Enum):
    """Where a request stands when its answer (or the loss of it) comes."""

    WAITING = "a segment was asked for"
    READING = "its bytes are coming"
    RESUMING = "it was asked for again, to read the rest"
    PROBING = "it was silent, so the next number was asked for"


class Action(Enum):
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


@dataclass(frozen=True, slots=True)
class Rule:
    action: Action
    why: str
    error: type[TrickleError] | None = None


_REFUSED: Final = Rule(Action.FAIL, "the server refused: check the credentials", ChannelRefused)
_REJECTED: Final = Rule(
    Action.FAIL, "the server rejected the request: is this a trickle channel?", ProtocolError
)
_AGAIN: Final = Rule(Action.AGAIN, "reading changes nothing, so it is safe to repeat")
_CUT: Final = Rule(Action.CUT, "the rest of this segment is not to be had any more")
_END: Final = Rule(Action.END, "the channel was closed")
_RESUME: Final = Rule(Action.RESUME, "the ring still has it, from its first byte")
_HOLD: Final = Rule(Action.HOLD, "the ring may have older ones")
_HELD: Final = Rule(Action.RESYNC, "the channel was closed, one of its segments is in hand")

RULES: Final[dict[tuple[Stage, Answer], Rule]] = {
    # An empty 200 without the mark of the end is a skipped segment: DELIVER hands out no bytes.
    (Stage.WAITING, Answer.OK): Rule(Action.DELIVER, ""),
    (Stage.WAITING, Answer.TERMINATED): _END,
    # A reader that had bytes can't see the end of the channel: the next GET is 404.
    (Stage.WAITING, Answer.NOT_FOUND): Rule(Action.END, "the channel is missing", ChannelNotFound),
    (Stage.WAITING, Answer.RESYNC): Rule(Action.RESYNC, "the channel lives, this number does not"),
    (Stage.WAITING, Answer.REFUSED): _REFUSED,
    (Stage.WAITING, Answer.REJECTED): _REJECTED,
    (Stage.WAITING, Answer.SERVER_ERROR): _AGAIN,
    (Stage.WAITING, Answer.LOST): _AGAIN,
    # A waiting GET hears nothing until the first byte, for ever: a quiet channel is no failure.
    (Stage.WAITING, Answer.SILENT): Rule(Action.REPEAT, "the connection may be dead"),
    (Stage.READING, Answer.OK): Rule(Action.NEXT, "the body ended"),
    (Stage.READING, Answer.LOST): _RESUME,
    # A publisher that drops leaves its segment open: its readers would wait for ever.
    (Stage.READING, Answer.SILENT): Rule(Action.PROBE, "slow, or left by its publisher?"),
    (Stage.RESUMING, Answer.OK): Rule(Action.DELIVER, "the rest of it"),
    (Stage.RESUMING, Answer.TERMINATED): _CUT,
    (Stage.RESUMING, Answer.NOT_FOUND): _CUT,
    (Stage.RESUMING, Answer.RESYNC): _CUT,
    (Stage.RESUMING, Answer.REFUSED): _CUT,
    (Stage.RESUMING, Answer.REJECTED): _CUT,
    (Stage.RESUMING, Answer.SERVER_ERROR): _AGAIN,
    (Stage.RESUMING, Answer.LOST): _AGAIN,
    (Stage.RESUMING, Answer.SILENT): _AGAIN,
    # `passed` in SubscribeState.answered turns DELIVER into CUT where a later segment has begun.
    (Stage.PROBING, Answer.OK): Rule(Action.DELIVER, "the channel lives: wait on"),
    (Stage.PROBING, Answer.TERMINATED): _CUT,
    (Stage.PROBING, Answer.NOT_FOUND): _CUT,
    (Stage.PROBING, Answer.RESYNC): _CUT,
    (Stage.PROBING, Answer.REFUSED): _CUT,
    (Stage.PROBING, Answer.REJECTED): _CUT,
    (Stage.PROBING, Answer.SERVER_ERROR): _RESUME,
    (Stage.PROBING, Answer.LOST): _RESUME,
    (Stage.PROBING, Answer.SILENT): _RESUME,
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
        stage: Stage,
        answer: Answer,
        *,
        seq: int | None = None,
        latest: int | None = None,
    ) -> Rule:
        """What to do about `answer`, whose headers told `seq` and `latest`; moves the cursor."""
        rule = RULES[stage, answer]
        match stage, rule.action:
            case Stage.WAITING, Action.DELIVER:
                return self._arrived(rule, seq, latest)
            case Stage.WAITING, Action.RESYNC:
                self._resync(latest)
            case Stage.WAITING, Action.END if rule.error is not None and not self.seen:
                return Rule(Action.FAIL, rule.why, rule.error)
            case Stage.WAITING, Action.END if self.held is not None:
                self._skip(self.held)
                self.ask = self.held
                return _HELD
            case Stage.WAITING, Action.END:
                self._ended(seq, latest)
            case Stage.RESUMING, Action.DELIVER if seq is not None and seq != self.current:
                return _CUT
            case Stage.PROBING, Action.DELIVER if self._passed(latest):
                return Rule(Action.CUT, "its publisher left it and began a later one")
            case _:
                pass
        return rule

    @property
    def current(self) -> int:
        """The number of the segment that was handed out last."""
        return self.ask - 1

    def _arrived(self, rule: Rule, seq: int | None, latest: int | None) -> Rule:
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
