"""Removes pages and passages of deleted materials."""

from __future__ import annotations

import random
from uuid import UUID

import grpc
import structlog
from google.protobuf.message import DecodeError
from materials.v1 import (
    events_pb2,
    record_service_pb2,
    record_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
)
from nats.aio.msg import Msg

from processor_service.index_store import IndexStore
from servicekit import validation
from servicekit.channels import Peer
from servicekit.durable_consumer import Again, Done, Outcome, Unreadable
from servicekit.errors import ServiceError

log = structlog.get_logger()

CALL_DEADLINE_SECONDS = 15.0


class Purger:
    """Handles MaterialDeleted: the rows go, then the record is told. Both may happen twice."""

    def __init__(self, index: IndexStore, status: Peer) -> None:
        self._index, self._status = index, status

    async def handle(self, message: Msg) -> Outcome:
        """One event."""
        try:
            event = events_pb2.MaterialDeleted.FromString(message.data)
        except DecodeError:
            return Unreadable("not a MaterialDeleted")
        if validation.parse_uuid(event.material_id) is None:
            return Unreadable("no material id")
        record = record_service_pb2_grpc.RecordServiceStub(self._status.channel)
        status = status_service_pb2_grpc.StatusServiceStub(self._status.channel)
        try:
            # The event is only a hint: what is still in the record keeps its text.
            found = await status.BatchGetMaterials(
                status_service_pb2.BatchGetMaterialsRequest(material_ids=[event.material_id]),
                metadata=self._status.metadata(),
                timeout=CALL_DEADLINE_SECONDS,
            )
            if found.materials:
                return Unreadable("the material is not deleted")
            await self._index.purge(UUID(event.material_id))
            await record.ConfirmPurged(
                record_service_pb2.ConfirmPurgedRequest(
                    material_id=event.material_id, part=record_service_pb2.PURGED_PART_PASSAGES
                ),
                metadata=self._status.metadata(),
                timeout=CALL_DEADLINE_SECONDS,
            )
        except (grpc.aio.AioRpcError, ServiceError) as error:
            log.info("passages not purged yet", material_id=event.material_id, error=type(error).__name__)
            return Again(random.uniform(1.0, 5.0))
        return Done()
