"""Each line of the subscriber's table is one test, and so is each move of its cursor."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.trickle.exceptions import (
    ChannelNotFound,
    ChannelRefused,
    ProtocolError,
    TrickleError,
)
from livepeer.trickle.protocol.subscribe_state import (
    RULES,
    SubscribeState,
)
from livepeer.trickle.protocol.subscribe_state import (
    SubscribeAction as Action,
)
from livepeer.trickle.protocol.subscribe_state import (
    SubscribeStage as Stage,
)
from livepeer.trickle.protocol.wire import CURRENT_WRITE, NEXT_WRITE, RING, Answer
from livepeer.trickle.types import GapPolicy

_TABLE = """
    stage     answer        action   error
    WAITING   OK            DELIVER  -
    WAITING   TERMINATED    END      -
    WAITING   NOT_FOUND     END      ChannelNotFound
    WAITING   RESYNC        RESYNC   -
    WAITING   REFUSED       FAIL     ChannelRefused
    WAITING   REJECTED      FAIL     ProtocolError
    WAITING   SERVER_ERROR  AGAIN    -
    WAITING   LOST          AGAIN    -
    WAITING   SILENT        REPEAT   -
    READING   OK            NEXT     -
    READING   LOST          RESUME   -
    READING   SILENT        PROBE    -
    RESUMING  OK            DELIVER  -
    RESUMING  TERMINATED    CUT      -
    RESUMING  NOT_FOUND     CUT      -
    RESUMING  RESYNC        CUT      -
    RESUMING  REFUSED       CUT      -
    RESUMING  REJECTED      CUT      -
    RESUMING  SERVER_ERROR  AGAIN    -
    RESUMING  LOST          AGAIN    -
    RESUMING  SILENT        AGAIN    -
    PROBING   OK            DELIVER  -
    PROBING   TERMINATED    CUT      -
    PROBING   NOT_FOUND     CUT      -
    PROBING   RESYNC        CUT      -
    PROBING   REFUSED       CUT      -
    PROBING   REJECTED      CUT      -
    PROBING   SERVER_ERROR  RESUME   -
    PROBING   LOST          RESUME   -
    PROBING   SILENT        RESUME   -
