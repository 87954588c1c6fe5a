"""Pages of a material that is being read, each sent once it is there.

A page is written before the record is told of it, so every change of the record is a reason to look into the index. The record is watched as the caller: who
may see the material, and how many watches one owner may have, is decided there. Where Status restarts or is away for a moment the watch is taken up again; when
it stays away, or this replica stops, the stream ends with UNAVAILABLE, and the caller goes on elsewhere from the page after the last one.

Pages are sent in order. One that is missing holds back those behind it, which an earlier attempt may have read, until the material has ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import grpc
from materials.channels import bearer
from materials.v1 import errors_pb2, material_pb2
from materials.v1 import status_service_pb2 as status_pb
from materials.v1 import status_service_pb2_grpc as status_grpc

from processor_service.index.index_store import IndexStore, PageText
from servicekit.channels import Peer
from servicekit.errors import ServiceError, Unavailable
from servicekit.identity import Caller
from servicekit.owner_limits import OwnerPlaces
from servicekit.tracing import traced
from servicekit.visibility import refusal_of_record

#: How long Status may be away before a stream is ended, in seconds; and how long the beginning of a watch may take.
PATIENCE_SECONDS = 30.0
ADMISSION_SECONDS = 10.0
_ENDED = (material_pb2.PROCESSING_STATUS_COMPLETED, material_pb2.PROCESSING_STATUS_FAILED)


class Following:
    """Serves pages as they come; ends all streams at once when the service drains.

    `status` should have connections of its own (`Peer`): each stream holds a watch. There are at most `max_streams` on this replica, `max_per_owner` of them an
    owner's.
    """

    def __init__(self, index: IndexStore, status: Peer, *, max_streams: int, max_per_owner: int) -> None:
        self._index, self._status, self._max_streams = index, status, max_streams
        self._of_owners = OwnerPlaces(
            max_per_owner,
            errors_pb2.ERROR_REASON_OWNER_WATCH_LIMIT,
            "you follow as many materials as one owner may; end some",
        )
        self._watches: set[_Watch] = set()
        self._draining = False

    def drain(self) -> None:
        """Ends every stream with SHUTTING_DOWN."""
        self._draining = True
        for watch in self._watches:
            watch.end()

    async def pages(self, caller: Caller, material_id: str, first_page: int) -> AsyncGenerator[PageText]:
        """The pages from `first_page` on, in order, until the material has ended. Raises MATERIAL_NOT_FOUND, OWNER_WATCH_LIMIT, TOO_MANY_WATCHES, and
        Unavailable SHUTTING_DOWN and RECORD_UNAVAILABLE."""
        if len(self._watches) >= self._max_streams:
            raise Unavailable(
                errors_pb2.ERROR_REASON_TOO_MANY_WATCHES, "this replica serves as many streams as it can", retry_after=5
            )
        page_number = first_page
        with self._of_owners.place(caller):
            watch = _Watch(self._status, caller, material_id)
            self._watches.add(watch)
            try:
                if self._draining:
                    watch.end()
                async with aclosing(watch.states()) as states:
                    async for material in states:
                        ended = material.processing_status in _ENDED
                        async for page in self._index.pages_onward(UUID(material_id), page_number, past_gaps=ended):
                            yield page
                            page_number = page.page_number + 1
                        if ended:
                            return
            finally:
                watch.end()
                self._watches.discard(watch)
        raise Unavailable(
            errors_pb2.ERROR_REASON_SHUTTING_DOWN, "this replica is stopping; go on elsewhere", retry_after=0.1
        )


class _Watch:
    """The record's states of one material, through restarts of Status, until the material has ended or `end` is called."""

    def __init__(self, status: Peer, caller: Caller, material_id: str) -> None:
        self._status, self._caller, self._material_id = status, caller, material_id
        self._revision = 0
        self._ended = asyncio.Event()
        self._call: Any = None

    def end(self) -> None:
        """Ends it; safe at any time. A call that is dropped without being cancelled never ends (grpc/grpc#43462)."""
        self._ended.set()
        if self._call is not None:
            self._call.cancel()

    async def states(self) -> AsyncGenerator[material_pb2.Material]:
        """Each newer state. Raises what the record refuses with, and Unavailable RECORD_UNAVAILABLE when it stays away."""
        clock = asyncio.get_running_loop().time
        failures, away_since = 0, 0.0
        while not self._ended.is_set():
            try:
                await self._stand()
                while (response := await self._call.read()) is not grpc.aio.EOF:
                    failures = 0
                    self._revision = response.material.revision
                    yield response.material
                return  # Only when the material has ended, and then nobody reads on.
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                away_since = away_since if failures else clock()
                refusal = _refusal(error)
                if not _passes(refusal) or clock() - away_since > PATIENCE_SECONDS:
                    raise refusal from error
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                return  # Only the call was, by `end`.
            failures += 1
            await self._pause(failures)

    async def _stand(self) -> None:
        if self._call is not None:
            self._call.cancel()
        stub = status_grpc.StatusServiceStub(self._status.channel)
        request = status_pb.WatchMaterialRequest(material_id=self._material_id, after_revision=self._revision)
        self._call = stub.WatchMaterial(request, metadata=traced(bearer(self._caller.token)))
        async with asyncio.timeout(ADMISSION_SECONDS):
            await self._call.initial_metadata()

    async def _pause(self, failures: int) -> None:
        try:
            async with asyncio.timeout(min(3.0, 0.1 * 2 ** min(failures, 5)) * random.uniform(0.5, 1.0)):
                await self._ended.wait()
        except TimeoutError:
            return


def _refusal(error: grpc.aio.AioRpcError | TimeoutError) -> ServiceError:
    if isinstance(error, TimeoutError):
        return Unavailable(
            errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "the record of materials cannot be reached; try again"
        )
    return refusal_of_record(error)


def _passes(refusal: ServiceError) -> bool:
    """Whether it is only that nobody answered."""
    return refusal.reason == errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
