"""The sessions of one service: which streams run, under which key, and what became of the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from livepeer.runner.live.session import Session
from livepeer.runner.live.status import StreamFigures
from livepeer.runner.running.slots import Slot


class Sessions(Mapping[str, Session]):
    """The newest session of each `StartRequest.key`.

    `acquire` takes a free slot, or raises `OverCapacity` or `NotReady`.
    """

    def __init__(self, acquire: Callable[[], Slot]) -> None:
        self._acquire = acquire
        self._newest: dict[str, Session] = {}
        self.running: set[Session] = set()
        """All that are not over, also those that give way to a newer one."""
        self.past = StreamFigures()
        """The sums of those that are over."""
        self.ended = {"ended": 0, "failed": 0}
        """How many are over, by outcome."""

    def slot_for(self, key: str, slot: Slot | None) -> Slot:
        """The slot of the session under `key`, which gives way; else `slot`; else a free one.

        Raises `OverCapacity` and `NotReady`.
        """
        old = self._newest.get(key)
        handed = old.surrender() if old is not None else None
        if handed is None:
            return slot or self._acquire()
        if slot is not None:
            slot.release()
        return handed

    def begin(self, session: Session) -> None:
        """Start a session; the one before it under its key ends first."""
        old = self._newest.get(session.key)
        if old is not None:
            old.end("the stream was started again")
        self._newest[session.key] = session
        self.running.add(session)
        session.start(old, over=self._over)

    def _over(self, session: Session) -> None:
        self.running.discard(session)
        if self._newest.get(session.key) is session:
            del self._newest[session.key]
        self.ended["failed" if session.failed else "ended"] += 1
        self.past.add(session.figures())

    def __getitem__(self, key: str) -> Session:
        return self._newest[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._newest)

    def __len__(self) -> int:
        return len(self._newest)
