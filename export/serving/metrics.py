"""TF Serving's metrics, for Prometheus."""

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

PATH = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"
LATENCIES = [10 * 1.8**i for i in range(33)]  # microseconds, to 20 minutes
WAITS = [100 * 1.2**i for i in range(52)]

disable_created_metrics()  # TF Serving has no such series.


class _Count(Gauge):
    """An untyped number, because `prometheus_client.Counter` appends _total to its name."""

    _type = "unknown"


class Metrics:
    """Counts requests and measures how long they take, under TF Serving's names.

    Args:
        enabled: without it, nothing is measured, which takes time.

    Source: `servables/tensorflow/util.cc`, `batching/batching_session.cc`,
        `util/prometheus_exporter.cc` of tensorflow/serving.
    """

    def __init__(self, enabled: bool = False):
        self._enabled = enabled
        self._registry = CollectorRegistry()
        self._requests = self._count("request_count", "Requests.", ["model_name", "status"])
        self._batches = self._count(
            "batching_session:wrapped_run_count", "Runs of batches.", ["thread_pool_name"]
        )
        api = ["model_name", "API"]
        self._request_latency = self._microseconds("request_latency", [*api, "entrypoint"])
        self._runtime_latency = self._microseconds("runtime_latency", [*api, "runtime"])
        self._warmup_latency = self._microseconds("model_warmup_latency", ["model_path"])
        self._waits = self._microseconds(
            "batching_session:queuing_latency", ["thread_pool_name"], WAITS
        )

    def answered(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Record a request answered with "OK" or an error's code over "GRPC" or "REST"."""
        if self._enabled:
            self._requests.labels(model, status).inc()
        if self._enabled and status == "OK":
            self._request_latency.labels(model, api, entrypoint).observe(1e6 * seconds)

    def ran(self, model: str, api: str, seconds: float) -> None:
        """Record a run of a session."""
        if self._enabled:
            self._runtime_latency.labels(model, api, "TF1").observe(1e6 * seconds)

    def warmed_up(self, path: str, seconds: float) -> None:
        """Record that a version has answered its warm-up requests."""
        if self._enabled:
            self._warmup_latency.labels(path).observe(1e6 * seconds)

    def waited(self, pool: str, seconds: float) -> None:
        """Record how long a request has waited for its batch."""
        if self._enabled:
            self._waits.labels(pool).observe(1e6 * seconds)

    def batched(self, pool: str) -> None:
        """Record a run of a batch."""
        if self._enabled:
            self._batches.labels(pool).inc()

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)

    def _count(self, name: str, text: str, labels: Sequence[str]) -> _Count:
        return _Count(PREFIX + name, text, labels, registry=self._registry)

    def _microseconds(
        self, name: str, labels: Sequence[str], buckets: Sequence[float] = LATENCIES
    ) -> Histogram:
        return Histogram(
            PREFIX + name, "Microseconds.", labels, buckets=buckets, registry=self._registry
        )
