"""Removes objects that no record refers to: what a crash between the object and its record leaves."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import grpc
import structlog
from materials.v1 import status_service_pb2, status_service_pb2_grpc

from ingest_service.uploads import OBJECT_PREFIX
from servicekit.channels import Peer
from servicekit.errors import ServiceError
from servicekit.object_store import ObjectStore

log = structlog.get_logger()

SWEEP_EVERY_SECONDS = 3_600.0
CALL_DEADLINE_SECONDS = 15.0


class OrphanSweeper:
    """Removes objects that are old enough to have a record and have none."""

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
