"""A row of `materials` as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from materials.v1 import material_pb2 as pb

PENDING = pb.PROCESSING_STATUS_PENDING
PROCESSING = pb.PROCESSING_STATUS_PROCESSING
COMPLETED = pb.PROCESSING_STATUS_COMPLETED
FAILED = pb.PROCESSING_STATUS_FAILED
#: Bits of `purged_parts`.
OBJECT_PURGED, PASSAGES_PURGED = 1, 2
ALL_PURGED = OBJECT_PURGED | PASSAGES_PURGED


@dataclass(frozen=True, slots=True)
class Record:
    """A row of `materials`."""

    material_id: UUID
    owner_id: str
    course_id: str
    name: str
    file_path: str
    file_type: str
    media_type: str
    file_size: int
    sha256: str
    created_at: datetime
    updated_at: datetime
    request_id: str = ""
    traceparent: str = ""
    status: int = PENDING
    revision: int = 1
    course_revision: int = 0
    attempt: int = 0
    attempt_outcome: str = ""
    pages_done: int = 0
    pages_total: int = 0
    stage: int = 0
    has_embedding: bool = False
    failure_reason: int = 0
    error_message: str = ""
    retryable: bool = False
    status_message: str = ""
    processed_at: datetime | None = None
    not_before: datetime | None = None
    lease_worker: str = ""
    lease_claim_id: str = ""
    lease_expires_at: datetime | None = None
    #: When it was last claimed: while it is leased, since when.
    claimed_at: datetime | None = None
    failures: int = 0
    crashes: int = 0
    announcement: int = 1
    announced_at: datetime | None = None
    announced_incarnation: str = ""
    announced_sequence: int = 0
    announce_lease_expires_at: datetime | None = None
    deleted_at: datetime | None = None
    purged_parts: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status in (COMPLETED, FAILED)
