"""The state of a material: everything about what may follow what lives here, and nothing else knows.

    state       event            next         who            what is recorded
    ----------  ---------------  -----------  -------------  -------------------------------------------------------------
    (none)      Create           PENDING      Ingest         revision 1, announcement 1
    PENDING     Claim            PROCESSING   processor      attempt + 1 (the fencing token), a lease; refused until `not_before`
                                                             and, by PAUSED, while processing is paused
    PROCESSING  Progress         PROCESSING   lease holder   pages, stage; lease renewed; new pages reset both budgets
    PROCESSING  Renew            PROCESSING   lease holder   lease renewed; no revision
    PROCESSING  Complete         COMPLETED    lease holder   processed_at
    PROCESSING  Fail, permanent  FAILED       lease holder   reason; not retryable, or retryable when mending elsewhere helps
    PROCESSING  Fail, transient  PENDING      lease holder   failures + 1, `not_before` by jittered backoff, announced again
                                 FAILED                      ... when failures reach `max_failures`: retryable
    PROCESSING  HandBack         PENDING      lease holder   announced again; costs nothing
    PROCESSING  ExpireLease      PENDING      time           crashes + 1, announced again
                                 FAILED                      ... when crashes reach `max_crashes`: PROCESSOR_CRASHED, retryable
    PENDING,    Cancel           FAILED       a person       CANCELLED, retryable; the lease is revoked
    PROCESSING
    FAILED      Retry            PENDING      a person       fresh budgets, announced again; refused when not retryable
    any         Delete           deleted      a person       gone for users at once; announced as deleted until both parts are purged

What is not in the table changes nothing: a Claim is refused, a report of another attempt than the leased one is STALE, Cancel and Retry of what has ended or
waits already answer it as it is. A repeat of the report that ended an attempt is REPEATED, not STALE, so that a worker whose acknowledgement was lost
hears that all is well.

Budgets count consecutive attempts without a new page: a book of a thousand pages survives any number of interruptions, a page that kills its reader
does not. `now` is always the database's clock; a lease is held by whoever has the newest attempt number, whatever their own clock says.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

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
    Purged,
    Renew,
    Report,
    Retry,
)
from status_service.record import ALL_PURGED, COMPLETED, FAILED, PENDING, PROCESSING, Record

#: Permanent for the attempt, but worth another try once a person has mended the cause: those the contract calls retryable.
RETRYABLE_WHEN_PERMANENT = frozenset(
    {
        pb.FAILURE_REASON_CANCELLED,
        pb.FAILURE_REASON_BRAIN_FAILED,
        pb.FAILURE_REASON_BRAIN_MISCONFIGURED,
        pb.FAILURE_REASON_PROCESSOR_CRASHED,
        pb.FAILURE_REASON_RENDERING_FAILED,
        pb.FAILURE_REASON_PROCESSING_TIMED_OUT,
        pb.FAILURE_REASON_INTERNAL,
    }
)
TIME = "status_service"
EXPIRED, DELETED, ENDED_BY_RECORD = "expired", "deleted", "ended by the record"
#: Outcomes of an attempt that its worker did not report itself: it has to be told.
TAKEN_AWAY = frozenset({EXPIRED, DELETED, ENDED_BY_RECORD})


class Verdict(Enum):
    """What became of an event."""

    APPLIED = "applied"
    REPEATED = "repeated"  # as it was already
    STALE = "stale"  # of an attempt that does not hold the lease
    LEASED = "leased"  # another attempt holds the lease
    ENDED = "ended"  # COMPLETED or FAILED
    NOT_DUE = "not_due"  # waits for its time
    PAUSED = "paused"  # could be claimed, if processing were not paused
    NOT_RETRYABLE = "not_retryable"
    NOT_FOUND = "not_found"  # unknown or deleted


@dataclass(frozen=True, slots=True)
class Transition:
    """A line of the history."""

    from_status: int
    to_status: int
    event: str
    actor: str
    failure_reason: int
    message: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The record after the event, and what to write down of it. `changed` says whether watchers have something new to see."""

    verdict: Verdict
    record: Record
    transition: Transition | None = None
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Times in seconds, budgets in attempts."""

    lease: float = 20.0
    announce_lease: float = 5.0
    max_failures: int = 5
    max_crashes: int = 3
    backoff_base: float = 2.0
    backoff_cap: float = 120.0


def retry_delay(failures: int, policy: Policy, random: Callable[[], float]) -> float:
    """Seconds before the next attempt after the given number of consecutive failures (at least 1): exponential with equal jitter, between half and all of
    the step (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015)."""
    step = min(policy.backoff_cap, policy.backoff_base * 2.0 ** min(failures - 1, 500))  # a double ends at 2^1023
    return float(step * (0.5 + random() / 2))


def decide(
    record: Record,
    event: Event,
    now: datetime,
    policy: Policy,
    random: Callable[[], float] = random_module.random,
    *,
    paused: bool = False,
) -> Decision:
    """What follows from an event. Pure: the same arguments give the same decision. `paused` says whether all processing is."""
    if isinstance(event, Purged):
        return _purge(record, event)
    if record.deleted_at is not None:
        return Decision(Verdict.NOT_FOUND, record)
    match event:
        case Claim():
            return _claim(record, event, now, policy, paused)
        case ExpireLease():
            return _expire(record, now, policy)
        case Cancel():
            if record.ended:
                return Decision(Verdict.REPEATED, record)
            return _failed(
                record, now, "cancelled", event.actor, pb.FAILURE_REASON_CANCELLED, f"cancelled by {event.actor}", True
            )
        case Retry():
            return _retry(record, event, now)
        case Delete():
            after = replace(
                _to_be_announced(_unleased(record, DELETED)),
                deleted_at=now,
                request_id="",
                status_message="",
            )
            return _changed(record, after, now, "deleted", event.actor)
        case Progress() | Renew() | Complete() | Fail() | HandBack():
            return _report(record, event, now, policy, random)


def _claim(record: Record, event: Claim, now: datetime, policy: Policy, paused: bool) -> Decision:
    if record.ended:
        return Decision(Verdict.ENDED, record)
    if record.status == PROCESSING:
        if record.lease_worker == event.worker and record.lease_claim_id == event.claim_id:
            return Decision(Verdict.REPEATED, record)
        return Decision(Verdict.LEASED, record)
    if record.not_before is not None and record.not_before > now:
        return Decision(Verdict.NOT_DUE, record)
    if paused:
        return Decision(Verdict.PAUSED, record)
    after = replace(
        record,
        status=PROCESSING,
        attempt=record.attempt + 1,
        attempt_outcome="",
        stage=pb.PROCESSING_STAGE_OPENING,
        status_message="",
        not_before=None,
        lease_worker=event.worker,
        lease_claim_id=event.claim_id,
        lease_expires_at=now + timedelta(seconds=policy.lease),
        claimed_at=now,
    )
    return _changed(record, after, now, "claimed", event.worker)


def _report(record: Record, event: Report, now: datetime, policy: Policy, random: Callable[[], float]) -> Decision:
    holds_lease = record.status == PROCESSING and (record.attempt, record.lease_worker) == (event.attempt, event.worker)
    if not holds_lease:
        repeated = record.attempt == event.attempt and record.attempt_outcome == _outcome(event)
        return Decision(Verdict.REPEATED if repeated else Verdict.STALE, record)
    lease_end = now + timedelta(seconds=policy.lease)
    match event:
        case Renew():
            return Decision(Verdict.APPLIED, replace(record, lease_expires_at=lease_end))
        case Progress():
            fresh = event.pages_done > record.pages_done
            if not fresh and (event.pages_total, event.stage) == (record.pages_total, record.stage):
                return Decision(Verdict.APPLIED, replace(record, lease_expires_at=lease_end))
            after = replace(
                record,
                revision=record.revision + 1,
                updated_at=now,
                lease_expires_at=lease_end,
                pages_done=max(event.pages_done, record.pages_done),
                pages_total=event.pages_total,
                stage=event.stage,
                failures=0 if fresh else record.failures,
                crashes=0 if fresh else record.crashes,
            )
            return Decision(Verdict.APPLIED, after, changed=True)
        case Complete():
            after = replace(
                _unleased(record, _outcome(event)),
                status=COMPLETED,
                pages_done=event.pages_total,
                pages_total=event.pages_total,
                has_embedding=event.has_embedding,
                processed_at=now,
                failures=0,
                crashes=0,
            )
            return _changed(record, after, now, "completed", event.worker)
        case HandBack():
            after = replace(
                _to_be_announced(_unleased(record, _outcome(event))),
                status=PENDING,
                status_message=event.message,
            )
            return _changed(record, after, now, "handed_back", event.worker, message=event.message)
        case Fail():
            return _fail(record, event, now, policy, random)


def _fail(record: Record, event: Fail, now: datetime, policy: Policy, random: Callable[[], float]) -> Decision:
    failures = record.failures + 1
    if not event.transient or failures >= policy.max_failures:
        retryable = event.transient or event.reason in RETRYABLE_WHEN_PERMANENT
        counted = replace(record, failures=failures)
        return _failed(counted, now, "failed", event.worker, event.reason, event.message, retryable, _outcome(event))
    delay = retry_delay(failures, policy, random)
    after = replace(
        _to_be_announced(_unleased(record, _outcome(event))),
        status=PENDING,
        failures=failures,
        not_before=now + timedelta(seconds=delay),
        status_message=f"attempt {record.attempt} failed ({event.message}); waiting for the next one",
    )
    return _changed(record, after, now, "attempt_failed", event.worker, reason=event.reason, message=event.message)


def _expire(record: Record, now: datetime, policy: Policy) -> Decision:
    if record.status != PROCESSING or record.lease_expires_at is None or record.lease_expires_at > now:
        return Decision(Verdict.REPEATED, record)
    crashes = record.crashes + 1
    if crashes >= policy.max_crashes:
        message = f"the processor died {crashes} times on this material without finishing a page"
        counted = replace(record, crashes=crashes)
        return _failed(counted, now, "failed", TIME, pb.FAILURE_REASON_PROCESSOR_CRASHED, message, True)
    message = "its processor did not renew the lease"
    after = replace(
        _to_be_announced(_unleased(record, EXPIRED)),
        status=PENDING,
        crashes=crashes,
        status_message="its processor was lost; waiting for another one",
    )
    return _changed(record, after, now, "lease_expired", TIME, message=message)


def _retry(record: Record, event: Retry, now: datetime) -> Decision:
    if record.status != FAILED:
        return Decision(Verdict.REPEATED, record)
    if not record.retryable:
        return Decision(Verdict.NOT_RETRYABLE, record)
    after = replace(
        _to_be_announced(record),
        status=PENDING,
        failure_reason=0,
        error_message="",
        retryable=False,
        processed_at=None,
        not_before=None,
        failures=0,
        crashes=0,
    )
    return _changed(record, after, now, "retried", event.actor, message=event.message)


def _purge(record: Record, event: Purged) -> Decision:
    if record.deleted_at is None or record.purged_parts & event.part:
        return Decision(Verdict.REPEATED, record)
    parts = record.purged_parts | event.part
    # What remains is a tombstone for watchers that resume: no personal data.
    name = "" if parts == ALL_PURGED else record.name
    return Decision(Verdict.APPLIED, replace(record, purged_parts=parts, name=name))


def _failed(
    record: Record,
    now: datetime,
    event: str,
    actor: str,
    reason: int,
    message: str,
    retryable: bool,
    outcome: str = ENDED_BY_RECORD,
) -> Decision:
    after = replace(
        _unleased(record, outcome),
        status=FAILED,
        failure_reason=reason,
        error_message=message,
        retryable=retryable,
        status_message="",
        not_before=None,
        processed_at=now,
    )
    return _changed(record, after, now, event, actor, reason=reason, message=message)


def _unleased(record: Record, outcome: str) -> Record:
    # An attempt that has ended keeps the outcome its worker reported: the report may still come again.
    outcome = outcome if record.status == PROCESSING else record.attempt_outcome
    return replace(record, attempt_outcome=outcome, stage=0, lease_worker="", lease_claim_id="", lease_expires_at=None)


def _to_be_announced(record: Record) -> Record:
    return replace(record, announcement=record.announcement + 1, announced_at=None, announce_lease_expires_at=None)


def _outcome(event: Report) -> str:
    return type(event).__name__


def _changed(
    before: Record, after: Record, now: datetime, event: str, actor: str, *, reason: int = 0, message: str = ""
) -> Decision:
    after = replace(after, revision=before.revision + 1, updated_at=now)
    transition = Transition(before.status, after.status, event, actor, reason, message, after.attempt)
    return Decision(Verdict.APPLIED, after, transition, changed=True)
