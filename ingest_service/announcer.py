"""Publishes what is due and was not published: after a crash, while NATS was away, for another attempt, into a new stream.

Which events are due is the record's business (status_service/announcing.py): the announcer tells it where the stream stands and publishes what it is
handed. Any number of announcers may run; each announcement is leased to one of them.
"""

from __future__ import annotations

import asyncio
import random

import grpc
import nats.errors
import nats.js.errors
import structlog
from google.protobuf.duration_pb2 import Duration
from materials.v1 import record_service_pb2 as pb
from materials.v1 import record_service_pb2_grpc

from ingest_service.event_publisher import MAX_BATCH, EventPublisher
from servicekit.channels import Peer
from servicekit.nats_link import NatsAway, NatsLink

log = structlog.get_logger()

#: How long the record may wait for something due. Also how late a wiped stream is noticed.
WAIT_SECONDS = 4


class Announcer:
    """A part: one loop."""

    def __init__(self, link: NatsLink, status: Peer, publisher: EventPublisher) -> None:
        self._link, self._status, self._publisher = link, status, publisher
        self._task: asyncio.Task[None] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to announce."""
        self._task = tasks.create_task(self._run(), name="announcer")

    async def stop(self) -> None:
        """Ends; what it holds is leased to another one in seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._link.wait_connected()
            try:
                announced = await self._announce()
                failures = 0
                if announced:
                    log.info("announced again", count=announced)
            except (
                grpc.aio.AioRpcError,
                NatsAway,
                TimeoutError,
                OSError,
                nats.errors.Error,
                nats.js.errors.Error,
            ) as error:
                failures = min(failures + 1, 5)
                log.info("announcer waits", error=type(error).__name__)
                await asyncio.sleep(0.1 * 2**failures * random.uniform(0.5, 1.0))

    async def _announce(self) -> int:
        position = await self._publisher.position()
        stub = record_service_pb2_grpc.RecordServiceStub(self._status.channel)
        response = await stub.LeaseAnnouncements(
            pb.LeaseAnnouncementsRequest(max_count=MAX_BATCH, wait=Duration(seconds=WAIT_SECONDS), stream=position),
            metadata=self._status.metadata(),
            timeout=WAIT_SECONDS + 10.0,
        )
        return await self._publisher.publish(response.announcements) if response.announcements else 0
