"""How single materials ended, waited for and asserted: what a scenario says beyond the invariants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from materials.v1 import material_pb2

from tests.faults.workload import Upload, Workload
from tests.local_stack import ENDED


async def ends(work: Workload, uploads: Sequence[Upload], seconds: float = 90.0) -> list[material_pb2.Material]:
    """The materials, in order, once all have ended; the fault may go on."""
    async with asyncio.TaskGroup() as tasks:
        for upload in uploads:
            tasks.create_task(work.until(lambda material: material.processing_status in ENDED, upload, seconds))
    return [await work.client.get(upload.id) for upload in uploads]


async def completed(work: Workload, uploads: Sequence[Upload], *, attempts: int = 1, seconds: float = 90.0) -> None:
    """All have been COMPLETED, by at most so many attempts."""
    for material in await ends(work, uploads, seconds):
        assert material.processing_status == material_pb2.PROCESSING_STATUS_COMPLETED, material.error_message
        assert material.attempt <= attempts, f"it took {material.attempt} attempts"


async def failed(
    work: Workload,
    upload: Upload,
    reason: str,
    *,
    saying: str,
    attempts: int = 1,
    retryable: bool,
    seconds: float = 90.0,
) -> None:
    """It is FAILED for this reason (without prefix) after so many attempts, its message says the cause, and nothing of it is in the index."""
    [material] = await ends(work, [upload], seconds)
    found = material_pb2.FailureReason.Name(material.failure_reason).removeprefix("FAILURE_REASON_")
    assert found == reason, f"{found} ({material.error_message}) in place of {reason}"
    assert saying in material.error_message, f"{saying!r} is not in {material.error_message!r}"
    assert material.attempt == attempts, f"{material.attempt} attempts in place of {attempts}"
    assert material.retryable is retryable, f"{reason} retryable: {material.retryable}"
    for table in ("pages", "passages"):
        rows = await work.stack.fetch(f"SELECT 1 FROM processor.{table} WHERE material_id = $1::uuid", upload.id)
        assert not rows, f"{len(rows)} {table} of a material that could not be read"
