"""Removes the bytes of deleted materials, and objects that no record refers to."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

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

from ingest_service.uploads import OBJECT_PREFIX, object_key
from servicekit import validation
from servicekit.channels import Peer
from servicekit.durable_consumer import Again, Done, Outcome, Unreadable
from servicekit.errors import ServiceError
from servicekit.object_store import ObjectStore

log = structlog.get_logger()

SWEEP_EVERY_SECONDS = 3_600.0
CALL_DEADLINE_SECONDS = 15.0


class Purger:
    """Handles MaterialDeleted: the object goes, then the record is told. Both may happen twice."""

    def __init__(self, store: ObjectStore, status: Peer) -> None:
        self._store, self._status = store, status

    async def handle(self, message: Msg) -> Outcome:
        """One event."""
        try:
            event = events_pb2.MaterialDeleted.FromString(message.data)
        except DecodeError:
            return Unreadable("not a MaterialDeleted")
        if validation.parse_uuid(event.material_id) is None:
            return Unreadable("no material id")
        stub = record_service_pb2_grpc.RecordServiceStub(self._status.channel)
        status = status_service_pb2_grpc.StatusServiceStub(self._status.channel)
        try:
            # The event is only a hint: what is still in the record keeps its bytes.
            found = await status.BatchGetMaterials(
                status_service_pb2.BatchGetMaterialsRequest(material_ids=[event.material_id]),
                metadata=self._status.metadata(),
                timeout=CALL_DEADLINE_SECONDS,
            )
            if found.materials:
                return Unreadable("the material is not deleted")
            await self._store.delete(object_key(event.material_id))
            await stub.ConfirmPurged(
                record_service_pb2.ConfirmPurgedRequest(
                    material_id=event.material_id, part=record_service_pb2.PURGED_PART_OBJECT
                ),
                metadata=self._status.metadata(),
                timeout=CALL_DEADLINE_SECONDS,
            )
        except (grpc.aio.AioRpcError, ServiceError) as error:
            log.info("object not purged yet", material_id=event.material_id, error=type(error).__name__)
            return Again(random.uniform(1.0, 5.0))
        return Done()


class OrphanSweeper:
    """Removes objects old enough to have a record that have none: what a crash between the object and the record leaves."""

    def __init__(self, store: ObjectStore, status: Peer, orphan_after_seconds: float) -> None:
        self._store, self._status, self._after = store, status, orphan_after_seconds

    async def run(self) -> None:
        """Sweeps once an hour, for ever."""
        while True:
            try:
                removed = await self.sweep(datetime.now(UTC) - timedelta(seconds=self._after))
                if removed:
                    log.warning("orphaned objects removed", count=removed)
            except (grpc.aio.AioRpcError, ServiceError) as error:
                log.info("orphans not swept", error=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_SECONDS * random.uniform(0.9, 1.1))

    async def sweep(self, moment: datetime) -> int:
        """Removes orphans last written before `moment`; returns how many. Raises AioRpcError when the record is away: nothing is removed on a guess."""
        removed = await asyncio.to_thread(self._store.remove_stale_parts, moment)
        stub = status_service_pb2_grpc.StatusServiceStub(self._status.channel)
        async for keys in self._store.list_older(OBJECT_PREFIX, moment):
            by_id = {key.rpartition("/")[2]: key for key in keys}
            found = await stub.BatchGetMaterials(
                status_service_pb2.BatchGetMaterialsRequest(material_ids=list(by_id)),
                metadata=self._status.metadata(),
                timeout=CALL_DEADLINE_SECONDS,
            )
            for material in found.materials:
                by_id.pop(material.id, None)
            for key in by_id.values():
                await self._store.delete(key)
                removed += 1
        return removed
