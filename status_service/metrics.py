"""What the Status service counts, and the queue as Prometheus sees it.

The queue is asked for when somebody asks for the metrics, by one statement, and its answer is kept for a while: neither a request nor a number of
scrapers costs the database more. Every replica tells the same of it, so it is a maximum over replicas and never a sum.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import structlog
from materials.v1 import material_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from servicekit.errors import ServiceError
from servicekit.postgres import Postgres
from status_service import queue_store

log = structlog.get_logger()

BATCH_CHANGES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
#: How long an answer is good for.
FRESH_SECONDS = 10.0
#: An older one is not told: no number is better than one that seems to stand still.
STALE_SECONDS = 60.0

_QUEUE: Final = {
    "waiting": ("materials_queue_waiting", "Materials that wait to be read, those included whose time has not come."),
    "delayed": ("materials_queue_delayed", "Of these, those that wait for the time of their next attempt."),
    "unannounced": ("materials_announcements_waiting", "Materials that wait and that nobody was told of yet."),
    "working": ("materials_queue_working", "Materials being read."),
    "leases": ("materials_leases_held", "Leases that have not run out."),
    "purging": ("materials_queue_purging", "Deleted materials whose bytes or passages are still there."),
    "paused": ("materials_processing_paused", "1 while an operator has paused the processing."),
    "oldest": (
        "materials_oldest_waiting_seconds",
        "Seconds that the material has waited which has waited longest, of those whose time has come; 0 for none.",
    ),
}
_FAILED: Final = ("materials_queue_failed", "Failed materials, by reason.")


class StatusMetrics:
    """The record's writes, and who watches it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.batch = Histogram(
            "materials_record_batch_changes",
            "Changes that were committed together; its count is that of the commits.",
            buckets=BATCH_CHANGES,
            registry=registry,
        )
        self.queued = Gauge("materials_record_changes_waiting", "Changes that wait to be written.", registry=registry)
        self.leases_expired = Counter(
            "materials_leases_expired_total",
            "Leases that this replica has ended, since nobody renewed them.",
            registry=registry,
        )
        self.watches = Gauge("materials_watches", "Watches that are open.", registry=registry)
        self.watches_most = Gauge("materials_watches_max", "The most that this replica serves.", registry=registry)
        self.told = Counter(
            "materials_changes_told_total",
            "Changes put into watchers' mailboxes, one for each watcher.",
            registry=registry,
        )
        self.workers = Gauge(
            "materials_report_streams", "Processors whose reports come to this replica.", registry=registry
        )


class QueueMetrics(Collector):
    """The queue in the database, as of the last `refresh` that had an answer."""

    def __init__(
        self, postgres: Postgres, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._postgres, self._clock = postgres, clock
        self._queue: dict[str, Any] = {}
        self._asked_at = self._answered_at = float("-inf")
        self._asking = asyncio.Lock()
        registry.register(self)

    async def refresh(self) -> None:
        """Asks, unless somebody has within FRESH_SECONDS. While the database is away it does so in vain."""
        async with self._asking:
            if self._clock() - self._asked_at < FRESH_SECONDS:
                return
            self._asked_at = self._clock()
            try:
                row = await self._postgres.fetchrow(queue_store.AS_METRICS)
            except ServiceError as error:
                log.info("the queue is not known", error=error.message)
                return
            assert row is not None, "an aggregate is always one row"
            self._queue, self._answered_at = dict(row), self._clock()

    def describe(self) -> Iterator[Metric]:
        """What it will tell, without asking."""
        for name, text in (*_QUEUE.values(), _FAILED):
            yield GaugeMetricFamily(name, text)

    def collect(self) -> Iterator[Metric]:
        """Nothing where nothing is known."""
        if self._clock() - self._answered_at > STALE_SECONDS:
            return
        for column, (name, text) in _QUEUE.items():
            yield GaugeMetricFamily(name, text, value=float(self._queue[column]))
        failed = GaugeMetricFamily(*_FAILED, labels=["reason"])
        for reason, count in sorted(failures_by_name(json.loads(self._queue["failed"])).items()):
            failed.add_metric([reason], count)
        yield failed


def failures_by_name(counts: dict[str, int]) -> dict[str, int]:
    """Counts by the number of the reason, by its name: brain_failed. Numbers that only a newer version knows are `unknown`, together."""
    named: dict[str, int] = {}
    for number, count in counts.items():
        value = material_pb2.FailureReason.DESCRIPTOR.values_by_number.get(int(number))
        name = value.name.removeprefix("FAILURE_REASON_").lower() if value is not None else "unknown"
        named[name] = named.get(name, 0) + count
    return named
