"""What happened to the streams of one app, in its Prometheus registry.

No family has a label whose values callers or streams choose: the series stay as many as they are,
however many streams there were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from livepeer.runner.live.status import BUCKETS
from livepeer.runner.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from livepeer.runner.live.session import Session
    from livepeer.runner.live.stream import Stream

_COUNTERS: dict[str, tuple[str, Callable[[Stream], int]]] = {
    "livepeer_frames_in": ("Frames that came in.", lambda stream: stream.status.input.count),
    "livepeer_frames_out": ("Frames that went out.", lambda stream: stream.status.output.count),
    "livepeer_frames_dropped": (
        "Pictures left out because the pipeline or the network was slower than the input.",
        lambda stream: stream.status.dropped,
    ),
    "livepeer_stream_errors": ("Errors of hooks and frames.", lambda stream: stream.status.errors),
    "livepeer_stream_reconnects": (
        "Connections of inputs that had to be made again.",
        lambda stream: stream.status.restarts,
    ),
    "livepeer_records_sent": (
        "Records that left on data channels.",
        lambda stream: stream.data.sent,
    ),
    "livepeer_records_dropped": (
        "Records that never left: no room, no channel, or no time at the end.",
        lambda stream: stream.data.dropped,
    ),
    "livepeer_records_uncertain": (
        "Records whose segment broke off: they may have arrived.",
        lambda stream: stream.data.uncertain,
    ),
    "livepeer_stream_events_sent": (
        "Events that left on events channels.",
        lambda stream: stream.events.sent,
    ),
    "livepeer_stream_events_dropped": (
        "Events that never left.",
        lambda stream: stream.events.dropped,
    ),
}


class StreamMetrics(Collector):
    """Reads the running streams when someone looks, and keeps the sums of those that ended."""

    def __init__(
        self, metrics: Metrics, sessions: Collection[Session], hooks: Collection[str]
    ) -> None:
        self._sessions = sessions
        self._hook_names = sorted(hooks)
        self._past_hung: Counter[str] = Counter()
        self._past = dict.fromkeys(_COUNTERS, 0)
        self._past_buckets = [0] * (len(BUCKETS) + 1)
        self._past_seconds = 0.0
        self._ended = {"ended": 0, "failed": 0}
        metrics.registry.register(self)

    def ended(self, session: Session) -> None:
        self._ended["failed" if session.failed else "ended"] += 1
        for name, (_, read) in _COUNTERS.items():
            self._past[name] += read(session.stream)
        self._past_buckets = _sum(self._past_buckets, session.status.buckets)
        self._past_seconds += session.status.seconds
        self._past_hung.update(session.status.hung)

    def collect(self) -> Iterable[Metric]:
        sessions = list(self._sessions)
        for session in sessions:
            if session.flow is not None:
                session.flow.refresh()
        yield GaugeMetricFamily("livepeer_streams", "Streams that run.", len(sessions))
        ends = CounterMetricFamily(
            "livepeer_streams_ended",
            "Streams that are over; failed: an error ended it.",
            labels=["outcome"],
        )
        for outcome, count in self._ended.items():
            ends.add_metric([outcome], count)
        yield ends
        for name, (text, read) in _COUNTERS.items():
            total = self._past[name] + sum(read(session.stream) for session in sessions)
            yield CounterMetricFamily(name, text, total)
        yield from self._hooks(sessions)
        yield from self._latency(sessions)

    def _hooks(self, sessions: list[Session]) -> Iterator[Metric]:
        slow: dict[str, float] = {}
        hung = self._past_hung.copy()
        for session in sessions:
            hung.update(session.status.hung)
            if (running := session.status.running.slow) is not None:
                slow[running.name] = max(running.seconds, slow.get(running.name, 0.0))
        longest = GaugeMetricFamily(
            "livepeer_hook_running_seconds",
            "How long a hook has been running, of those that run for a second or more the longest.",
            labels=["hook"],
        )
        overrun = CounterMetricFamily(
            "livepeer_hooks_hung", "Calls of hooks that ran over hook_timeout.", labels=["hook"]
        )
        for name in self._hook_names:
            longest.add_metric([name], slow.get(name, 0.0))
            overrun.add_metric([name], hung[name])
        yield longest
        yield overrun

    def _latency(self, sessions: list[Session]) -> Iterator[Metric]:
        counts, seconds = self._past_buckets, self._past_seconds
        for session in sessions:
            counts = _sum(counts, session.status.buckets)
            seconds += session.status.seconds
        bounds = [*map(str, BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            "livepeer_frame_seconds",
            "Seconds that a frame was in the pipeline, from the decoder to the encoder.",
            buckets=list(zip(bounds, accumulate(counts), strict=True)),
            sum_value=seconds,
        )


def _sum(one: list[int], other: list[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]
