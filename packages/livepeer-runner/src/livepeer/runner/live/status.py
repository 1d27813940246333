"""What a stream tells of itself: its counters, and the status events that a gateway keeps.

A gateway takes the last event of type `status` for the stream's status, as it stands, and forgets
it after a minute (go-livepeer: BYOC stream events). The field names are those of go-livepeer's own
live containers; what has no name there is added beside them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from livepeer.runner.live.hooks import HookRuns
from livepeer.runner.live.outbox import Outbox
from livepeer.runner.live.request import label

logger = logging.getLogger(__name__)

WINDOW = 5.0
"""Seconds over which rates are measured."""
BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the latency histogram, in seconds; one more bucket holds what is above them."""
BEAT_SECONDS = 5.0
"""A gateway ends a stream that is silent on events (looked at every 10 s); a caller of ours takes
15 s of silence for the end of the container."""
NEWS_SECONDS = 0.5
"""Least time between two status events; a change of state or parameters does not wait longer."""


@dataclass(slots=True)
class StreamFigures:
    """The totals of a stream, or of several."""

    counts: Counter[str] = field(default_factory=Counter)
    """Frames, errors, records and events; `StreamStatus.figures` has the keys."""
    hung: Counter[str] = field(default_factory=Counter)
    """Calls that ran over their limit, by hook."""
    latencies: Counter[int] = field(default_factory=Counter)
    """Frames by their bucket of the latency histogram, see `BUCKETS`."""
    seconds: float = 0.0
    """The sum of all latencies."""

    def add(self, other: StreamFigures) -> None:
        self.counts.update(other.counts)
        self.hung.update(other.hung)
        self.latencies.update(other.latencies)
        self.seconds += other.seconds


