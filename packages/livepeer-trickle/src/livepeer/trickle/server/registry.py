"""The channels of a server: made, found, swept, and announced in the change feed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from livepeer.trickle.protocol import wire
from livepeer.trickle.server.channel import Channel
from livepeer.trickle.server.limits import LimitExceeded, ServerLimits, Stock


class Registry:
    """Channels by name. No I/O and no task: its owner calls `sweep` from time to time."""

    def __init__(
        self,
        *,
        changefeed: bool = False,
        idle_timeout: float = wire.DEFAULT_IDLE_TIMEOUT,
        limits: ServerLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.stock = Stock(self.limits.total_bytes)
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        self._feed: Channel | None = None
        if changefeed:
            # In a stock of its own: what it tells is never left out for want of room.
            own = Stock(self.limits.channel_bytes)
            self._feed = self._make(wire.CHANGES_CHANNEL, wire.JSON_MIME_TYPE, own)
            self._announce(wire.Changes(added=(wire.CHANGES_CHANNEL,)))

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._channels.values()))

    def get(self, name: str) -> Channel | None:
        """The channel of that name, or None."""
        return self._channels.get(name)

    def is_feed(self, channel: Channel | None) -> bool:
        """Whether it is the change feed, which only the server writes and closes."""
        return channel is not None and channel is self._feed

    def create(self, name: str, mime_type: str = "") -> Channel:
        """Make a channel, or return the one of that name with the type that it has.

        Raises LimitExceeded, and ValueError for a name that no URL can carry.
        """
        channel = self._channels.get(name)
        if channel is not None:
            return channel
        if not name or name in (".", ".."):
            raise ValueError(f"{name!r} can't be the name of a channel")
        if len(name) > self.limits.name_length:
            raise LimitExceeded(
                f"a name may have {self.limits.name_length} letters, not {len(name)}", status=414
            )
        if len(self._channels) >= self.limits.channels:
            raise LimitExceeded(f"over {self.limits.channels} channels", status=429)
        channel = self._make(name, mime_type, self.stock)
        self._announce(wire.Changes(added=(name,)))
        return channel

    def close(self, name: str) -> bool:
        """End a channel; False if there is none."""
        channel = self._channels.get(name)
        if channel is None:
            return False
        channel.close()
        return True

    def close_all(self) -> None:
        """End every channel, the change feed last and without a word."""
        feed, self._feed = self._feed, None
        for channel in self:
            if channel is not feed:
                channel.close()
        if feed is not None:
            feed.close()

    def sweep(self) -> list[str]:
        """End the channels without a byte for longer than the idle time, and tell their names.

        Every byte counts. (The reference counts first bytes only, and cuts long segments.) Reads,
        `next`, creating again and idle POSTs do not count; names with a leading underscore stay.
        """
        limit = self._clock() - self._idle_timeout
        idle = [c for c in self if c.written_at < limit and not c.name.startswith("_")]
        for channel in idle:
            channel.close()
        return [channel.name for channel in idle]

    def _make(self, name: str, mime_type: str, stock: Stock) -> Channel:
        channel = self._channels[name] = Channel(
            name,
            mime_type,
            limits=self.limits,
            stock=stock,
            clock=self._clock,
            on_close=self._closed,
        )
        return channel

    def _closed(self, channel: Channel) -> None:
        del self._channels[channel.name]
        self._announce(wire.Changes(removed=(channel.name,)))

    def _announce(self, changes: wire.Changes) -> None:
        if self._feed is not None and not self._feed.closed:
            self._feed.put(changes.format())
