"""What people do with a material, as single calls."""

from __future__ import annotations

import grpc
import pytest
from materials.v1 import material_pb2, status_service_pb2

from tests.faults.workload import Upload, Workload

DEADLINE_SECONDS = 20
PURGED = "SELECT 1 FROM status.materials WHERE material_id = $1::uuid AND deleted_at IS NOT NULL AND purged_parts = 3"


async def cancel(work: Workload, upload: Upload) -> material_pb2.Material:
    """Raises AioRpcError."""
    request = status_service_pb2.CancelMaterialRequest(material_id=upload.id)
    call = work.client.status.CancelMaterial(request, metadata=work.client.metadata, timeout=DEADLINE_SECONDS)
    return (await call).material


async def retry(work: Workload, upload: Upload) -> material_pb2.Material:
    """Raises AioRpcError."""
    request = status_service_pb2.RetryMaterialRequest(material_id=upload.id)
    call = work.client.status.RetryMaterial(request, metadata=work.client.metadata, timeout=DEADLINE_SECONDS)
    return (await call).material


async def delete(work: Workload, upload: Upload) -> None:
    """From here on the checks want it gone. Raises AioRpcError."""
    upload.deleted = True
    request = status_service_pb2.DeleteMaterialRequest(material_id=upload.id)
    await work.client.status.DeleteMaterial(request, metadata=work.client.metadata, timeout=DEADLINE_SECONDS)


async def stays_deleted(work: Workload, upload: Upload) -> None:
    """Returns when it is purged; it is gone for people."""
    await work.stack.until_row(PURGED, upload.id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work.client.get(upload.id)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND, caught.value
