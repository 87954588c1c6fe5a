"""Metrics that every service has, by prometheus-client: its gRPC calls, its consumers, its process, its event loop.

A registry is made in each composition root and handed down; there is no other. Without a registry a metric counts for nobody, as in most tests. Labels have
few values, all known beforehand: methods, codes, reasons, outcomes; never an owner, a course or a material.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from typing import Final

from materials.v1 import errors_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from servicekit.errors import reason_name

#: Of calls and requests, in seconds: from a cached answer to an answer of the AI Brain.
CALL_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAG_EVERY_SECONDS: Final = 1.0


class CallMetrics:
    """gRPC calls as they are served, by the names that the field knows (those of go-grpc-middleware)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        by = ("grpc_service", "grpc_method")
        self._started = Counter("grpc_server_started_total", "Calls begun.", by, registry=registry)
        self._handled = Counter(
            "grpc_server_handled_total", "Calls ended, by their code.", (*by, "grpc_code"), registry=registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Seconds from a call's begin to its end; of a watch, as long as somebody looked on.",
            by,
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self._refusals = Counter(
            "materials_refusals_total", "Calls refused, by the contract's reason.", ("reason",), registry=registry
        )
        count_from_zero(self._refusals, map(reason_name, errors_pb2.ErrorReason.values()[1:]))
        self._methods: dict[str, _Method] = {}

    def begun(self, path: str) -> ServedCall:
        """A call of `/package.Service/Method`, which the server is known to have: what it is told to at its end."""
        method = self._methods.get(path)
        if method is None:
            service, _, name = path.removeprefix("/").partition("/")
            method = self._methods[path] = _Method(
                self._started.labels(service, name),
                self._seconds.labels(service, name),
                self._handled.labels(service, name, "OK"),
            )
        method.started.inc()
        return ServedCall(self, path, method)

    def refused(self, reason: str) -> None:
        """One more refusal for a reason of the contract."""
        self._refusals.labels(reason).inc()

    def failed(self, path: str, code: str) -> None:
        """A call that ended otherwise than OK."""
        service, _, name = path.removeprefix("/").partition("/")
        self._handled.labels(service, name, code).inc()


class _Method:
    """A method's series, looked up once: that is half of what counting costs."""

    __slots__ = ("ok", "seconds", "started")

    def __init__(self, started: Counter, seconds: Histogram, ok: Counter) -> None:
        self.started, self.seconds, self.ok = started, seconds, ok


class ServedCall:
    """One call under way."""

    __slots__ = ("_began", "_method", "_metrics", "_path")

    def __init__(self, metrics: CallMetrics, path: str, method: _Method) -> None:
        self._metrics, self._path, self._method = metrics, path, method
        self._began = time.perf_counter()

    def ended(self, code: str) -> None:
        """By the name of its gRPC code."""
        self._method.seconds.observe(time.perf_counter() - self._began)
        if code == "OK":
            self._method.ok.inc()
        else:
            self._metrics.failed(self._path, code)


class ConsumerMetrics:
    """Durable JetStream consumers of one service, by their name."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        by = ("durable",)
        self.pending = Gauge(
            "materials_consumer_pending_messages",
            "Messages that the consumer has not delivered yet, as the last message or look at the consumer told.",
            by,
            registry=registry,
        )
        self.messages = Counter(
            "materials_consumer_messages_total",
            "Messages dealt with: done, again, unreadable or failed.",
            (*by, "outcome"),
            registry=registry,
        )
        self.redelivered = Counter(
            "materials_consumer_redelivered_total", "Messages that had been delivered before.", by, registry=registry
        )


class PoolMetrics:
    """A service's connections to Postgres: read when asked for, never counted."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._in_use = Gauge(
            "materials_postgres_connections_in_use", "Connections that a call holds.", registry=registry
        )
        self._most = Gauge("materials_postgres_connections_max", "The most this replica opens.", registry=registry)

    def show(self, in_use: Callable[[], int], *, most: int) -> None:
        """Has the number of connections in use read whenever somebody asks for the metrics."""
        self._in_use.set_function(in_use)
        self._most.set(most)


class EventLoopLag:
    """How late the event loop comes: everything that a service does waits for as long."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._lag = Histogram(
            "materials_event_loop_lag_seconds",
            "Seconds that a timer of the event loop came late, looked at once a second.",
            buckets=LAG_SECONDS,
            registry=registry,
        )

    async def run(self) -> None:
        """Looks for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + LAG_EVERY_SECONDS
            await asyncio.sleep(LAG_EVERY_SECONDS)
            self._lag.observe(max(0.0, clock() - due))


def count_from_zero(counter: Counter, *values: Iterable[str]) -> None:
    """Makes the series of all combinations of these values of its labels. One that begins with its first event has, to Prometheus, not increased by it, and
    a sum of none is not 0: what alerts on such a counter would stay silent."""
    for each in itertools.product(*values):
        counter.labels(*each)


def process_metrics(registry: CollectorRegistry) -> None:
    """Memory, processor time, start time and file descriptors of this process, under the names that every Prometheus client gives them."""
    ProcessCollector(registry=registry)
