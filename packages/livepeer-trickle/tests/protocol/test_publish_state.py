"""Each line of the publisher's table is one test, and so is each number that it moves."""

import itertools

import pytest

from livepeer.trickle.exceptions import (
    ChannelClosed,
    ChannelNotFound,
    ChannelRefused,
    ProtocolError,
    TrickleError,
)
from livepeer.trickle.protocol.publish_state import (
    ORDER_SETTLES,
    RULES,
    SEGMENT,
    PublishState,
    SegmentEvent,
)
from livepeer.trickle.protocol.publish_state import (
    PublishAction as Action,
)
from livepeer.trickle.protocol.publish_state import (
    PublishStage as Stage,
)
from livepeer.trickle.protocol.wire import RESET, Answer

_TABLE = """
    stage    answer        action        error
    CREATE   OK            ASK           -
    CREATE   TERMINATED    FAIL          ChannelClosed
    CREATE   NOT_FOUND     FAIL          ChannelRefused
    CREATE   RESYNC        FAIL          ProtocolError
    CREATE   REFUSED       FAIL          ChannelRefused
    CREATE   REJECTED      FAIL          ProtocolError
    CREATE   SERVER_ERROR  AGAIN         -
    CREATE   LOST          AGAIN         -
    CREATE   SILENT        AGAIN         -
    ASK      OK            GO_ON         -
    ASK      TERMINATED    FAIL          ChannelClosed
    ASK      NOT_FOUND     CREATE        ChannelNotFound
    ASK      RESYNC        FAIL          ProtocolError
    ASK      REFUSED       FAIL          ChannelRefused
    ASK      REJECTED      FAIL          ProtocolError
    ASK      SERVER_ERROR  AGAIN         -
    ASK      LOST          AGAIN         -
    ASK      SILENT        AGAIN         -
    IDLE     OK            ASK           -
    IDLE     TERMINATED    FAIL          ChannelClosed
    IDLE     NOT_FOUND     CREATE        ChannelClosed
    IDLE     RESYNC        ASK           -
    IDLE     REFUSED       FAIL          ChannelRefused
    IDLE     REJECTED      FAIL          ProtocolError
    IDLE     SERVER_ERROR  AGAIN         -
    IDLE     LOST          AGAIN         -
    IDLE     SILENT        AGAIN         -
    FLOWING  OK            SKIP          -
    FLOWING  TERMINATED    FAIL          ChannelClosed
    FLOWING  NOT_FOUND     SKIP          -
    FLOWING  RESYNC        SKIP          -
    FLOWING  REFUSED       FAIL          ChannelRefused
    FLOWING  REJECTED      SKIP          -
    FLOWING  SERVER_ERROR  SKIP          -
    FLOWING  LOST          SKIP          -
    FLOWING  SILENT        SKIP          -
    ENDED    OK            ACKNOWLEDGED  -
    ENDED    TERMINATED    FAIL          ChannelClosed
    ENDED    NOT_FOUND     SKIP          -
    ENDED    RESYNC        SKIP          -
    ENDED    REFUSED       FAIL          ChannelRefused
    ENDED    REJECTED      SKIP          -
    ENDED    SERVER_ERROR  SKIP          -
    ENDED    LOST          SKIP          -
    ENDED    SILENT        SKIP          -
    DELETE   OK            GO_ON         -
    DELETE   TERMINATED    GO_ON         -
    DELETE   NOT_FOUND     GO_ON         -
    DELETE   RESYNC        GO_ON         -
    DELETE   REFUSED       FAIL          ChannelRefused
    DELETE   REJECTED      GO_ON         -
    DELETE   SERVER_ERROR  AGAIN         -
    DELETE   LOST          AGAIN         -
    DELETE   SILENT        AGAIN         -
"""
_LINES = [tuple(line.split()) for line in _TABLE.strip().splitlines()[1:]]
_ERRORS: dict[str, type[TrickleError]] = {
    kind.__name__: kind for kind in (ChannelClosed, ChannelNotFound, ChannelRefused, ProtocolError)
}


def _ready(seq: int = 0, *, create: bool = False) -> PublishState:
    state = PublishState(create=create)
    if create:
        state.answered(Stage.CREATE, Answer.OK)
    state.answered(Stage.ASK, Answer.OK, next_seq=seq)
    return state


def test_every_answer_at_every_stage_has_a_rule() -> None:
    last = {Stage.UNUSED, Stage.ACKNOWLEDGED, Stage.CUT}
    assert set(RULES) == set(itertools.product(set(Stage) - last, Answer))
    assert len(_LINES) == len(RULES)


@pytest.mark.parametrize(("stage", "answer", "action", "error"), _LINES)
def test_the_line_of_the_table(stage: str, answer: str, action: str, error: str) -> None:
    rule = RULES[Stage[stage], Answer[answer]]
    assert rule.action is Action[action]
    assert rule.error is _ERRORS.get(error)


