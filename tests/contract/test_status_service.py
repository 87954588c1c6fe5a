"""StatusService: the record as people see it. Two real replicas of Status; the tests play Ingest and the processors where the state must stand still."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from materials.v1 import ingest_service_pb2, material_pb2, processor_service_pb2, record_service_pb2
from materials.v1 import status_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack

PENDING = material_pb2.PROCESSING_STATUS_PENDING
PROCESSING = material_pb2.PROCESSING_STATUS_PROCESSING
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED
SECONDS = 20.0


class Person:
    """StatusService as one caller."""

    def __init__(self, client: Client) -> None:
        self.client, self.stub, self.metadata = client, client.status, client.metadata

    async def get(self, material_id: str) -> material_pb2.Material:
        return await self.client.get(material_id)

    async def batch(self, *material_ids: str) -> set[str]:
        request = pb.BatchGetMaterialsRequest(material_ids=material_ids)
        response = await self.stub.BatchGetMaterials(request, metadata=self.metadata, timeout=SECONDS)
        return {material.id for material in response.materials}

    async def page(self, **query: Any) -> pb.ListMaterialsResponse:
        request = pb.ListMaterialsRequest(**query)
        return await self.stub.ListMaterials(request, metadata=self.metadata, timeout=SECONDS)

    async def list(self, **query: Any) -> list[str]:
        return [material.id for material in (await self.page(**query)).materials]

    async def retry(self, material_id: str) -> material_pb2.Material:
        request = pb.RetryMaterialRequest(material_id=material_id)
        return (await self.stub.RetryMaterial(request, metadata=self.metadata, timeout=SECONDS)).material

    async def cancel(self, material_id: str) -> material_pb2.Material:
        request = pb.CancelMaterialRequest(material_id=material_id)
        return (await self.stub.CancelMaterial(request, metadata=self.metadata, timeout=SECONDS)).material

    async def delete(self, material_id: str) -> None:
        request = pb.DeleteMaterialRequest(material_id=material_id)
        await self.stub.DeleteMaterial(request, metadata=self.metadata, timeout=SECONDS)

    async def history(self, material_id: str, **query: Any) -> pb.ListMaterialTransitionsResponse:
        request = pb.ListMaterialTransitionsRequest(material_id=material_id, **query)
        return await self.stub.ListMaterialTransitions(request, metadata=self.metadata, timeout=SECONDS)

    async def events(self, material_id: str) -> list[str]:
        return [transition.event for transition in (await self.history(material_id)).transitions]

    @asynccontextmanager
    async def watch(self, material_id: str, after_revision: int = 0) -> AsyncIterator[Watch[pb.WatchMaterialResponse]]:
        request = pb.WatchMaterialRequest(material_id=material_id, after_revision=after_revision)
        call = self.stub.WatchMaterial(request, metadata=self.metadata)
        try:
            yield Watch(call)
        finally:
            call.cancel()

    @asynccontextmanager
    async def watch_course(
        self, course: str, resume_token: str = ""
    ) -> AsyncIterator[Watch[pb.WatchCourseResponse]]:
        request = pb.WatchCourseRequest(course_id=course, resume_token=resume_token)
        call = self.stub.WatchCourse(request, metadata=self.metadata)
        try:
            yield Watch(call)
        finally:
            call.cancel()


@dataclass
class Watch[Response]:
    """A watch being read."""

    call: Any

    async def next(self) -> Response:
        async with asyncio.timeout(SECONDS):
            response = await self.call.read()
        assert response is not grpc.aio.EOF, "the watch has ended"
        return response

    async def ended(self) -> bool:
        """Whether the watch has ended with OK and without a further word."""
        async with asyncio.timeout(SECONDS):
            return await self.call.read() is grpc.aio.EOF and await self.call.code() is grpc.StatusCode.OK

    async def rest(self) -> list[Response]:
        """All that still comes until the watch ends."""
        responses = []
        async with asyncio.timeout(SECONDS):
            while (response := await self.call.read()) is not grpc.aio.EOF:
                responses.append(response)
        return responses
