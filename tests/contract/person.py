"""StatusService as one caller, and a watch as it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import grpc
from materials.v1 import material_pb2
from materials.v1 import status_service_pb2 as pb

from tests.local_stack import Client

SECONDS = 20.0
Response = TypeVar("Response")


class Watch(Generic[Response]):
    """A watch being read. Nothing is ever read in the background, so a watch that is not read is a slow one."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def next(self) -> Response:
        """The next message."""
        async with asyncio.timeout(SECONDS):
            response: Response = await self.call.read()
        assert response is not grpc.aio.EOF, "the watch has ended"
        return response

    async def rest(self) -> list[Response]:
        """All that still comes until the watch ends; raises when it does not end with OK."""
        responses: list[Response] = []
        async with asyncio.timeout(SECONDS):
            while (response := await self.call.read()) is not grpc.aio.EOF:
                responses.append(response)
        return responses


class Person:
    """The calls of StatusService with one identity."""

    def __init__(self, client: Client) -> None:
        self.client, self.stub, self.metadata = client, client.status, client.metadata

    async def get(self, material_id: str) -> material_pb2.Material:
        """GetMaterial."""
        return await self.client.get(material_id)

    async def batch(self, *material_ids: str) -> list[str]:
        """The ids that BatchGetMaterials answers, in order."""
        request = pb.BatchGetMaterialsRequest(material_ids=material_ids)
        response = await self.stub.BatchGetMaterials(request, metadata=self.metadata, timeout=SECONDS)
        return sorted(material.id for material in response.materials)

    async def page(self, **query: Any) -> pb.ListMaterialsResponse:
        """One page of ListMaterials."""
        return await self.stub.ListMaterials(pb.ListMaterialsRequest(**query), metadata=self.metadata, timeout=SECONDS)

    async def listed(self, **query: Any) -> list[str]:
        """The ids on one page."""
        return [material.id for material in (await self.page(**query)).materials]

    async def retry(self, material_id: str) -> material_pb2.Material:
        """RetryMaterial."""
        request = pb.RetryMaterialRequest(material_id=material_id)
        return (await self.stub.RetryMaterial(request, metadata=self.metadata, timeout=SECONDS)).material

    async def retry_failed(self, **which: Any) -> pb.RetryFailedMaterialsResponse:
        """RetryFailedMaterials."""
        request = pb.RetryFailedMaterialsRequest(**which)
        return await self.stub.RetryFailedMaterials(request, metadata=self.metadata, timeout=SECONDS)

    async def queue(self) -> pb.GetQueueResponse:
        """GetQueue."""
        return await self.stub.GetQueue(pb.GetQueueRequest(), metadata=self.metadata, timeout=SECONDS)

    async def pause(self, reason: str = "") -> pb.ProcessingPause:
        """PauseProcessing."""
        request = pb.PauseProcessingRequest(reason=reason)
        return (await self.stub.PauseProcessing(request, metadata=self.metadata, timeout=SECONDS)).pause

    async def resume(self) -> pb.ResumeProcessingResponse:
        """ResumeProcessing."""
        return await self.stub.ResumeProcessing(pb.ResumeProcessingRequest(), metadata=self.metadata, timeout=SECONDS)

    async def cancel(self, material_id: str) -> material_pb2.Material:
        """CancelMaterial."""
        request = pb.CancelMaterialRequest(material_id=material_id)
        return (await self.stub.CancelMaterial(request, metadata=self.metadata, timeout=SECONDS)).material

    async def delete(self, material_id: str) -> None:
        """DeleteMaterial."""
        request = pb.DeleteMaterialRequest(material_id=material_id)
        await self.stub.DeleteMaterial(request, metadata=self.metadata, timeout=SECONDS)

    async def history(self, material_id: str, **query: Any) -> pb.ListMaterialTransitionsResponse:
        """One page of ListMaterialTransitions."""
        request = pb.ListMaterialTransitionsRequest(material_id=material_id, **query)
        return await self.stub.ListMaterialTransitions(request, metadata=self.metadata, timeout=SECONDS)

    async def events(self, material_id: str) -> list[str]:
        """The history as the names of its events."""
        return [transition.event for transition in (await self.history(material_id)).transitions]

    @asynccontextmanager
    async def watch(self, material_id: str, after_revision: int = 0) -> AsyncIterator[Watch[pb.WatchMaterialResponse]]:
        """WatchMaterial; cancelled at the end."""
        request = pb.WatchMaterialRequest(material_id=material_id, after_revision=after_revision)
        call = self.stub.WatchMaterial(request, metadata=self.metadata)
        try:
            yield Watch(call)
        finally:
            call.cancel()

    @asynccontextmanager
    async def watch_course(self, course: str, resume_token: str = "") -> AsyncIterator[Watch[pb.WatchCourseResponse]]:
        """WatchCourse; cancelled at the end."""
        request = pb.WatchCourseRequest(course_id=course, resume_token=resume_token)
        call = self.stub.WatchCourse(request, metadata=self.metadata)
        try:
            yield Watch(call)
        finally:
            call.cancel()
