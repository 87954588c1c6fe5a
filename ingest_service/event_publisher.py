"""Publishes announcements and has them marked, in batches, away from the upload's path.

An upload's reply does not wait for the broker: the record is the outbox, and what is not published from here within seconds the announcer publishes later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import nats.errors
import nats.js.errors
import structlog
from materials.v1 import record_service_pb2 as pb
from materials.v1 import record_service_pb2_grpc
from opentelemetry.trace import SpanKind

from ingest_service.event_stream import ensure_stream, to_event
from ingest_service.metrics import IngestMetrics
from servicekit.channels import Peer
from servicekit.nats_link import NatsAway, NatsLink
from servicekit.tracing import context_of, span, traced

log = structlog.get_logger()

MAX_QUEUED = 10_000
MAX_BATCH = 200
PUBLISH_DEADLINE_SECONDS = 5.0
MARK_DEADLINE_SECONDS = 10.0


class EventPublisher:
    """A part: a bounded queue and one publisher."""

    def __init__(self, link: NatsLink, status: Peer, *, stream_replicas: int, metrics: IngestMetrics) -> None:
        self._metrics = metrics
        self._link, self._status, self._stream_replicas = link, status, stream_replicas
        self._queue: asyncio.Queue[pb.Announcement] = asyncio.Queue(MAX_QUEUED)
        self._incarnation = ""
        self._task: asyncio.Task[None] | None = None

    def enqueue(self, announcement: pb.Announcement) -> None:
        """Hands over one announcement. When the queue is full it is left to the announcer."""
        if not self._queue.full():
            self._queue.put_nowait(announcement)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to publish."""
        self._task = tasks.create_task(self._run(), name="event-publisher")

    async def stop(self) -> None:
        """Publishes what is queued, then ends."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if left := self._take():
            await self.publish(left)

    async def position(self) -> pb.StreamPosition:
        """Where the stream stands; makes it where it is missing. Raises what NATS raises, and NatsAway."""
        position = await ensure_stream(self._link.jetstream(), self._stream_replicas)
        self._incarnation = position.incarnation
        return position

    async def publish(self, announcements: Sequence[pb.Announcement]) -> int:
        """Publishes and marks; returns how many. What fails stays due and is leased to an announcer again."""
        try:
            if not self._incarnation:
                await self.position()
            jetstream = self._link.jetstream(PUBLISH_DEADLINE_SECONDS)
        except (NatsAway, TimeoutError, OSError, nats.errors.Error, nats.js.errors.Error) as error:
            log.info("events left to the announcer", count=len(announcements), error=type(error).__name__)
            return 0

        async def publish_one(announcement: pb.Announcement) -> pb.PublishedAnnouncement | None:
            event = to_event(announcement)
            try:
                with span(
                    f"publish {event.subject}",
                    kind=SpanKind.PRODUCER,
                    context=context_of(announcement.traceparent),
                    attributes={
                        "messaging.system": "nats",
                        "messaging.operation.type": "send",
                        "messaging.destination.name": event.subject,
                        "material_id": announcement.material_id,
                    },
                ):
                    headers = dict(traced(event.headers.items()))
                    ack = await jetstream.publish(event.subject, event.data, headers=headers)
                self._metrics.published.inc()
            except (TimeoutError, OSError, nats.errors.Error, nats.js.errors.Error) as error:
                self._metrics.not_published.inc()
                log.info("event not published", material_id=announcement.material_id, error=type(error).__name__)
                if isinstance(error, nats.js.errors.NoStreamResponseError):
                    self._incarnation = ""
                return None
            return pb.PublishedAnnouncement(
                material_id=announcement.material_id,
                number=announcement.number,
                position=pb.StreamPosition(incarnation=self._incarnation, last_sequence=ack.seq),
            )

        results = await asyncio.gather(*map(publish_one, announcements))
        published = [result for result in results if result is not None]
        if published:
            await self._mark(published)
        return len(published)

    async def _mark(self, published: list[pb.PublishedAnnouncement]) -> None:
        stub = record_service_pb2_grpc.RecordServiceStub(self._status.channel)
        try:
            await stub.MarkAnnounced(
                pb.MarkAnnouncedRequest(published=published),
                metadata=self._status.metadata(),
                timeout=MARK_DEADLINE_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            # They are announced once more, which does no harm.
            log.info("announcements not marked", count=len(published), code=error.code().name)

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get(), *self._take(MAX_BATCH - 1)]
            await self.publish(batch)

    def _take(self, at_most: int = MAX_BATCH) -> list[pb.Announcement]:
        taken: list[pb.Announcement] = []
        while len(taken) < at_most and not self._queue.empty():
            taken.append(self._queue.get_nowait())
        return taken
