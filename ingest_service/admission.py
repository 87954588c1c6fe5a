"""Whether an upload may begin, asked when its metadata is known and before any of its bytes is taken: what cannot be kept is not received.

What this process can tell by itself comes first; then the record is asked, in a call that uploads at the same time share.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from materials.v1 import errors_pb2

from ingest_service.record_calls import RecordCalls
from ingest_service.store_cooldown import StoreCooldown
from servicekit.errors import Unavailable
from servicekit.memory import ProcessMemory
from servicekit.object_store import ObjectStore
from servicekit.object_store_errors import store_full

log = structlog.get_logger()

#: What one upload holds at most, as measured: the receive window, two parts for the store, chunks on their way, and the allocator's share.
UPLOAD_MEMORY_BYTES = 8 * 1024 * 1024


class Admission:
    """What an upload needs, before it needs it: memory, room in the object store, the record."""

    def __init__(
        self,
        store: ObjectStore,
        record: RecordCalls,
        *,
        memory: ProcessMemory,
        reserve_bytes: int,
        cooldown: StoreCooldown,
    ) -> None:
        self._store, self._record, self._memory = store, record, memory
        self._reserve_bytes, self._cooldown = reserve_bytes, cooldown
        self._under_way = 0

    @asynccontextmanager
    async def admitted(self, owner_id: str, request_id: str, file_size: int) -> AsyncIterator[None]:
        """The block takes an upload's bytes; how it ends tells how the store is. `file_size` in bytes, 0 for unknown.

        Raises Unavailable before the block: MEMORY_SHORT, OBJECT_STORE_FULL, OBJECT_STORE_UNAVAILABLE, TOO_MANY_UNFINISHED, RECORD_UNAVAILABLE.
        """
        self._check_memory()
        self._under_way += 1
        try:
            self._cooldown.check()
            await self._check_room(file_size)
            await self._record.admit(owner_id, request_id)
            try:
                yield
            except Unavailable as failure:  # the store's: nothing else is needed to take bytes
                self._store_failed(failure)
                raise
            self._cooldown.worked()
        finally:
            self._under_way -= 1

    def _check_memory(self) -> None:
        if self._memory.is_short((self._under_way + 1) * UPLOAD_MEMORY_BYTES):
            raise Unavailable(
                errors_pb2.ERROR_REASON_MEMORY_SHORT,
                "this replica is short of memory; try again with the same request id",
                retry_after=random.uniform(2.0, 5.0),  # so that not all come back at once
            )

    def _store_failed(self, failure: Unavailable) -> None:
        log.warning("object store failed", reason=errors_pb2.ErrorReason.Name(failure.reason))
        self._cooldown.failed(failure)

    async def _check_room(self, file_size: int) -> None:
        try:
            free = await self._store.free_bytes()
        except Unavailable as failure:
            self._store_failed(failure)
            raise
        if free is not None and free < self._reserve_bytes + file_size:
            raise store_full()
