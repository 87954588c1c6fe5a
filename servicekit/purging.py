"""Deletion, the half that every owner of a material's data repeats: on MaterialDeleted remove your part, then tell the record.

Both may happen twice. The event is only a hint: what is still in the record keeps its data, so a forged or late event removes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

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

from servicekit import validation
from servicekit.channels import Peer
from servicekit.durable_consumer import Again, Done, Outcome, Unreadable
from servicekit.errors import ServiceError

log = structlog.get_logger()

CALL_DEADLINE_SECONDS = 15.0


class PurgeHandler:
    """Handles MaterialDeleted for one part of the data. `remove(material_id)` may find nothing, and may raise ServiceError to be called again later."""

    def __init__(
        self,
        status: Peer,
        part: record_service_pb2.PurgedPart.ValueType,
        remove: Callable[[str], Awaitable[None]],
    ) -> None:
        self._status, self._part, self._remove = status, part, remove

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
            found = await status.BatchGetMaterials(
                status_service_pb2.BatchGetMaterialsRequest(material_ids=[event.material_id]),
                metadata=self._status.metadata(),
                timeout=CALL_DEADLINE_SECONDS,
            )
            if found.materials:
                return Unreadable("the material is not deleted")
            await self._remove(event.material_id)
            await record.ConfirmPurged(
                record_service_pb2.ConfirmPurgedRequest(material_id=event.material_id, part=self._part),
                metadata=self._status.metadata(),
                timeout=CALL_DEADLINE_SECONDS,
            )
        except (grpc.aio.AioRpcError, ServiceError) as error:
            log.info("not purged yet", material_id=event.material_id, error=type(error).__name__)
            return Again(random.uniform(1.0, 5.0))
        return Done()