def test_the_first_number_comes_from_the_server_and_resets_what_was_left_open() -> None:
    state = PublishState()
    assert state.stage is Stage.ASK
    state.answered(Stage.ASK, Answer.OK, next_seq=7)
    assert state.stage is None
    assert state.open() == (7, {RESET: "1"})
    assert state.open() == (8, {})


def test_a_publisher_that_creates_asks_for_the_number_afterwards() -> None:
    state = PublishState(create=True)
    assert state.stage is Stage.CREATE
    state.answered(Stage.CREATE, Answer.OK)
    assert state.stage is Stage.ASK


def test_a_missing_channel_is_made_where_that_was_asked_for() -> None:
    state = PublishState(create=True)
    state.answered(Stage.CREATE, Answer.OK)
    assert state.answered(Stage.ASK, Answer.NOT_FOUND).action is Action.CREATE
    assert state.stage is Stage.CREATE


def test_a_missing_channel_is_an_error_elsewhere() -> None:
    rule = PublishState().answered(Stage.ASK, Answer.NOT_FOUND)
    assert (rule.action, rule.error) == (Action.FAIL, ChannelNotFound)


def test_a_channel_that_was_there_and_is_gone_has_been_closed() -> None:
    state = _ready()
    seq, _ = state.open()
    rule = state.answered(Stage.IDLE, Answer.NOT_FOUND, seq=seq)
    assert (rule.action, rule.error, state.closed) == (Action.FAIL, ChannelClosed, True)


def test_an_answer_without_a_number_is_no_trickle_server() -> None:
    rule = PublishState().answered(Stage.ASK, Answer.OK, next_seq=None)
    assert (rule.action, rule.error) == (Action.FAIL, ProtocolError)


def test_an_idle_segment_that_is_lost_is_opened_again_under_its_number() -> None:
    state = _ready(3)
    seq, _ = state.open()
    assert state.answered(Stage.IDLE, Answer.LOST, seq=seq).action is Action.AGAIN
    assert state.open() == (3, {RESET: "1"})


def test_a_number_that_was_closed_is_never_used_again_whatever_the_server_tells() -> None:
    state = _ready(3)
    seq, _ = state.open()
    assert state.answered(Stage.IDLE, Answer.OK, seq=seq).action is Action.ASK
    assert state.stage is Stage.ASK
    state.answered(Stage.ASK, Answer.OK, next_seq=3)
    assert state.open() == (4, {RESET: "1"})


def test_a_channel_that_is_made_anew_forgets_the_old_numbers() -> None:
    state = _ready(9, create=True)
    seq, _ = state.open()
    state.answered(Stage.IDLE, Answer.OK, seq=seq)
    state.answered(Stage.ASK, Answer.NOT_FOUND)
    state.answered(Stage.CREATE, Answer.OK)
    state.answered(Stage.ASK, Answer.OK, next_seq=0)
    assert state.open() == (0, {RESET: "1"})


@pytest.mark.parametrize("stage", [Stage.FLOWING, Stage.ENDED])
def test_a_segment_that_was_cut_is_skipped_and_reset_by_the_next(stage: Stage) -> None:
    state = _ready(3)
    cut, _ = state.open()
    ahead, _ = state.open()
    assert state.answered(stage, Answer.LOST, seq=cut).action is Action.SKIP
    state.withdraw(ahead)
    assert state.open() == (4, {RESET: "1"})
    assert state.open() == (5, {})


def test_an_acknowledged_segment_moves_nothing() -> None:
    state = _ready(3)
    seq, _ = state.open()
    assert state.answered(Stage.ENDED, Answer.OK, seq=seq).action is Action.ACKNOWLEDGED
    assert state.open() == (4, {})


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.FLOWING, Stage.ENDED])
def test_the_mark_of_the_end_closes_the_publisher(stage: Stage) -> None:
    state = _ready()
    seq, _ = state.open()
    assert state.answered(stage, Answer.TERMINATED, seq=seq).error is ChannelClosed
    assert state.closed


def test_a_segment_is_begun_once_and_is_settled_or_never_was() -> None:
    stages = {stage for stage, _ in SEGMENT}
    assert stages == {Stage.IDLE, Stage.FLOWING, Stage.ENDED}
    assert set(SEGMENT.values()) - stages == {
        Stage.UNUSED,
        Stage.ACKNOWLEDGED,
        Stage.CUT,
    }
    # What has bytes on their way can't be taken back, and only an ended one be acknowledged.
    assert [at for at, event in SEGMENT if event is SegmentEvent.GIVE_UP] == [Stage.IDLE]
    acknowledged = [at for at, event in SEGMENT if event is SegmentEvent.ACKNOWLEDGE]
    assert acknowledged == [Stage.ENDED]


def test_first_bytes_keep_their_order() -> None:
    assert PublishState.settles_in(0.0) == ORDER_SETTLES
    assert PublishState.settles_in(ORDER_SETTLES) <= 0
