"""The states of an exchange, and every way from one to another.

One state for the whole exchange, as in httpcore, and one table of all its transitions, as in h11's
`_state.py`. How far an answer has been read, byte for byte, is `ResponseParser`'s business.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class ExchangeState(Enum):
    __hash__ = object.__hash__  # by identity, as they compare: tables are asked often

    CONNECTING = "waits for a connection: nothing has left"
    SENT = "its head has left, no byte of a body, and no byte has come back"
    COMMITTED = "its server may act on it, or bytes have come: it can't be sent again unseen"
    ANSWERED = "the head of the answer is there"
    DONE = "the answer is whole"
    LOST = "the connection broke, or it was given up"


class ExchangeEvent(Enum):
    __hash__ = object.__hash__  # by identity, as they compare: tables are asked often

    CONNECTED = "a connection took its head"
    STALE = "the connection had been used before, and was closed meanwhile"
    BODY = "bytes or the end of its body leave, or all of a request that has effects"
    BYTES = "bytes came that are no whole head"
    HEAD = "the head of the answer came"
    COMPLETE = "the end of the answer came"
    LOSS = "the connection broke, or the caller gives up"


TRANSITIONS: Final[dict[ExchangeState, dict[ExchangeEvent, ExchangeState]]] = {
    ExchangeState.CONNECTING: {
        ExchangeEvent.CONNECTED: ExchangeState.SENT,
        ExchangeEvent.LOSS: ExchangeState.LOST,
    },
    ExchangeState.SENT: {
        # Only here is a second try safe: the server has seen nothing, or was gone before.
        ExchangeEvent.STALE: ExchangeState.CONNECTING,
        ExchangeEvent.BODY: ExchangeState.COMMITTED,
        ExchangeEvent.BYTES: ExchangeState.COMMITTED,
        ExchangeEvent.HEAD: ExchangeState.ANSWERED,
        ExchangeEvent.COMPLETE: ExchangeState.DONE,
        ExchangeEvent.LOSS: ExchangeState.LOST,
    },
    ExchangeState.COMMITTED: {
        ExchangeEvent.HEAD: ExchangeState.ANSWERED,
        ExchangeEvent.COMPLETE: ExchangeState.DONE,
        ExchangeEvent.LOSS: ExchangeState.LOST,
    },
    ExchangeState.ANSWERED: {
        ExchangeEvent.COMPLETE: ExchangeState.DONE,
        ExchangeEvent.LOSS: ExchangeState.LOST,
    },
    ExchangeState.DONE: {},
    ExchangeState.LOST: {},
}
"""A pair that is not listed can't happen; an event that would change nothing is none."""
