"""The record as clients see it."""

from __future__ import annotations

from materials.v1 import material_pb2 as pb

from servicekit.timestamps import timestamp
from status_service.record import Record


def to_material(record: Record) -> pb.Material:
    """The public message of a record."""
    material = pb.Material(
        id=str(record.material_id),
        course_id=record.course_id,
        name=record.name,
        file_path=record.file_path,
        file_type=record.file_type,
        file_size=record.file_size,
        processing_status=record.status,  # type: ignore[arg-type]
        error_message=record.error_message,
        has_embedding=record.has_embedding,
        owner_id=record.owner_id,
        sha256=record.sha256,
        revision=record.revision,
        attempt=record.attempt,
        pages_done=record.pages_done,
        pages_total=record.pages_total,
        failure_reason=record.failure_reason,  # type: ignore[arg-type]
        retryable=record.retryable,
        stage=record.stage,  # type: ignore[arg-type]
        status_message=record.status_message,
        media_type=record.media_type,
        created_at=timestamp(record.created_at),
        updated_at=timestamp(record.updated_at),
    )
    if record.processed_at is not None:
        material.processed_at.CopyFrom(timestamp(record.processed_at))
    if record.not_before is not None:
        material.next_attempt_at.CopyFrom(timestamp(record.not_before))
    return material
