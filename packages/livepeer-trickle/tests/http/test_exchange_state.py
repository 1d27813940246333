"""The table of an exchange's states."""

from livepeer.trickle.http.state import TRANSITIONS, ExchangeEvent, ExchangeState


def test_every_state_is_reached_and_an_exchange_can_be_lost_until_it_is_over() -> None:
    reached = {state for way in TRANSITIONS.values() for state in way.values()}
    assert set(TRANSITIONS) == set(ExchangeState) == reached
    over = {ExchangeState.DONE, ExchangeState.LOST}
    assert all(not TRANSITIONS[state] for state in over)
    assert all(ExchangeEvent.LOSS in TRANSITIONS[state] for state in set(ExchangeState) - over)


def test_a_request_is_sent_again_only_while_the_server_can_have_seen_nothing() -> None:
    again = [state for state, way in TRANSITIONS.items() if ExchangeEvent.STALE in way]
    assert again == [ExchangeState.SENT]


def test_an_event_changes_the_state_or_is_none() -> None:
    assert not [state for state, way in TRANSITIONS.items() if state in way.values()]
