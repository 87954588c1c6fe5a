"""What Ingest counts: uploads and events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from servicekit.errors import ServiceError
from servicekit.metrics import count_from_zero


class IngestMetrics:
    """Uploads by their outcome, their bytes, and events published."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.uploads = Counter(
            "materials_uploads_total",
            "Uploads ended: kept, known (the same request id again), refused, or broken off by the client.",
            ("outcome",),
            registry=registry,
        )
        count_from_zero(self.uploads, ("kept", "known", "refused", "broken"))
        self.bytes = Counter(
            "materials_upload_bytes_total",
            "Bytes of files that came in, whatever became of the upload.",
            registry=registry,
        )
        self.under_way = Gauge("materials_uploads_under_way", "Uploads being received.", registry=registry)
        self.most = Gauge("materials_uploads_max", "The most that this replica receives at once.", registry=registry)
        self.events = Counter(
            "materials_events_published_total",
            "Events that the stream has taken, or not.",
            ("outcome",),
            registry=registry,
        )
        self.published, self.not_published = self.events.labels("published"), self.events.labels("failed")
        self.kept, self.known = self.uploads.labels("kept"), self.uploads.labels("known")

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Counts the upload in the block where it fails; one that does not is for the block to count."""
        try:
            yield
        except ServiceError:
            self.uploads.labels("refused").inc()
            raise
        except BaseException:
            self.uploads.labels("broken").inc()
            raise
