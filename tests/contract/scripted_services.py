"""The three services as a test says: real gRPC on a real port, each call answered by a script, each request kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_status import rpc_status
from materials.v1 import (
    errors_pb2,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    processor_service_pb2,
    processor_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
)

from servicekit.errors import ServiceError

TOKEN = "a-token"
Context = Any


async def refuse(context: Context, error: ServiceError) -> None:
    """Ends a call as the services do: with ErrorInfo, BadRequest and RetryInfo."""
    await context.abort_with_status(rpc_status.to_status(error.to_status()))


class ScriptedServices(
    ingest_service_pb2_grpc.IngestServiceServicer,
    status_service_pb2_grpc.StatusServiceServicer,
    processor_service_pb2_grpc.ProcessorServiceServicer,
):
    """Set the scripts by the calls' names; `requests` has what came, in order. A call without a script fails the test's expectation.

    `health` says what a test sets; at first that the process lives, and nothing of the Brain.
    """

    def __init__(self) -> None:
        self.address = ""
        self.scripts: dict[str, Any] = {}
        self.requests: list[Any] = []
        self.health = health.aio.HealthServicer()

    def on(self, call: str, script: Any) -> None:
        """Answers a call by its name from now on."""
        self.scripts[call] = script

    async def _unary(self, call: str, request: Any, context: Context) -> Any:
        await self._identify(context)
        self.requests.append(request)
        return await self.scripts[call](request, context)

    async def _stream(self, call: str, request: Any, context: Context) -> AsyncIterator[Any]:
        await self._identify(context)
        self.requests.append(request)
        async for response in self.scripts[call](request, context):
            yield response

    async def _identify(self, context: Context) -> None:
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {TOKEN}":
            await refuse(context, ServiceError(errors_pb2.ERROR_REASON_TOKEN_INVALID, "the token is not accepted"))

    async def UploadMaterial(self, request_iterator: Any, context: Any) -> ingest_service_pb2.UploadMaterialResponse:
        await self._identify(context)
        response: ingest_service_pb2.UploadMaterialResponse = await self.scripts["UploadMaterial"](
            request_iterator, context
        )
        return response

    async def DownloadMaterial(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._stream("DownloadMaterial", request, context):
            yield response

    async def WatchMaterial(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._stream("WatchMaterial", request, context):
            yield response

    async def WatchCourse(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._stream("WatchCourse", request, context):
            yield response

    async def GetMaterialText(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._stream("GetMaterialText", request, context):
            yield response

    async def AnswerQuestion(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._stream("AnswerQuestion", request, context):
            yield response

    async def SearchMaterials(self, request: Any, context: Any) -> processor_service_pb2.SearchMaterialsResponse:
        response: processor_service_pb2.SearchMaterialsResponse = await self._unary("SearchMaterials", request, context)
        return response

    async def StartReindex(self, request: Any, context: Any) -> processor_service_pb2.StartReindexResponse:
        response: processor_service_pb2.StartReindexResponse = await self._unary("StartReindex", request, context)
        return response

    async def GetIndex(self, request: Any, context: Any) -> processor_service_pb2.GetIndexResponse:
        response: processor_service_pb2.GetIndexResponse = await self._unary("GetIndex", request, context)
        return response

    async def CancelReindex(self, request: Any, context: Any) -> processor_service_pb2.CancelReindexResponse:
        response: processor_service_pb2.CancelReindexResponse = await self._unary("CancelReindex", request, context)
        return response

    async def GetMaterial(self, request: Any, context: Any) -> status_service_pb2.GetMaterialResponse:
        response: status_service_pb2.GetMaterialResponse = await self._unary("GetMaterial", request, context)
        return response

    async def BatchGetMaterials(self, request: Any, context: Any) -> status_service_pb2.BatchGetMaterialsResponse:
        response: status_service_pb2.BatchGetMaterialsResponse = await self._unary(
            "BatchGetMaterials", request, context
        )
        return response

    async def ListMaterials(self, request: Any, context: Any) -> status_service_pb2.ListMaterialsResponse:
        response: status_service_pb2.ListMaterialsResponse = await self._unary("ListMaterials", request, context)
        return response

    async def ListMaterialTransitions(
        self, request: Any, context: Any
    ) -> status_service_pb2.ListMaterialTransitionsResponse:
        response: status_service_pb2.ListMaterialTransitionsResponse = await self._unary(
            "ListMaterialTransitions", request, context
        )
        return response

    async def RetryMaterial(self, request: Any, context: Any) -> status_service_pb2.RetryMaterialResponse:
        response: status_service_pb2.RetryMaterialResponse = await self._unary("RetryMaterial", request, context)
        return response

    async def CancelMaterial(self, request: Any, context: Any) -> status_service_pb2.CancelMaterialResponse:
        response: status_service_pb2.CancelMaterialResponse = await self._unary("CancelMaterial", request, context)
        return response

    async def DeleteMaterial(self, request: Any, context: Any) -> status_service_pb2.DeleteMaterialResponse:
        response: status_service_pb2.DeleteMaterialResponse = await self._unary("DeleteMaterial", request, context)
        return response

    async def RetryFailedMaterials(self, request: Any, context: Any) -> status_service_pb2.RetryFailedMaterialsResponse:
        response: status_service_pb2.RetryFailedMaterialsResponse = await self._unary(
            "RetryFailedMaterials", request, context
        )
        return response

    async def GetQueue(self, request: Any, context: Any) -> status_service_pb2.GetQueueResponse:
        response: status_service_pb2.GetQueueResponse = await self._unary("GetQueue", request, context)
        return response

    async def PauseProcessing(self, request: Any, context: Any) -> status_service_pb2.PauseProcessingResponse:
        response: status_service_pb2.PauseProcessingResponse = await self._unary("PauseProcessing", request, context)
        return response

    async def ResumeProcessing(self, request: Any, context: Any) -> status_service_pb2.ResumeProcessingResponse:
        response: status_service_pb2.ResumeProcessingResponse = await self._unary("ResumeProcessing", request, context)
        return response


@asynccontextmanager
async def scripted_services(services: ScriptedServices | None = None) -> AsyncIterator[ScriptedServices]:
    """All three on one port of loopback."""
    services = services or ScriptedServices()
    server = grpc.aio.server()
    ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(services, server)
    status_service_pb2_grpc.add_StatusServiceServicer_to_server(services, server)
    processor_service_pb2_grpc.add_ProcessorServiceServicer_to_server(services, server)
    health_pb2_grpc.add_HealthServicer_to_server(services.health, server)
    services.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield services
    finally:
        await server.stop(None)
