"""Counts and durations of a server, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of ``/metrics``. Their names are part of the interface."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "keras_transfer_requests",
            "Requests by route and status of the answer.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "keras_transfer_request_seconds",
            "Time from a request's header to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._unreadable = Counter(
            "keras_transfer_unreadable_inputs", "Inputs that could not be read.", registry=self._registry
        )
        self._batch = Histogram(
            "keras_transfer_batch_inputs", "Inputs in a batch.", buckets=_ROWS, registry=self._registry
        )
        self._model_seconds = Histogram(
            "keras_transfer_model_seconds",
            "Time that the model took for a batch.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        gauge = Gauge("keras_transfer_waiting_inputs", "Inputs without an answer yet.", registry=self._registry)
        gauge.set_function(waiting)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request by the name of its route, which is never a path chosen by a client."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def observe_batch(self, rows: int, seconds: float) -> None:
        """Count a batch, and the time that the model took."""
        self._batch.observe(rows)
        self._model_seconds.observe(seconds)

    def observe_unreadable(self, count: int) -> None:
        """Count inputs that could not be read."""
        if count:
            self._unreadable.inc(count)

    def expose(self) -> bytes:
        """Return all metrics in Prometheus' format."""
        return generate_latest(self._registry)
