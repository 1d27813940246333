"""Counters of one served pipeline for `GET /metrics` (Prometheus), in a registry of its own.

Children are looked up once, here, since looking a label up costs more than the addition itself.
Names are documented in the README; they are part of v1.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """What happened to the jobs of one app. Apps in one process share nothing."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "livepeer_requests",
            "Jobs by outcome: ok, an error's type, or cancelled (the caller left).",
            ["outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "livepeer_request_seconds",
            "Seconds from a job's arrival to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._errors = Counter(
            "livepeer_errors",
            "Errors that callers were answered with, by type.",
            ["type"],
            registry=self.registry,
        )
        self.events = Counter(
            "livepeer_events", "Server-sent events made by streams.", registry=self.registry
        )
        self.blocked_seconds = Counter(
            "livepeer_loop_blocked_seconds",
            "Seconds for which the pipeline's async code held up the event loop.",
            registry=self.registry,
        )
        self.setup_seconds = Gauge(
            "livepeer_setup_seconds", "Seconds that setup took.", registry=self.registry
        )
        self.wait_seconds = Histogram(
            "livepeer_wait_seconds",
            "Seconds that calls which found no slot waited for one, whether they got it or not.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._prices = Gauge(
            "livepeer_advertised_price",
            "What each registry is told a unit costs: not what was paid, which nobody tells.",
            ["registry", "unit", "currency"],
            registry=self.registry,
        )
        self._ok = self._requests.labels("ok")
        self._outcomes = {"ok": self._ok}

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when someone looks: nothing is counted twice."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def advertise(self, registry: str, unit: str, currency: str, price: float) -> None:
        """The price of a unit, as it is registered."""
        self._prices.labels(registry, unit, currency).set(price)

    def finished(self, outcome: str, seconds: float) -> None:
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = self._requests.labels(outcome)
        counter.inc()
        self._seconds.observe(seconds)

    def error(self, type: str) -> None:
        self._errors.labels(type).inc()

    def render(self) -> bytes:
        return generate_latest(self.registry)
