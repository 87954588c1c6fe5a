"""Every call of the contract, found in its descriptors, with the rule of who may make it.

A call that is new in the contract fails the tests of identity until it has its line in RULES.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import grpc
import materials.v1
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

SECONDS = 20.0


class Access(Enum):
    """Who may make a call, or a request of the gateway."""

    READ = "whoever may see the material"
    CHANGE = "the material's owner, and editors of its course"
    WRITE = "editors of the course"
    OWN = "anybody with a token, about what they may see"
    OPERATE = "operators"
    SERVE = "the system's own services"
    OPEN = "everybody"


#: Who may call what.
RULES = {
    "materials.v1.IngestService/UploadMaterial": Access.WRITE,
    "materials.v1.IngestService/DownloadMaterial": Access.READ,
    "materials.v1.StatusService/GetMaterial": Access.READ,
    "materials.v1.StatusService/BatchGetMaterials": Access.OWN,
    "materials.v1.StatusService/ListMaterials": Access.OWN,
    "materials.v1.StatusService/WatchMaterial": Access.READ,
    "materials.v1.StatusService/WatchCourse": Access.OWN,
    "materials.v1.StatusService/RetryMaterial": Access.CHANGE,
    "materials.v1.StatusService/CancelMaterial": Access.CHANGE,
    "materials.v1.StatusService/DeleteMaterial": Access.CHANGE,
    "materials.v1.StatusService/ListMaterialTransitions": Access.READ,
    "materials.v1.StatusService/RetryFailedMaterials": Access.WRITE,
    "materials.v1.StatusService/GetQueue": Access.OPERATE,
    "materials.v1.StatusService/PauseProcessing": Access.OPERATE,
    "materials.v1.StatusService/ResumeProcessing": Access.OPERATE,
    "materials.v1.ProcessorService/SearchMaterials": Access.OWN,
    "materials.v1.ProcessorService/AnswerQuestion": Access.OWN,
    "materials.v1.ProcessorService/GetMaterialText": Access.READ,
    "materials.v1.ProcessorService/StartReindex": Access.OPERATE,
    "materials.v1.ProcessorService/GetIndex": Access.OPERATE,
    "materials.v1.ProcessorService/CancelReindex": Access.OPERATE,
    "materials.v1.RecordService/AdmitUpload": Access.SERVE,
    "materials.v1.RecordService/AdmitUploads": Access.SERVE,
    "materials.v1.RecordService/CreateMaterial": Access.SERVE,
    "materials.v1.RecordService/CreateMaterials": Access.SERVE,
    "materials.v1.RecordService/ClaimMaterial": Access.SERVE,
    "materials.v1.RecordService/ReportStatus": Access.SERVE,
    "materials.v1.RecordService/ReportProcessor": Access.SERVE,
    "materials.v1.RecordService/LeaseAnnouncements": Access.SERVE,
    "materials.v1.RecordService/MarkAnnounced": Access.SERVE,
    "materials.v1.RecordService/ConfirmPurged": Access.SERVE,
    "materials.v1.RecordService/KeepTicket": Access.SERVE,
    "materials.v1.RecordService/RedeemTicket": Access.SERVE,
}
#: Which part of the stack serves a service.
SERVED_BY = {
    "materials.v1.IngestService": "ingest",
    "materials.v1.StatusService": "status",
    "materials.v1.RecordService": "status",
    "materials.v1.ProcessorService": "processor",
}


def services() -> Iterator[ServiceDescriptor]:
    """Every service of the package, found in its files."""
    for module in pkgutil.iter_modules(materials.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"materials.v1.{module.name}").DESCRIPTOR
            yield from file.services_by_name.values()


@dataclass(frozen=True)
class Rpc:
    """One call of the contract."""

    method: MethodDescriptor

    @property
    def name(self) -> str:
        """Such as `materials.v1.StatusService/GetMaterial`."""
        return f"{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def part(self) -> str:
        """The part of the stack that serves it."""
        return SERVED_BY[self.method.containing_service.full_name]

    def request(self, **fields: Any) -> bytes:
        """A request with these of the fields that it has; of an upload its metadata."""
        message: Message = GetMessageClass(self.method.input_type)()
        target: Any = message.metadata if self.method.name == "UploadMaterial" else message  # type: ignore[attr-defined]
        known = target.DESCRIPTOR.fields_by_name
        target.MergeFrom(type(target)(**{name: value for name, value in fields.items() if name in known}))
        return message.SerializeToString()

    def call(self, channel: grpc.Channel, metadata: Sequence[tuple[str, str]], request: bytes = b"") -> bytes | None:
        """Calls it with one request, an empty one unless given; its first response, None when there is none. Raises grpc.RpcError.

        Not by grpc.aio, whose client loses an answer that comes while it writes (grpc #36066).
        """
        sends = iter([request]) if self.method.client_streaming else request
        kind: Any = {
            (False, False): channel.unary_unary, (False, True): channel.unary_stream,
            (True, False): channel.stream_unary, (True, True): channel.stream_stream,
        }[self.method.client_streaming, self.method.server_streaming]  # fmt: skip
        answer = kind(f"/{self.name}")(sends, metadata=tuple(metadata), timeout=SECONDS)
        if not self.method.server_streaming:
            return bytes(answer)
        first = next(answer, None)
        answer.cancel()
        return first


RPCS = [Rpc(method) for service in services() for method in service.methods]
