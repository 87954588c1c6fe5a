"""What the system does by itself, whether anybody uses it or not: left out of the cost of a path, and held to so many a second."""

from __future__ import annotations

from dataclasses import dataclass

from processor_service.index import generation_store
from processor_service.search import nearest_index
from status_service import queue_store, record_store, ticket_store


@dataclass(frozen=True)
class Background:
    """`what` goes over the edge by itself, at most `a_second` times a second with one replica of each service, `at_once` of them together. `argument`: bytes
    among those bound to a statement, where the same statement is also asked for somebody."""

    edge: str
    what: str
    a_second: float
    argument: bytes = b""
    at_once: int = 1

    def most(self, seconds: float) -> float:
        """How many there may be in so long a time."""
        return self.a_second * seconds + self.at_once


_STATUS, _PROCESSOR = "status → postgres", "processor → postgres"
_MINUTELY, _HOURLY = 1 / 60, 1 / 3600
#: The processor's, and its one for what is deleted.
SLOTS = 5

BACKGROUND = (
    # Leases that ran out; what is due to be announced, looked at while an announcer waits; the same against the stream's position.
    Background(_STATUS, record_store.EXPIRED_LEASES, 1.0),
    Background(_STATUS, record_store.LEASE_UNANNOUNCED, 1.3, at_once=2),
    Background(_STATUS, record_store.LEASE_LOST, 0.3),
    # Each processor says every 3 s how it is. (With all slots busy every second, and is told what to hand back.)
    Background(_STATUS, queue_store.HEARTBEAT, 0.4),
    # One for all watches of a replica together.
    Background(_STATUS, record_store.COURSES_SINCE, 0.4),
    Background(_STATUS, "SELECT 1", 0.25),
    *(
        Background(_STATUS, statement, _HOURLY)
        for statement in (record_store.FORGET_TOMBSTONES, queue_store.FORGET_PROCESSORS, ticket_store.FORGET_TICKETS)
    ),
    # Is an index to be built anew, or cleared away?
    Background(_PROCESSOR, generation_store.IN_STATE, 0.4, b"building"),
    Background(_PROCESSOR, generation_store.CLAIM, 0.4),
    Background(_PROCESSOR, "SELECT 1", 0.25),
    *(
        Background(_PROCESSOR, statement, _MINUTELY)
        for statement in (
            nearest_index.INDEXES, nearest_index.BUILDING, nearest_index.TABLE_PAGES, nearest_index.LARGEST, nearest_index.COUNT,
            generation_store.SERVING_NUMBER,
        )
    ),
    Background("ingest → status", "RecordService.LeaseAnnouncements", 0.3),
    Background("processor → status", "RecordService.ReportProcessor", 0.4),
    # Each slot of the processor asks for 5 s at a time, then looks whether its consumer is as it should be; so does Ingest's one.
    Background("processor → nats", "JetStream CONSUMER.MSG.NEXT", 1.1, at_once=SLOTS),
    Background("processor → nats", "JetStream CONSUMER.INFO", 1.1, at_once=SLOTS),
    Background("ingest → nats", "JetStream CONSUMER.MSG.NEXT", 0.25),
    Background("ingest → nats", "JetStream CONSUMER.INFO", 0.25),
    Background("ingest → nats", "JetStream STREAM.INFO", 0.3),
    # A message is kept for as long as its work takes.
    Background("processor → nats", "JetStream in progress", 0.0),
)  # fmt: skip
