"""A material in each of its states, the events that may come to it, and what a decision changes."""

from __future__ import annotations

import uuid
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

from materials.v1 import material_pb2 as pb

from status_service.events import (
    Cancel,
    Claim,
    Complete,
    Delete,
    Event,
    ExpireLease,
    Fail,
    HandBack,
    Progress,
    Renew,
    Report,
    Retry,
)
from status_service.record import COMPLETED, FAILED, PROCESSING, Record
from status_service.state_machine import Decision, Policy, Verdict, decide

CREATED = datetime(2030, 1, 1, tzinfo=UTC)
NOW = CREATED + timedelta(hours=1)
POLICY = Policy(lease=20.0, max_failures=3, max_crashes=2, backoff_base=2.0, backoff_cap=16.0)
LEASE_END = NOW + timedelta(seconds=POLICY.lease)
CORRUPT, BRAIN = pb.FAILURE_REASON_FILE_CORRUPT, pb.FAILURE_REASON_BRAIN_FAILED

WAITING = Record(
    material_id=uuid.UUID(int=7),
    owner_id="ada",
    course_id="algebra",
    name="notes.pdf",
    file_path="objects/00/7",
    file_type="pdf",
    media_type="application/pdf",
    file_size=10,
    sha256="0" * 64,
    created_at=CREATED,
    updated_at=CREATED,
    request_id="request-1",
    announced_at=CREATED,
    announced_incarnation="stream-1",
    announced_sequence=4,
)
WORKING = replace(
    WAITING,
    status=PROCESSING,
    revision=5,
    attempt=2,
    stage=pb.PROCESSING_STAGE_READING,
    pages_done=3,
    pages_total=9,
    lease_worker="worker-1",
    lease_claim_id="claim-1",
    lease_expires_at=NOW + timedelta(seconds=1),
)
DONE = replace(
    WAITING,
    status=COMPLETED,
    revision=6,
    attempt=2,
    attempt_outcome="Complete",
    processed_at=CREATED,
    has_embedding=True,
)
BROKEN = replace(
    WAITING,
    status=FAILED,
    revision=6,
    attempt=2,
    attempt_outcome="Fail",
    processed_at=CREATED,
    failure_reason=BRAIN,
    error_message="the Brain failed",
    retryable=True,
    failures=3,
    crashes=1,
)
REMOVED = replace(WAITING, revision=9, deleted_at=CREATED, request_id="")

CLAIM = Claim("worker-9", "claim-9")
REPORTS: list[Report] = [
    Progress("worker-1", 2, 4, 9, pb.PROCESSING_STAGE_READING),
    Renew("worker-1", 2),
    Complete("worker-1", 2, 9, True),
    Fail("worker-1", 2, CORRUPT, "damaged", transient=False),
    Fail("worker-1", 2, BRAIN, "no answer", transient=True),
    HandBack("worker-1", 2, "stopping"),
]
EVERY_EVENT: list[Event] = [CLAIM, *REPORTS, ExpireLease(), Cancel("ada"), Retry("ada"), Delete("ada")]


def half() -> float:
    return 0.5


def after(
    record: Record, event: Event, *, now: datetime = NOW, policy: Policy = POLICY, paused: bool = False
) -> Decision:
    return decide(record, event, now, policy, half, paused=paused)


def differences(before: Record, changed: Record) -> dict[str, object]:
    """Fields that are not as they were, with their new value."""
    return {
        field.name: getattr(changed, field.name)
        for field in fields(Record)
        if getattr(before, field.name) != getattr(changed, field.name)
    }


def assert_unchanged(decision: Decision, record: Record, verdict: Verdict) -> None:
    assert decision == Decision(verdict, record)
    assert decision.record is record


UNLEASED: dict[str, object] = {"lease_worker": "", "lease_claim_id": "", "lease_expires_at": None, "stage": 0}
ANNOUNCED_AGAIN: dict[str, object] = {"announcement": 2, "announced_at": None}
