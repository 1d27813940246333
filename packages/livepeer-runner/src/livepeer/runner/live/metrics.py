"""What happened to the streams of one app, in its Prometheus registry.

No family has a label whose values callers or streams choose: the series stay as many as they are,
however many streams there were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from livepeer.runner.live.session import Session
from livepeer.runner.live.sessions import Sessions
from livepeer.runner.live.status import BUCKETS, StreamFigures
from livepeer.runner.metrics import Metrics

_COUNTERS = {
    "livepeer_frames_in": ("Frames that came in.", "frames_in"),
    "livepeer_frames_out": ("Frames that went out.", "frames_out"),
    "livepeer_frames_dropped": (
        "Pictures left out because the pipeline or the network was slower than the input.",
        "frames_dropped",
    ),
    "livepeer_stream_errors": ("Errors of hooks and frames.", "errors"),
    "livepeer_stream_reconnects": (
        "Connections of inputs that had to be made again.",
        "reconnects",
    ),
    "livepeer_records_sent": ("Records that left on data channels.", "records_sent"),
    "livepeer_records_dropped": (
        "Records that never left: no room, no channel, or no time at the end.",
        "records_dropped",
    ),
    "livepeer_records_uncertain": (
        "Records whose segment broke off: they may have arrived.",
        "records_uncertain",
    ),
    "livepeer_stream_events_sent": ("Events that left on events channels.", "events_sent"),
    "livepeer_stream_events_dropped": ("Events that never left.", "events_dropped"),
}
"""Each family's help text, and the key of `StreamFigures.counts` that it shows."""


class StreamMetrics(Collector):
    """Adds the figures of the running streams to those of the past, when somebody looks."""

    def __init__(self, metrics: Metrics, sessions: Sessions, hooks: Collection[str]) -> None:
        self._sessions = sessions
        self._hook_names = sorted(hooks)
        metrics.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        running = list(self._sessions.running)
        total = StreamFigures()
        for figures in (self._sessions.past, *(session.figures() for session in running)):
            total.add(figures)
        yield GaugeMetricFamily("livepeer_streams", "Streams that run.", len(running))
        ends = CounterMetricFamily(
            "livepeer_streams_ended",
            "Streams that are over; failed: an error ended it.",
            labels=["outcome"],
        )
        for outcome, count in self._sessions.ended.items():
            ends.add_metric([outcome], count)
        yield ends
        for name, (text, key) in _COUNTERS.items():
            yield CounterMetricFamily(name, text, total.counts[key])
        yield from self._hooks(running, total)
        bounds = [*map(str, BUCKETS), "+Inf"]
        frames = accumulate(total.latencies[bucket] for bucket in range(len(bounds)))
        yield HistogramMetricFamily(
            "livepeer_frame_seconds",
            "Seconds that a frame was in the pipeline, from the decoder to the encoder.",
            buckets=list(zip(bounds, frames, strict=True)),
            sum_value=total.seconds,
        )

    def _hooks(self, running: list[Session], total: StreamFigures) -> Iterator[Metric]:
        slow: dict[str, float] = {}
        for session in running:
            if (hook := session.status.running.slow) is not None:
                slow[hook.name] = max(hook.seconds, slow.get(hook.name, 0.0))
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
            overrun.add_metric([name], total.hung[name])
        yield longest
        yield overrun
