"""What every history of a material must hold: each decision by itself, and the record at any time."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from materials.v1 import material_pb2 as pb

from status_service.announcing import REPEAT_SECONDS
from status_service.batch_store import version
from status_service.events import Claim, Complete, Event, ExpireLease, Fail, Purged, Renew, Report, Retry
from status_service.record import (
    ALL_PURGED,
    COMPLETED,
    FAILED,
    OBJECT_PURGED,
    PASSAGES_PURGED,
    PENDING,
    PROCESSING,
    Record,
)
from status_service.state_machine import Decision, Policy, Verdict, decide

START = datetime(2030, 1, 1, tzinfo=UTC)
REASONS = [value for value in pb.FailureReason.values() if value not in (0, pb.FAILURE_REASON_CANCELLED)]
announced = attrgetter("announced_at", "announced_incarnation", "announced_sequence", "announce_lease_expires_at")
IMMUTABLE = ("material_id", "owner_id", "course_id", "file_path", "file_size", "sha256", "created_at")


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def waits(record: Record) -> bool:
    """Whether somebody has to come for it: to read it, or to purge it."""
    if record.deleted_at is not None:
        return record.purged_parts != ALL_PURGED
    return record.status == PENDING


def due_at(record: Record) -> datetime:
    """When an announcer may take it at the latest, for a stream that lost nothing. Only for records that wait."""
    if record.announced_at is not None:
        return record.announced_at + seconds(REPEAT_SECONDS)
    due = record.announce_lease_expires_at or START
    if record.deleted_at is None and record.not_before is not None:
        due = max(due, record.not_before)
    return due


def leased_to_announcer(record: Record, now: datetime, policy: Policy) -> Record:
    """As LeaseAnnouncements leaves the row."""
    return replace(
        record,
        announcement=record.announcement + 1,
        announced_at=None,
        announce_lease_expires_at=now + seconds(policy.announce_lease),
    )


class PromisedHistory(RuleBasedStateMachine):
    """One material, what stands around it, and an account of both. The rules, by which things happen, are a subclass's."""

    @initialize(
        max_failures=st.integers(1, 4),
        max_crashes=st.integers(1, 3),
        pages=st.integers(0, 4),
        base=st.sampled_from([0.5, 2.0, 60.0]),
    )
    def upload(self, max_failures: int, max_crashes: int, pages: int, base: float) -> None:
        self.policy = Policy(max_failures=max_failures, max_crashes=max_crashes, backoff_base=base)
        self.pages, self.now, self.workers_ever = pages, START, 0
        self.record = Record(
            material_id=uuid.UUID(int=1),
            owner_id="ada",
            course_id="algebra",
            name="notes.pdf",
            file_path="objects/00/1",
            file_type="pdf",
            media_type="application/pdf",
            file_size=10,
            sha256="0" * 64,
            created_at=START,
            updated_at=START,
            announce_lease_expires_at=START + seconds(self.policy.announce_lease),
        )
        self.in_hand = [1]  # announcement numbers that some announcer has and has not published
        self.published: list[int] = []  # acknowledged by the stream, not marked in the record yet
        self.stream: list[int] = []  # messages that the stream may deliver
        self.claims: list[Claim] = []  # every claim ever sent
        self.believers: dict[tuple[str, int], None] = {}  # (worker, attempt): who thinks it holds the lease
        self.sent: list[Report] = []  # every report ever sent
        self.last_status: int = PENDING  # `to` of the last line of the history
        self.completed_by: int | None = None
        self.crashes = self.failures = 0

    def apply(self, event: Event) -> Decision:
        """One decision, held to all that is promised of any decision."""
        before = self.record
        decision = decide(before, event, self.now, self.policy, lambda: 0.25)
        assert decision == decide(before, event, self.now, self.policy, lambda: 0.25), "a decision is pure"
        changed = decision.record
        if decision.verdict is not Verdict.APPLIED:
            assert decision == Decision(decision.verdict, before)
        if decision.changed:
            assert (changed.revision, changed.updated_at) == (before.revision + 1, self.now)
        else:
            assert (changed.revision, changed.updated_at, changed.status) == (
                before.revision,
                before.updated_at,
                before.status,
            )
        for name in IMMUTABLE:
            assert getattr(changed, name) == getattr(before, name)
        assert (version(changed) == version(before)) == (changed == before), (
            "what is decided is written on this version"
        )
        if changed.announcement == before.announcement:
            assert announced(changed) == announced(before), "no decision writes how an announcement fares"
        else:
            assert announced(changed) == (None, before.announced_incarnation, before.announced_sequence, None)
        granted = isinstance(event, Claim) and decision.verdict is Verdict.APPLIED
        assert changed.attempt == before.attempt + granted
        if granted:
            assert before.status == PENDING
            assert before.not_before is None or before.not_before <= self.now
        if isinstance(event, Report):
            holder = before.status == PROCESSING and (before.lease_worker, before.attempt) == (
                event.worker,
                event.attempt,
            )
            assert (decision.verdict is Verdict.APPLIED) == (holder and before.deleted_at is None)
        assert changed.announcement - before.announcement in (0, 1)
        if before.status == COMPLETED or before.deleted_at is not None:
            assert changed.status == before.status
            assert changed.pages_done == before.pages_done
        if decision.transition is not None:
            assert decision.changed
            assert decision.transition.from_status == self.last_status == before.status
            assert decision.transition.to_status == changed.status
            assert decision.transition.attempt == changed.attempt
            self.last_status = decision.transition.to_status
        else:
            assert changed.status == before.status
        if decision.verdict is Verdict.APPLIED and isinstance(event, Complete):
            assert self.completed_by is None, "completed once"
            self.completed_by = event.attempt
        if decision.transition is not None and waits(changed):
            assert changed.announcement == before.announcement + 1, "no duplicate window swallows it"
            assert (changed.announced_at, changed.announce_lease_expires_at) == (None, None), "due now or at not_before"
        self.count(event, before, changed, decision)
        self.record = changed
        return decision

    def count(self, event: Event, before: Record, changed: Record, decision: Decision) -> None:
        """Keeps its own account of the budgets: consecutive attempts without a new page."""
        if decision.verdict is Verdict.APPLIED:
            self.crashes += isinstance(event, ExpireLease)
            self.failures += isinstance(event, Fail)
            if isinstance(event, Retry | Complete) or changed.pages_done > before.pages_done:
                self.crashes = self.failures = 0
        assert (changed.crashes, changed.failures) == (self.crashes, self.failures)

    # What holds at any time.

    @invariant()
    def never_lost(self) -> None:
        record = self.record
        if waits(record):
            longest = max(REPEAT_SECONDS, self.policy.announce_lease, self.policy.backoff_cap)
            assert due_at(record) <= self.now + seconds(longest)
        elif record.deleted_at is None and not record.ended:
            assert record.status == PROCESSING
            assert record.lease_expires_at is not None
            assert record.lease_expires_at <= self.now + seconds(self.policy.lease)

    @invariant()
    def lease_exactly_while_processing(self) -> None:
        record = self.record
        leased = record.status == PROCESSING and record.deleted_at is None
        assert (record.lease_worker != "", record.lease_claim_id != "", record.lease_expires_at is not None) == (
            leased,
            leased,
            leased,
        )

    @invariant()
    def never_doubled(self) -> None:
        holders = [
            (worker, attempt)
            for worker, attempt in self.believers
            if decide(self.record, Renew(worker, attempt), self.now, self.policy).verdict is Verdict.APPLIED
        ]
        assert len(holders) <= 1
        assert all(holder == (self.record.lease_worker, self.record.attempt) for holder in holders)

    @invariant()
    def budgets_are_kept(self) -> None:
        record = self.record
        if not record.ended:
            assert 0 <= record.failures < self.policy.max_failures
            assert 0 <= record.crashes < self.policy.max_crashes
        assert 0 <= record.pages_done <= max(record.pages_done, record.pages_total) <= self.pages

    @invariant()
    def says_why_exactly_when_failed(self) -> None:
        record = self.record
        failed = record.status == FAILED
        assert (record.failure_reason != 0) == failed
        assert (record.error_message != "") == failed
        assert failed or not record.retryable
        assert (record.processed_at is not None) == record.ended
        assert record.stage == 0 or record.status == PROCESSING
        assert record.not_before is None or record.status == PENDING
        assert not (record.ended and record.status_message)

    @invariant()
    def never_stuck(self) -> None:
        """From here, time and one healthy worker bring it to its end."""
        record, now = self.record, self.now
        for _ in range(4):
            if waits(record):
                now = max(now, due_at(record))
                record = leased_to_announcer(record, now, self.policy)
                if record.deleted_at is not None:
                    for part in (OBJECT_PURGED, PASSAGES_PURGED):
                        record = decide(record, Purged(part), now, self.policy).record
                else:
                    claimed = decide(record, Claim("healthy", "only"), now, self.policy)
                    assert claimed.verdict is Verdict.APPLIED, "what is announced can be claimed"
                    done = Complete("healthy", claimed.record.attempt, self.pages, True)
                    record = decide(claimed.record, done, now, self.policy).record
            elif record.deleted_at is None and record.lease_expires_at is not None:
                now = max(now, record.lease_expires_at)
                record = decide(record, ExpireLease(), now, self.policy).record
        assert not waits(record)
        assert record.deleted_at is not None or record.ended
        if record.deleted_at is not None:
            assert (record.purged_parts, record.name) == (ALL_PURGED, "")