"""
_LINES = [tuple(line.split()) for line in _TABLE.strip().splitlines()[1:]]
_ERRORS: dict[str, type[TrickleError]] = {
    kind.__name__: kind for kind in (ChannelNotFound, ChannelRefused, ProtocolError)
}


def _reading(seq: int, on_gap: GapPolicy = "latest") -> SubscribeState:
    """A reader that has just got segment `seq`."""
    state = SubscribeState(on_gap=on_gap)
    state.answered(Stage.WAITING, Answer.OK, seq=seq)
    return state


def test_every_answer_that_can_come_has_a_rule() -> None:
    whole = set(itertools.product(set(Stage) - {Stage.READING}, Answer))
    # A body has no status: it ends, breaks off, or is silent.
    body = {(Stage.READING, answer) for answer in (Answer.OK, Answer.LOST, Answer.SILENT)}
    assert set(RULES) == whole | body
    assert len(_LINES) == len(RULES)


@pytest.mark.parametrize(("stage", "answer", "action", "error"), _LINES)
def test_the_line_of_the_table(stage: str, answer: str, action: str, error: str) -> None:
    rule = RULES[Stage[stage], Answer[answer]]
    assert rule.action is Action[action]
    assert rule.error is _ERRORS.get(error)


def test_a_reader_begins_where_it_is_told() -> None:
    assert SubscribeState("next").ask == NEXT_WRITE
    assert SubscribeState("current").ask == CURRENT_WRITE
    assert SubscribeState(4).ask == 4


@pytest.mark.parametrize("start", ["latest", -1, True, 1.5, None, 2**63])
def test_another_beginning_is_refused(start: object) -> None:
    with pytest.raises(ValueError, match="start is"):
        SubscribeState(start)  # type: ignore[arg-type]


def test_another_gap_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="on_gap is"):
        SubscribeState(on_gap="skip")  # type: ignore[arg-type]


def test_after_minus_one_the_number_comes_from_the_server() -> None:
    state = SubscribeState("next")
    state.answered(Stage.WAITING, Answer.OK, seq=12)
    assert (state.current, state.ask, state.gaps) == (12, 13, 0)


def test_without_a_number_in_the_answer_it_is_the_one_that_was_asked_for() -> None:
    state = _reading(3)
    assert state.answered(Stage.WAITING, Answer.OK).action is Action.DELIVER
    assert state.ask == 5


def test_without_any_number_it_is_no_trickle_server() -> None:
    assert SubscribeState("next").answered(Stage.WAITING, Answer.OK).error is ProtocolError


def test_missing_at_first_is_an_error_and_afterwards_the_end() -> None:
    rule = SubscribeState().answered(Stage.WAITING, Answer.NOT_FOUND)
    assert (rule.action, rule.error) == (Action.FAIL, ChannelNotFound)
    assert _reading(0).answered(Stage.WAITING, Answer.NOT_FOUND).action is Action.END


def test_470_sends_media_to_the_next_write() -> None:
    state = _reading(3)
    state.answered(Stage.WAITING, Answer.RESYNC, latest=20)
    assert state.ask == 20
    state.answered(Stage.WAITING, Answer.OK, seq=20)
    assert state.gaps == 16


def test_470_sends_records_to_the_oldest_that_the_ring_can_have_then_later() -> None:
    state = _reading(3, "oldest")
    asked, gaps = [], []
    for _ in range(RING + 2):
        state.answered(Stage.WAITING, Answer.RESYNC, latest=20)
        asked.append(state.ask)
        gaps.append(state.gaps)
    assert asked == [15, 16, 17, 18, 19, 20, 20]
    assert gaps == [11, 12, 13, 14, 15, 16, 16]  # what is gone is counted when that is known
    state.answered(Stage.WAITING, Answer.OK, seq=20)
    assert state.gaps == 16


def _running_away(state: SubscribeState, tries: int) -> int:
    """470s of a channel that moves by more than its ring between each two; gives its next write."""
    latest = state.current + 1
    for _ in range(tries):
        latest += 2 * RING
        state.answered(Stage.WAITING, Answer.RESYNC, latest=latest)
    return latest


def test_a_channel_that_runs_away_is_read_where_it_is_and_never_where_nothing_is_yet() -> None:
    state = _reading(3, "oldest")
    latest = _running_away(state, RING + 3)
    assert state.ask == CURRENT_WRITE
    # The one begun last is held until those before it are gone, and what is gone is counted.
    rule = state.answered(Stage.WAITING, Answer.OK, seq=latest + 6, latest=latest + 7)
    assert (rule.action, state.held, state.ask) == (Action.HOLD, latest + 6, latest + 2)
    state.answered(Stage.WAITING, Answer.RESYNC, latest=latest + 30)
    assert state.ask == latest + 6
    rule = state.answered(Stage.WAITING, Answer.OK, seq=latest + 6, latest=latest + 7)
    assert (rule.action, state.held) == (Action.DELIVER, None)
    assert state.gaps == latest + 6 - 4


@pytest.mark.parametrize("moved", [0, 7])
def test_the_tail_of_a_burst_is_read_from_the_oldest_that_the_ring_has(moved: int) -> None:
    state = _reading(3, "oldest")
    latest = _running_away(state, RING + 3) + moved
    rule = state.answered(Stage.WAITING, Answer.OK, seq=latest - 1, latest=latest)
    assert (rule.action, state.ask) == (Action.HOLD, latest - RING)
    state.answered(Stage.WAITING, Answer.RESYNC, latest=latest)
    assert state.ask == latest - RING + 1
    for seq in range(state.ask, latest):
        assert state.answered(Stage.WAITING, Answer.OK, seq=seq, latest=latest).action is (
            Action.DELIVER
        )
    assert state.held is None
    assert state.gaps == latest - (RING - 1) - 4


def test_a_held_segment_is_handed_out_where_the_channel_ends_meanwhile() -> None:
    state = _reading(3, "oldest")
    latest = _running_away(state, RING + 3)
    state.answered(Stage.WAITING, Answer.OK, seq=latest - 1, latest=latest)
    assert state.answered(Stage.WAITING, Answer.NOT_FOUND).action is Action.RESYNC
    assert state.ask == latest - 1
    rule = state.answered(Stage.WAITING, Answer.OK, seq=latest - 1, latest=latest)
    assert rule.action is Action.DELIVER
    assert state.answered(Stage.WAITING, Answer.NOT_FOUND).action is Action.END
    assert state.gaps == latest - 1 - 4


@pytest.mark.parametrize(("seq", "latest"), [(None, 20), (4, 20), (None, None)])
def test_what_was_not_read_at_the_end_of_the_channel_is_counted(
    seq: int | None, latest: int | None
) -> None:
    state = _reading(3, "oldest")
    if seq is None:  # it was about to read the ring
        state.answered(Stage.WAITING, Answer.RESYNC, latest=20)
    answer = Answer.NOT_FOUND if latest is None else Answer.TERMINATED
    assert state.answered(Stage.WAITING, answer, seq=seq, latest=latest).action is Action.END
    # Where the end answers number 4, that one was there, and empty.
    assert state.gaps == (16 if seq is None else 15)


def test_an_end_right_after_the_last_segment_is_no_gap() -> None:
    state = _reading(3)
    state.answered(Stage.WAITING, Answer.TERMINATED, seq=4, latest=4)
    assert state.gaps == 0


def test_470_never_sends_a_reader_back_to_what_it_had() -> None:
    state = _reading(18, "oldest")
    state.answered(Stage.WAITING, Answer.RESYNC, latest=20)
    assert (state.ask, state.gaps) == (20, 1)  # 19 was refused


@pytest.mark.parametrize(("on_gap", "ask"), [("latest", 2), ("oldest", 0)])
def test_numbers_that_began_anew_are_followed_back(on_gap: GapPolicy, ask: int) -> None:
    state = _reading(50, on_gap)
    state.answered(Stage.WAITING, Answer.RESYNC, latest=2)
    assert state.ask == ask
    state.answered(Stage.WAITING, Answer.OK, seq=ask)
    assert state.gaps == 0


def test_470_without_a_number_asks_for_the_next_write() -> None:
    state = _reading(3)
    state.answered(Stage.WAITING, Answer.RESYNC)
    assert state.ask == NEXT_WRITE


def test_an_asked_number_that_is_gone_counts_as_a_gap_from_there() -> None:
    state = SubscribeState(2)
    state.answered(Stage.WAITING, Answer.RESYNC, latest=9)
    state.answered(Stage.WAITING, Answer.OK, seq=9)
    assert state.gaps == 7


def test_another_segment_than_the_broken_one_cuts_it() -> None:
    state = _reading(3)
    assert state.answered(Stage.RESUMING, Answer.OK, seq=3).action is Action.DELIVER
    assert state.answered(Stage.RESUMING, Answer.OK, seq=8).action is Action.CUT


def test_a_silent_segment_is_cut_only_when_a_later_one_has_begun() -> None:
    state = _reading(3)
    assert state.answered(Stage.PROBING, Answer.OK, latest=4).action is Action.DELIVER
    assert state.answered(Stage.PROBING, Answer.OK, latest=5).action is Action.CUT


@given(
    st.sampled_from(["latest", "oldest"]),
    st.lists(st.integers(0, 12), max_size=60),
    st.booleans(),
)
def test_nothing_is_doubled_all_is_counted_and_the_tail_is_read(
    on_gap: GapPolicy, moves: list[int], pending: bool
) -> None:
    """A ring that moves by so many segments before each answer, and then stands still."""
    state = SubscribeState(0, on_gap)
    latest, handed_out, held = 0, [], None
    kept = RING - 1 if pending else RING  # a next write that somebody waits for takes a slot
    for move in moves + [0] * 4 * RING:
        latest += move
        if state.held is not None and state.ask == state.held:
            seq, told, held = *held, None  # type: ignore[misc]  # it is in hand, nobody is asked
        else:
            seq, told = (latest - 1 if state.ask == CURRENT_WRITE else state.ask), latest
        if seq >= latest:
            continue  # it waits for what is not written yet
        if seq < latest - kept and told == latest:
            state.answered(Stage.WAITING, Answer.RESYNC, latest=latest)
        elif state.answered(Stage.WAITING, Answer.OK, seq=seq, latest=told).action is Action.HOLD:
            held = seq, told
        else:
            handed_out.append(seq)
        assert state.expected == state.gaps + len(handed_out)
    assert handed_out == sorted(set(handed_out))
    assert state.ask == state.expected == latest
    if on_gap == "oldest":
        assert handed_out[-kept:] == list(range(max(0, latest - kept), latest))
