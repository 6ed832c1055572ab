"""TF Serving's metrics, for Prometheus."""

import collections
import threading

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import UnknownMetricFamily

PATH = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"
LATENCIES = [10 * 1.8**i for i in range(33)]  # microseconds, to 20 minutes
WAITS = [100 * 1.2**i for i in range(52)]


class Metrics:
    """Counts requests and how long they take, under the names that TF Serving gives them.

    Source: `servables/tensorflow/util.cc`, `batching/batching_session.cc`,
        `util/prometheus_exporter.cc` of tensorflow/serving.

    Example:

    >>> from tfgen.export.serving.metrics import Metrics
    >>> metrics = Metrics()
    >>> metrics.answered("glow", "Predict", "GRPC", "OK", 0.002)
    >>> print(metrics.page().decode().splitlines()[-1])
    :tensorflow:serving:request_count{model_name="glow",status="OK"} 1.0
    """

    def __init__(self):
        self._requests = _Counts("request_count", "Requests.", ["model_name", "status"])
        self._batches = _Counts(
            "batching_session:wrapped_run_count", "Runs of batches.", ["thread_pool_name"]
        )
        api = ["model_name", "API"]
        self._request_latency = _histogram(
            "request_latency", "Microseconds of a request.", [*api, "entrypoint"], LATENCIES
        )
        self._runtime_latency = _histogram(
            "runtime_latency", "Microseconds of a run.", [*api, "runtime"], LATENCIES
        )
        self._warmup_latency = _histogram(
            "model_warmup_latency", "Microseconds of a warm-up.", ["model_path"], LATENCIES
        )
        self._waits = _histogram(
            "batching_session:queuing_latency",
            "Microseconds that a request waited for its batch.",
            ["thread_pool_name"],
            WAITS,
        )
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def answered(self, model, api, entrypoint, status, seconds):
        """A request has its answer.

        Args:
            model: its name.
            api: "Predict", "Classify", "Regress"; over REST in small letters, as TF Serving.
            entrypoint: "GRPC" or "REST".
            status: "OK" or the name of a code.
            seconds: that it took.
        """
        self._requests.add(model, status)
        if status == "OK":
            self._request_latency.labels(model, api, entrypoint).observe(1e6 * seconds)

    def ran(self, model, api, seconds):
        """A session has run."""
        self._runtime_latency.labels(model, api, "TF1").observe(1e6 * seconds)

    def warmed_up(self, path, seconds):
        """A version has answered its warm-up requests."""
        self._warmup_latency.labels(path).observe(1e6 * seconds)

    def waited(self, pool, seconds):
        """A request has waited for its batch."""
        self._waits.labels(pool).observe(1e6 * seconds)

    def batched(self, pool):
        """A batch has run."""
        self._batches.add(pool)

    def page(self):
        """The text that Prometheus reads, in bytes."""
        return generate_latest(self._registry)

    def collect(self):
        """What `prometheus_client` asks of a collector."""
        histograms = (
            self._request_latency,
            self._runtime_latency,
            self._warmup_latency,
            self._waits,
        )
        for histogram in histograms:
            for family in histogram.collect():
                family.samples = [s for s in family.samples if not s.name.endswith("_created")]
                yield family
        yield self._batches.family()
        yield self._requests.family()


class _Counts:
    """A counter whose name does not end in _total, which `prometheus_client.Counter` insists on."""

    def __init__(self, name, text, labels):
        self._about = (PREFIX + name, text, labels)
        self._counts = collections.Counter()
        self._lock = threading.Lock()

    def add(self, *labels):
        with self._lock:
            self._counts[labels] += 1

    def family(self):
        name, text, names = self._about
        family = UnknownMetricFamily(name, text, labels=names)
        with self._lock:
            counts = sorted(self._counts.items())
        for labels, count in counts:
            family.add_metric(labels, count)
        return family


def _histogram(name, text, labels, buckets):
    return Histogram(PREFIX + name, text, labels, buckets=buckets, registry=None)
