"""`Metrics`: what Prometheus reads of the server, in a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from avrec.serving.messages import Answer
from avrec.serving.served import Served

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters and histograms; labels are only ever names of routes, modes and ways, never what a request brings."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._registry = registry
        self._requests = Counter(
            "avrec_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "avrec_request_seconds",
            "From the first byte of a request to its answer.",
            ["route"],
            registry=registry,
            buckets=SECONDS,
        )
        self._answers = Counter(
            "avrec_answers", "Lists by how they were answered.", ["answered_by", "mode", "degraded"], registry=registry
        )
        self._swaps = Counter("avrec_swaps", "Bundles that were asked for.", ["outcome"], registry=registry)
        self._waiting = Gauge("avrec_waiting_questions", "Questions that nobody has looked at yet.", registry=registry)
        self._bundle = Gauge(
            "avrec_bundle_info", "1 for the bundle that answers.", ["version", "data_hash"], registry=registry
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answer(self, answer: Answer) -> None:
        """Count one list."""
        self._answers.labels(answer.answered_by, answer.mode, answer.degraded or "no").inc()

    def swap(self, outcome: str) -> None:
        """Count one swap, `done` or `refused`."""
        self._swaps.labels(outcome).inc()

    def text(self, served: Served, num_waiting: int) -> bytes:
        """Everything in Prometheus' text format."""
        self._waiting.set(num_waiting)
        self._bundle.clear()
        self._bundle.labels(served.version, served.bundle.manifest.data_hash).set(1)
        return generate_latest(self._registry)
