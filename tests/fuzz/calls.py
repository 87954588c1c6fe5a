"""Callers over blocking channels, since hypothesis knows no event loop, and what a service may answer whatever it was sent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from materials.v1 import (
    errors_pb2,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    material_pb2,
    processor_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
)

from tests.contract.refusals import Refusal, refusal_of
from tests.local_stack import LocalStack

#: A call that takes longer hangs.
SECONDS = 60.0
TOKEN_SECONDS = 24 * 3600
Response = TypeVar("Response")
GRPC_CODES = {
    name.removeprefix("ERROR_REASON_"): value.GetOptions().Extensions[errors_pb2.answer].grpc_code
    for name, value in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name.items()
}


def contracted(error: grpc.RpcError) -> Refusal:
    """The refusal in an error. Fails for one that the contract does not know, and for INTERNAL and UNKNOWN."""
    refusal = refusal_of(error)
    assert refusal.domain == "materials"
    assert refusal.code.value[0] == GRPC_CODES[refusal.reason], f"{refusal.reason} came as {refusal.code}"
    assert refusal.reason != "INTERNAL", refusal.message
    return refusal


def outcome(call: Callable[[], Response]) -> Response | Refusal:
    """What a call answers: its response, or a refusal of the contract."""
    try:
        return call()
    except grpc.RpcError as error:
        return contracted(error)


class Channels:
    """One blocking channel to each service; or to one of them by another way."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.by_service = {name: grpc.insecure_channel(address) for name, address in addresses.items()}

    def __enter__(self) -> Channels:
        return self

    def __exit__(self, *exc: object) -> None:
        for channel in self.by_service.values():
            channel.close()


@dataclass(frozen=True)
class Fuzzed:
    """The stack that is fuzzed, and channels to it."""

    stack: LocalStack
    channels: Channels

    def caller(self, subject: str = "", courses: Mapping[str, str] | None = None, **claims: Any) -> Caller:
        """Somebody nobody else is, unless named."""
        subject = subject or f"somebody-{uuid.uuid4().hex}"
        return Caller(self.stack, self.channels, subject, dict(courses or {}), claims)


class Caller:
    """The calls that more than one test makes, with one identity. Each raises grpc.RpcError when refused."""

    def __init__(
        self, stack: LocalStack, channels: Channels, subject: str, courses: dict[str, str], claims: Mapping[str, Any]
    ) -> None:
        self.subject, self.courses = subject, courses
        self.token = stack.user_token(subject, courses, **{"exp": int(time.time()) + TOKEN_SECONDS, **claims})
        self.metadata = [("authorization", f"Bearer {self.token}")]
        self.channels = channels
        self.ingest = ingest_service_pb2_grpc.IngestServiceStub(channels.by_service["ingest"])
        self.status = status_service_pb2_grpc.StatusServiceStub(channels.by_service["status"])
        self.processor = processor_service_pb2_grpc.ProcessorServiceStub(channels.by_service["processor"])

    def upload(self, messages: Iterable[ingest_service_pb2.UploadMaterialRequest]) -> material_pb2.Material:
        """An upload of these messages, to its end."""
        response = self.ingest.UploadMaterial(iter(messages), metadata=self.metadata, timeout=SECONDS)
        return response.material

    def get(self, material_id: str) -> material_pb2.Material:
        """GetMaterial."""
        request = status_service_pb2.GetMaterialRequest(material_id=material_id)
        return self.status.GetMaterial(request, metadata=self.metadata, timeout=SECONDS).material

    def delete(self, material_id: str) -> None:
        """DeleteMaterial."""
        request = status_service_pb2.DeleteMaterialRequest(material_id=material_id)
        self.status.DeleteMaterial(request, metadata=self.metadata, timeout=SECONDS)

    def page(self, **query: Any) -> status_service_pb2.ListMaterialsResponse:
        """One page of ListMaterials."""
        request = status_service_pb2.ListMaterialsRequest(**query)
        return self.status.ListMaterials(request, metadata=self.metadata, timeout=SECONDS)

    def pages(self, **query: Any) -> Iterator[status_service_pb2.ListMaterialsResponse]:
        """Every page of ListMaterials."""
        token = ""
        while True:
            page = self.page(**query, page_token=token)
            yield page
            token = page.next_page_token
            if not token:
                return

    def download(self, material_id: str, offset: int = 0, limit: int = 0) -> bytes:
        """The bytes of DownloadMaterial."""
        request = ingest_service_pb2.DownloadMaterialRequest(material_id=material_id, offset=offset, limit=limit)
        return b"".join(
            response.chunk
            for response in self.ingest.DownloadMaterial(request, metadata=self.metadata, timeout=SECONDS)
        )

    def watch_to_end(self, material_id: str) -> material_pb2.Material:
        """The state in which a material ends."""
        request = status_service_pb2.WatchMaterialRequest(material_id=material_id)
        *_, last = self.status.WatchMaterial(request, metadata=self.metadata, timeout=SECONDS)
        return last.material
