"""What a caller may see, as the record says it: asked of Status with the caller's own token, so that the rule is in one place."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from materials.v1 import errors_pb2, material_pb2, status_service_pb2, status_service_pb2_grpc

from servicekit.channels import Peer, bearer
from servicekit.errors import ServiceError, Unavailable, reason_of_call
from servicekit.identity import Caller

CALL_DEADLINE_SECONDS = 10.0


async def visible_material(status: Peer, caller: Caller, material_id: str) -> material_pb2.Material:
    """The material as it is now. Raises MATERIAL_NOT_FOUND, in the record's words, and Unavailable RECORD_UNAVAILABLE."""
    stub = status_service_pb2_grpc.StatusServiceStub(status.channel)
    try:
        response = await stub.GetMaterial(
            status_service_pb2.GetMaterialRequest(material_id=material_id),
            metadata=bearer(caller.token),
            timeout=CALL_DEADLINE_SECONDS,
        )
    except grpc.aio.AioRpcError as error:
        if reason_of_call(error) == "MATERIAL_NOT_FOUND":
            raise ServiceError(
                errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, error.details() or "there is no such material"
            ) from error
        raise _record_unavailable() from error
    return response.material


async def visible_materials(
    status: Peer, caller: Caller, material_ids: Iterable[str]
) -> dict[str, material_pb2.Material]:
    """Those of the materials that the caller may see, by id. Raises Unavailable RECORD_UNAVAILABLE."""
    wanted = sorted(material_ids)
    if not wanted:
        return {}
    stub = status_service_pb2_grpc.StatusServiceStub(status.channel)
    try:
        response = await stub.BatchGetMaterials(
            status_service_pb2.BatchGetMaterialsRequest(material_ids=wanted),
            metadata=bearer(caller.token),
            timeout=CALL_DEADLINE_SECONDS,
        )
    except grpc.aio.AioRpcError as error:
        raise _record_unavailable() from error
    return {material.id: material for material in response.materials}


def _record_unavailable() -> Unavailable:
    return Unavailable(
        errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "the record of materials cannot be reached; try again"
    )
