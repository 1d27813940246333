"""What the page shows of each pipeline, and who has to be told when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from livepeer.runner.playground.caller import PipelineCaller

EntryState = Literal["starting", "serving", "reloading", "failed"]
LONGEST_TRACE = 16 * 1024
"""Letters of a traceback, its end."""

Lines = Callable[[Mapping[str, Any]], Mapping[str, str]]
"""The same call as code: takes `{"input"}` or `{"params"}`, gives texts by their titles."""


@dataclass(slots=True)
class Entry:
    """One pipeline. What `document` says stays while another version of it is being loaded."""

    name: str
    """What it is called before its own document is there."""
    state: EntryState = "starting"
    reason: str = ""
    trace: str = ""
    version: int = 0
    """Counts what began to serve: the page makes its controls anew."""
    capacity: int = 1
    price: str = ""
    """What it costs, for people; empty where it is free."""
    spent: float = 0.0
    """Wei that its calls have cost so far."""
    document: dict[str, Any] = field(default_factory=dict)
    caller: PipelineCaller | None = None
    lines: Lines | None = None

    def shown(self, key: str) -> dict[str, Any]:
        return {
            "key": key,
            "name": self.document.get("id") or self.name,
            "state": self.state,
            "reason": self.reason,
            "trace": self.trace,
            "version": self.version,
            "capacity": self.capacity,
            "price": self.price,
            "spent": self.spent,
            "document": self.document,
        }


class Board:
    """The pipelines of one playground by key; changed on the event loop alone."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._readers: set[_Reader] = set()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def readers(self) -> int:
        return len(self._readers)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def add(self, key: str, name: str) -> None:
        """A pipeline that is being started."""
        self._entries[key] = Entry(name)
        self._tell(key)

    def serves(
        self,
        key: str,
        document: dict[str, Any],
        *,
        capacity: int,
        caller: PipelineCaller,
        lines: Lines | None = None,
        price: str = "",
    ) -> None:
        entry = self._entries[key]
        entry.state, entry.reason, entry.trace = "serving", "", ""
        entry.document, entry.capacity = document, capacity
        entry.caller, entry.lines = caller, lines
        entry.price = price
        entry.version += 1
        self._tell(key)

    def spent(self, key: str, wei: float) -> None:
        """Its calls have cost so much by now."""
        self._entries[key].spent = wei
        self._tell(key)

    def reloads(self, key: str, reason: str) -> None:
        entry = self._entries[key]
        entry.state, entry.reason, entry.trace = "reloading", reason, ""
        self._tell(key)

    def failed(self, key: str, reason: str, trace: str = "", *, serves: bool) -> None:
        """It could not be loaded. `serves`: what was there before goes on."""
        entry = self._entries[key]
        entry.state, entry.reason, entry.trace = "failed", reason, trace[-LONGEST_TRACE:]
        if not serves:
            entry.caller = None
        self._tell(key)

    async def news(self) -> AsyncGenerator[dict[str, Any]]:
        """Each pipeline as it is, then again with each change; what changes faster than it is read
        comes once, as it is then."""
        with self._reading() as reader:
            while True:
                await reader.woken.wait()
                reader.woken.clear()
                while reader.pending:
                    key = next(iter(reader.pending))
                    del reader.pending[key]
                    yield self._entries[key].shown(key)

    @contextmanager
    def _reading(self) -> Iterator[_Reader]:
        reader = _Reader(dict.fromkeys(self._entries))
        reader.woken.set()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def _tell(self, key: str) -> None:
        for reader in self._readers:
            reader.pending[key] = None
            reader.woken.set()


@dataclass(eq=False, slots=True)
class _Reader:
    pending: dict[str, None]
    woken: asyncio.Event = field(default_factory=asyncio.Event)
