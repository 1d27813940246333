"""The trickle channels of one stream, as its start request names them."""

from __future__ import annotations

from typing import Any

from livepeer.runner.live.outbox import Outbox
from livepeer.runner.live.request import StartRequest
from livepeer.trickle import JSONLPublisher, JSONLSubscriber, TricklePublisher

EVENTS_WAITING = 128
RECORDS_WAITING = 4096
DATA_IDLE_SECONDS = 60.0


class Channels:
    """Opens them; who uses one closes it."""

    def __init__(self, request: StartRequest, tls: Any, *, linger: float) -> None:
        self._request = request
        self._tls = tls
        self._linger = linger
        self._delete = True
        self._publishers: list[TricklePublisher] = []

    def leave_open(self) -> None:
        """Delete none of them at the end: another session has taken the names over."""
        self._delete = False
        for publisher in self._publishers:
            publisher.delete_on_close = False

    def nobody_behind(self) -> None:
        """Delete them at the end without waiting for readers: there are none that are behind."""
        self._linger = 0.0
        for publisher in self._publishers:
            publisher.skip_linger()

    def events(self) -> Outbox:
        url = self._request.events_url
        return Outbox(
            "events",
            None if url is None else lambda again: self._records(url, alone=True, create=again),
            size=EVENTS_WAITING,
        )

    def data(self) -> Outbox:
        url = self._request.data_url
        return Outbox(
            "data",
            None if url is None else lambda again: self._records(url, alone=False, create=again),
            size=RECORDS_WAITING,
            idle_seconds=DATA_IDLE_SECONDS,
        )

    def control(self) -> JSONLSubscriber | None:
        if self._request.control_url is None:
            return None
        # From its first message: the channel is as new as the stream, and a gateway that changed
        # orchestrators writes the last update at once, which may be before we listen.
        return JSONLSubscriber(self._request.control_url, start=0, keepalives=True, tls=self._tls)

    def output(self) -> TricklePublisher | None:
        if self._request.publish_url is None:
            return None
        publisher = TricklePublisher(
            self._request.publish_url,
            delete_on_close=self._delete,
            linger=self._linger,
            tls=self._tls,
        )
        self._publishers.append(publisher)
        return publisher

    def _records(self, url: str, *, alone: bool, create: bool) -> JSONLPublisher:
        # An orchestrator refuses to make one; servers that do not may have swept it.
        publisher = JSONLPublisher(
            url,
            one_per_segment=alone,
            create=create,
            delete_on_close=self._delete,
            linger=self._linger,
            tls=self._tls,
        )
        self._publishers.append(publisher.transport)
        return publisher
