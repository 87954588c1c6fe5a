"""What a caller may see, as the record says it: asked of Status with the caller's own token, so that the rule is in one place."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from materials.channels import bearer
from materials.v1 import errors_pb2, material_pb2, status_service_pb2, status_service_pb2_grpc

from servicekit.channels import Peer
from servicekit.errors import ServiceError, Unavailable, reason_of_call, retry_delay_of_call
from servicekit.identity import Caller
from servicekit.tracing import traced

CALL_DEADLINE_SECONDS = 10.0
#: Materials that one call may ask for.
BATCH = 1_000
#: A token may end between two services, which look at it one after the other, each by its own clock; and each counts the calls of its owner.
_PASSED_ON = frozenset(
    {"MATERIAL_NOT_FOUND", "TOKEN_EXPIRED", "TOKEN_INVALID", "OWNER_REQUEST_LIMIT", "OWNER_WATCH_LIMIT"}
)


async def visible_material(status: Peer, caller: Caller, material_id: str) -> material_pb2.Material:
    """The material as it is now. Raises MATERIAL_NOT_FOUND, TOKEN_EXPIRED and OWNER_REQUEST_LIMIT in the record's words, and Unavailable RECORD_UNAVAILABLE."""
    stub = status_service_pb2_grpc.StatusServiceStub(status.channel)
    try:
        response = await stub.GetMaterial(
            status_service_pb2.GetMaterialRequest(material_id=material_id),
            metadata=traced(bearer(caller.token)),
            timeout=CALL_DEADLINE_SECONDS,
        )
    except grpc.aio.AioRpcError as error:
        raise refusal_of_record(error) from error
    return response.material


async def visible_materials(
    status: Peer, caller: Caller, material_ids: Iterable[str]
) -> dict[str, material_pb2.Material]:
    """Those of the materials that the caller may see, by id. Raises as `visible_material`, but for MATERIAL_NOT_FOUND."""
    stub = status_service_pb2_grpc.StatusServiceStub(status.channel)
    wanted, visible = sorted(material_ids), dict[str, material_pb2.Material]()
    for begin in range(0, len(wanted), BATCH):
        try:
            response = await stub.BatchGetMaterials(
                status_service_pb2.BatchGetMaterialsRequest(material_ids=wanted[begin : begin + BATCH]),
                metadata=traced(bearer(caller.token)),
                timeout=CALL_DEADLINE_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            raise refusal_of_record(error) from error
        visible.update((material.id, material) for material in response.materials)
    return visible


def refusal_of_record(error: grpc.aio.AioRpcError) -> ServiceError:
    """What the caller is told: the record's own words where they are about the caller's token, calls or material, else that the record is away."""
    reason = reason_of_call(error)
    if reason in _PASSED_ON:
        value, message = errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"), error.details() or reason
        delay = retry_delay_of_call(error)
        return ServiceError(value, message) if delay is None else Unavailable(value, message, retry_after=delay)
    return Unavailable(
        errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "the record of materials cannot be reached; try again"
    )
