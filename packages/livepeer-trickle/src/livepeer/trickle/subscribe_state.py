"""The subscriber's side of the protocol, without I/O: what does an answer mean, what comes next?

`RULES` is the whole behaviour, `SubscribeState` the cursor that it moves. Nothing here waits.

Sources: go-livepeer's trickle server (470, the ring of five, `Lp-Trickle-Latest`) and the delivery
contract in `specs/trickle.md`: nothing doubled, what is skipped is counted, 470 is no failure.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from livepeer.trickle import wire
from livepeer.trickle.exceptions import (
    ChannelNotFound,
    ChannelRefused,
    ProtocolError,
    TrickleError,
)
from livepeer.trickle.types import GapPolicy, Start
from livepeer.trickle.wire import Answer

__all__ = ["RULES", "Action", "Rule", "Stage", "SubscribeState"]


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
    that has not been handed out, where that is known.
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
        self.resyncs_in_a_row = 0
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
                return self._arrived(rule, seq)
            case Stage.WAITING, Action.RESYNC:
                self._resync(latest)
            case Stage.WAITING, Action.END if rule.error is not None and not self.seen:
                return Rule(Action.FAIL, rule.why, rule.error)
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

    def _arrived(self, rule: Rule, seq: int | None) -> Rule:
        if seq is None or seq < 0:
            # Where a number was asked for, the answer is that segment; else it can't be known.
            if self.ask < 0:
                return _REJECTED
            seq = self.ask
        if self.expected is not None and seq > self.expected:
            self.gaps += seq - self.expected
        self.ask = self.expected = seq + 1
        self.resyncs_in_a_row = 0
        self.seen = True
        return rule

    def _resync(self, latest: int | None) -> None:
        self.seen = True
        row = self.resyncs_in_a_row
        self.resyncs_in_a_row += 1
        if latest is None or latest < 0:
            self.ask = wire.NEXT_WRITE
            return
        went_back = self.expected is not None and latest < self.expected
        target = latest
        if self.on_gap == "oldest":
            # The ring may have moved on meanwhile: each 470 in a row asks for a later one.
            target = latest - max(0, wire.RING - row)
        if went_back:
            # The numbers began anew (a publisher restarted at 0): what was expected means nothing.
            self.expected = None
        elif self.expected is not None:
            target = max(target, self.expected)
        self.ask = max(0, target)

    def _passed(self, latest: int | None) -> bool:
        return latest is not None and latest > self.current + 1
