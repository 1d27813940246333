"""What a stream's copy of the pipeline holds on to: its way out for events and data."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Mapping
from typing import Any

from livepeer.runner.live.outbox import Outbox


class Done:
    """Awaitable that has nothing to wait for: an emit may be awaited or not."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class StreamHandle:
    """Emits from any thread. Nothing here waits."""

    def __init__(self, id: str, events: Outbox, data: Outbox) -> None:
        self.id = id
        self._events = events
        self._data = data

    def emit_data(self, record: dict[str, Any]) -> Awaitable[None]:
        self._data.post(record)
        return Done()

    def emit_event(self, event: Mapping[str, Any]) -> Awaitable[None]:
        if not isinstance(event.get("type"), str) or not event["type"]:
            raise ValueError("an event has a 'type', a text such as 'detection'")
        if event["type"] in OWN_TYPES:
            raise ValueError(
                f"events of type {event['type']!r} are the SDK's own: name it otherwise"
            )
        self._events.post(dict(event))
        return Done()


OWN_TYPES = ("status", "stream_ended")
"""A gateway takes the last `status` for the stream's; a client takes `stream_ended` for its end."""
SDK_TYPES = (*OWN_TYPES, "error", "warning")
"""Types of the events that the SDK sends; an author may send the last two as well."""