class Rate:
    """Events in a second, over the last few seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.last: float | None = None
        self._times: deque[float] = deque(maxlen=1024)

    def add(self) -> None:
        self.count += 1
        self.last = time.monotonic()
        self._times.append(self.last)

    def value(self, *, ended: bool = False) -> float:
        """The rate now; with `ended`, at the time of the last event."""
        now = self.last if ended and self.last is not None else time.monotonic()
        while self._times and self._times[0] < now - WINDOW:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        return round((len(self._times) - 1) / max(now - self._times[0], 0.001), 2)


class StreamStatus:
    """The figures of one stream, from its start to its end."""

    def __init__(self, pipeline_id: str, stream_id: str) -> None:
        self.pipeline_id = pipeline_id
        self.stream_id = stream_id
        self.state = "LOADING"
        self.started = time.time()
        self.input = Rate()
        self.output = Rate()
        self.dropped = 0
        """Pictures left out because the pipeline was slower than its input."""
        self.errors = 0
        self.hung: Counter[str] = Counter()
        """Calls that ran over their limit, by hook."""
        self.running = HookRuns()
        self.warning: str | None = None
        """What looks wrong, and is no error."""
        self.restarts = 0
        self.last_error: str | None = None
        self.last_error_at: float | None = None
        self.params: dict[str, Any] | None = {}
        """None if they are too large to be repeated."""
        self.params_at: float | None = None
        self.params_hash = ""
        self.news = asyncio.Event()
        """Set when something has changed that the caller waits for."""
        self._state_at = self.started
        self.buckets = [0] * (len(BUCKETS) + 1)
        """How many frames had a latency up to each of `BUCKETS`, and above the last."""
        self.seconds = 0.0
        """The sum of all latencies."""
        self._latencies: deque[float] = deque(maxlen=512)

    def move(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._state_at = time.time()

    def update_params(self, params: dict[str, Any] | None, digest: str) -> None:
        self.params = params
        self.params_hash = digest
        self.params_at = time.time()
        self.news.set()

    def update_input(self, *, dropped: int, restarts: int) -> None:
        """The totals of the input's reader and the output's writer."""
        self.dropped = dropped
        self.restarts = restarts

    def warn(self, message: str) -> None:
        self.warning = message

    def failed(self, message: str, *, hung: str | None = None) -> None:
        """Count an error; `hung` is the hook that ran over its limit."""
        self.errors += 1
        if hung is not None:
            self.hung[hung] += 1
        self.last_error = message
        self.last_error_at = time.time()

    def passed(self, seconds: float) -> None:
        """A frame went out, `seconds` after it came in."""
        self.output.add()
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds
        self._latencies.append(seconds)

    def latency_ms(self) -> dict[str, float]:
        """How long the last frames were in this process."""
        ordered = sorted(self._latencies)
        if not ordered:
            return {}
        return {
            name: round(1000 * ordered[int(share * (len(ordered) - 1))], 2)
            for name, share in (("p50", 0.5), ("p95", 0.95))
        }

    def figures(self, events: Outbox, data: Outbox) -> StreamFigures:
        """A copy of the totals."""
        counts = Counter(
            frames_in=self.input.count,
            frames_out=self.output.count,
            frames_dropped=self.dropped,
            errors=self.errors,
            reconnects=self.restarts,
            records_sent=data.sent,
            records_dropped=data.dropped,
            records_uncertain=data.uncertain,
            events_sent=events.sent,
            events_dropped=events.dropped,
        )
        return StreamFigures(
            counts, self.hung.copy(), Counter(dict(enumerate(self.buckets))), self.seconds
        )

    def event(self, events: Outbox, data: Outbox) -> dict[str, Any]:
        """The status event; times are seconds since 1970."""
        ended = self.state == "OFFLINE"
        return {
            "type": "status",
            "pipeline": self.pipeline_id,
            "stream_id": self.stream_id,
            "state": self.state,
            "start_time": self.started,
            "last_state_update_time": self._state_at,
            "timestamp": time.time(),
            "input_status": {
                "fps": self.input.value(ended=ended),
                "frames": self.input.count,
                "last_input_time": _wall(self.input.last),
            },
            "inference_status": {
                "fps": self.output.value(ended=ended),
                "frames": self.output.count,
                "last_output_time": _wall(self.output.last),
                "latency_ms": self.latency_ms(),
                "dropped": self.dropped,
                "errors": self.errors,
                "last_error": self.last_error,
                "last_error_time": self.last_error_at,
                "slow_hook": self.running.shown(),
                "warning": self.warning,
                "last_params": self.params,
                "last_params_hash": self.params_hash,
                "last_params_update_time": self.params_at,
                "restart_count": self.restarts,
            },
            "output_status": {
                "records_sent": data.sent,
                "records_dropped": data.dropped,
                "records_uncertain": data.uncertain,
                "events_dropped": events.dropped,
                "data_channel": data.lost,
            },
        }


class StatusReports:
    """Puts a status event onto the events every few seconds, and soon after a change.

    `refresh` brings the counters of `status` up to date.
    """

    def __init__(
        self, status: StreamStatus, events: Outbox, data: Outbox, refresh: Callable[[], None]
    ) -> None:
        self._status = status
        self._events = events
        self._data = data
        self._refresh = refresh

    def put(self) -> None:
        """Put a status event onto the events."""
        self._refresh()
        self._events.put(self._status.event(self._events, self._data))

    async def run(self) -> None:
        while True:
            self._status.news.clear()
            self.put()
            self._warn_of_slow_hook()
            await asyncio.sleep(NEWS_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS - NEWS_SECONDS):
                    await self._status.news.wait()

    def _warn_of_slow_hook(self) -> None:
        slow = self._status.running.news()
        if slow is not None:
            logger.warning(
                "stream %s: %s has been running for %.1f s%s",
                label(self._status.stream_id),
                slow.name,
                slow.seconds,
                ", waiting for a thread" if slow.waits else "",
            )


def _wall(moment: float | None) -> float | None:
    return None if moment is None else time.time() - (time.monotonic() - moment)
