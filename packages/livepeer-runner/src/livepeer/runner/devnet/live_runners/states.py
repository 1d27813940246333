"""The life of a registered runner: its states, what moves it, and what is let in in each."""

from __future__ import annotations

from enum import Enum, auto


class RunnerState(Enum):
    """Where a runner is in its life."""

    READY = auto()
    """Its status is `ready` (or empty): it is found and called."""
    HIDDEN = auto()
    """Its status is anything else, or its health check failed: discovery does not show it, and
    requests of running sessions are answered 404."""
    SILENT = auto()
    """No heartbeat for the TTL, and not swept yet: its id is held, even against itself."""
    GONE = auto()
    """Swept or unregistered; the id is free."""


class RunnerEvent(Enum):
    """What moves a runner from one state to another."""

    SAYS_READY = auto()
    """A heartbeat with status `ready`, or a health check that passed."""
    SAYS_OTHER = auto()
    """A heartbeat with another status, or a health check that failed."""
    TTL_PASSED = auto()
    SWEPT = auto()
    UNREGISTERED = auto()


class Ask(Enum):
    """What is asked of a runner."""

    HEARTBEAT = auto()
    UNREGISTER = auto()
    DISCOVER = auto()
    RESERVE = auto()
    USE = auto()
    """A request for a session, or a request of the runner about it."""
    RELEASE = auto()


_S, _E = RunnerState, RunnerEvent

TRANSITIONS: dict[RunnerState, dict[RunnerEvent, RunnerState]] = {
    _S.READY: {
        _E.SAYS_READY: _S.READY,
        _E.SAYS_OTHER: _S.HIDDEN,
        _E.TTL_PASSED: _S.SILENT,
        _E.UNREGISTERED: _S.GONE,
    },
    _S.HIDDEN: {
        _E.SAYS_READY: _S.READY,
        _E.SAYS_OTHER: _S.HIDDEN,
        _E.TTL_PASSED: _S.SILENT,
        _E.UNREGISTERED: _S.GONE,
    },
    # A heartbeat does not bring a silent runner back: it is 404 until the sweep, then 401.
    _S.SILENT: {_E.SWEPT: _S.GONE},
    _S.GONE: {},
}

LETS_IN: dict[RunnerState, frozenset[Ask]] = {
    _S.READY: frozenset(Ask),
    # A session can be released while its runner is hidden, but not used.
    _S.HIDDEN: frozenset({Ask.HEARTBEAT, Ask.UNREGISTER, Ask.RELEASE}),
    _S.SILENT: frozenset(),
    _S.GONE: frozenset(),
}
"""All else is answered 404 `runner not found`."""


class RunnerRefusal(Exception):
    """A request that is turned away; `str()` is the reference's text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def not_found() -> RunnerRefusal:
    """There is no such runner, or not for this."""
    return RunnerRefusal(404, "runner not found")
