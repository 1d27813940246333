"""What happened to the streams of one app, in its Prometheus registry."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from livepeer.runner.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from livepeer.runner.live.session import Session
    from livepeer.runner.live.status import StreamStatus

_COUNTERS: dict[str, tuple[str, Callable[[StreamStatus], int]]] = {
    "livepeer_frames_in": ("Frames that came in.", lambda status: status.input.count),
    "livepeer_frames_out": ("Frames that went out.", lambda status: status.output.count),
    "livepeer_frames_dropped": (
        "Pictures left out because the pipeline was slower than its input.",
        lambda status: status.dropped,
    ),
    "livepeer_stream_errors": ("Errors of hooks and frames.", lambda status: status.errors),
}


class StreamMetrics(Collector):
    """Reads the running streams when someone looks, and keeps the sums of those that ended."""

    def __init__(self, metrics: Metrics, sessions: Collection[Session]) -> None:
        self._sessions = sessions
        self._past = dict.fromkeys(_COUNTERS, 0)
        self._ended = 0
        metrics.registry.register(self)

    def ended(self, session: Session) -> None:
        self._ended += 1
        for name, (_, read) in _COUNTERS.items():
            self._past[name] += read(session.status)

    def collect(self) -> Iterable[Metric]:
        sessions = list(self._sessions)
        for session in sessions:
            if session.flow is not None:
                session.flow.refresh()
        statuses = [session.status for session in sessions]
        yield GaugeMetricFamily("livepeer_streams", "Streams that run.", len(statuses))
        yield CounterMetricFamily("livepeer_streams_ended", "Streams that ended.", self._ended)
        for name, (text, read) in _COUNTERS.items():
            total = self._past[name] + sum(map(read, statuses))
            yield CounterMetricFamily(name, text, total)
