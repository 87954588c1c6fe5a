"""The public calls by their descriptors, called with bytes in place of messages."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor
from materials.v1 import (
    ingest_service_pb2,
    processor_service_pb2,
    record_service_pb2,
    status_service_pb2,
)

from tests.fuzz.calls import SECONDS, Channels

Metadata = Sequence[tuple[str, str | bytes]]
#: Where each service is served.
SERVED_BY = {
    "IngestService": "ingest",
    "StatusService": "status",
    "RecordService": "status",
    "ProcessorService": "processor",
}
FILES = (ingest_service_pb2, status_service_pb2, processor_service_pb2, record_service_pb2)
METHODS: list[descriptor.MethodDescriptor] = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
PUBLIC = [method for method in METHODS if method.containing_service.name != "RecordService"]
INTERNAL = [method for method in METHODS if method.containing_service.name == "RecordService"]


def name_of(method: descriptor.MethodDescriptor) -> str:
    """Such as `StatusService.GetMaterial`."""
    return f"{method.containing_service.name}.{method.name}"


def path_of(method: descriptor.MethodDescriptor) -> str:
    """As HTTP/2 has it."""
    return f"/{method.containing_service.full_name}/{method.name}"


def call(
    channels: Channels, method: descriptor.MethodDescriptor, requests: Sequence[bytes], metadata: Metadata
) -> list[bytes]:
    """The responses to these bytes; a watch is left once its snapshot is complete. Raises grpc.RpcError."""
    channel = channels.by_service[SERVED_BY[method.containing_service.name]]
    path, arguments = path_of(method), {"metadata": tuple(metadata), "timeout": SECONDS}
    request = iter(requests) if method.client_streaming else requests[0]
    if not method.server_streaming:
        make = channel.stream_unary if method.client_streaming else channel.unary_unary
        return [make(path)(request, **arguments)]
    make = channel.stream_stream if method.client_streaming else channel.unary_stream
    responses: list[bytes] = []
    running: grpc.Call = make(path)(request, **arguments)
    for response in running:
        responses.append(response)
        if method.name == "WatchCourse" and _ends_snapshot(response):
            running.cancel()
            break
    return responses


def _ends_snapshot(response: bytes) -> bool:
    return status_service_pb2.WatchCourseResponse.FromString(response).HasField("snapshot_complete")
