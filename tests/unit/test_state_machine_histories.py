"""What every history of a material must hold, whatever workers, the queue, the announcer, people and time do to it.

Nothing here is a server: the machine drives `decide` alone. Around it stand, as small as they can be, the things that the record has to live with: a
stream that delivers what it holds late, twice or never; announcers that die with announcements in hand; workers that die, sleep past their lease and
wake up believing; acknowledgements that are lost, so that claims and reports come again.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from materials.v1 import material_pb2 as pb

from status_service.announcing import REPEAT_SECONDS
from status_service.events import (
    Cancel,
    Claim,
    Complete,
    Delete,
    ExpireLease,
    Fail,
    HandBack,
    Progress,
    Purged,
    Renew,
    Report,
    Retry,
)
from status_service.record import OBJECT_PURGED, PASSAGES_PURGED, PENDING, PROCESSING
from status_service.state_machine import Verdict
from tests.unit.material_history import REASONS, PromisedHistory, due_at, leased_to_announcer, seconds, waits


class MaterialHistory(PromisedHistory):
    """One material and everything around it."""

    # Time, the announcer and the stream.

    @rule(passed=st.sampled_from([0.1, 1.0, 6.0, 21.0, 130.0, REPEAT_SECONDS]))
    def time_passes(self, passed: float) -> None:
        self.now += seconds(passed)

    @precondition(lambda self: waits(self.record) and due_at(self.record) <= self.now)
    @rule()
    def announcer_takes_it(self) -> None:
        self.record = leased_to_announcer(self.record, self.now, self.policy)
        self.in_hand.append(self.record.announcement)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), acknowledged=st.booleans())
    def announcer_publishes(self, data: st.DataObject, acknowledged: bool) -> None:
        number = self.in_hand.pop(data.draw(st.integers(0, len(self.in_hand) - 1)))
        self.stream.append(number)
        if acknowledged:
            self.published.append(number)

    @precondition(lambda self: self.in_hand or self.published)
    @rule()
    def announcer_dies(self) -> None:
        self.in_hand, self.published = [], []

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def announcer_marks(self, data: st.DataObject) -> None:
        number = self.published.pop(data.draw(st.integers(0, len(self.published) - 1)))
        if number == self.record.announcement:
            self.record = replace(self.record, announced_at=self.now, announce_lease_expires_at=None)

    @precondition(lambda self: self.stream)
    @rule()
    def stream_is_wiped(self) -> None:
        self.stream = []
        # Another incarnation: what the record says was announced is due again.
        if waits(self.record) and self.record.announced_at is not None:
            self.record = leased_to_announcer(self.record, self.now, self.policy)
            self.in_hand.append(self.record.announcement)

    @precondition(lambda self: self.stream)
    @rule(data=st.data(), again=st.booleans())
    def stream_delivers(self, data: st.DataObject, again: bool) -> None:
        index = data.draw(st.integers(0, len(self.stream) - 1))
        self.stream.append(self.stream[index] if again else self.stream.pop(index))
        self.stream_delivers_last()

    @precondition(lambda self: self.record.deleted_at is None and self.record.status == PENDING)
    @rule()
    def all_goes_well_until_the_claim(self) -> None:
        """The common way, in one step, so that histories get long."""
        self.now = max(self.now, due_at(self.record))
        self.announcer_takes_it()
        self.stream.append(self.in_hand.pop())
        self.stream_delivers_last()
        assert self.record.status == PROCESSING

    def stream_delivers_last(self) -> None:
        self.stream.pop()
        self.workers_ever += 1
        self.claim(Claim(f"worker-{self.workers_ever % 3}", f"claim-{self.workers_ever}"))

    # Workers.

    def claim(self, claim: Claim) -> None:
        decision = self.apply(claim)
        self.claims.append(claim)
        if decision.verdict in (Verdict.APPLIED, Verdict.REPEATED):
            assert (self.record.lease_worker, self.record.lease_claim_id) == (claim.worker, claim.claim_id)
            self.believers[claim.worker, self.record.attempt] = None

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def claim_comes_again(self, data: st.DataObject) -> None:
        self.claim(data.draw(st.sampled_from(self.claims)))

    def report(self, report: Report) -> None:
        self.sent.append(report)
        self.apply(report)

    def some_believer(self, data: st.DataObject) -> tuple[str, int]:
        """Mostly the last one: it holds the lease if any does."""
        believers = list(self.believers)
        return believers[-1] if data.draw(st.integers(0, 3)) else data.draw(st.sampled_from(believers))

    @precondition(lambda self: self.believers)
    @rule(data=st.data(), more=st.integers(0, 2), stage=st.sampled_from(pb.ProcessingStage.values()))
    def believer_reports_progress(self, data: st.DataObject, more: int, stage: int) -> None:
        worker, attempt = self.some_believer(data)
        done = min(self.pages, self.record.pages_done + more)
        before = self.record
        self.report(Progress(worker, attempt, done, self.pages, stage))
        if self.record is not before and done > before.pages_done:
            assert (self.record.failures, self.record.crashes) == (0, 0)

    @precondition(lambda self: self.believers)
    @rule(data=st.data())
    def believer_renews(self, data: st.DataObject) -> None:
        self.report(Renew(*self.some_believer(data)))

    @precondition(lambda self: self.believers)
    @rule(
        data=st.data(),
        kind=st.sampled_from([Complete, Fail, Fail, HandBack]),
        transient=st.booleans(),
        reason=st.sampled_from(REASONS),
    )
    def believer_ends(self, data: st.DataObject, kind: type, transient: bool, reason: int) -> None:
        worker, attempt = self.some_believer(data)
        del self.believers[worker, attempt]
        if kind is Complete:
            self.report(Complete(worker, attempt, self.pages, self.pages > 0))
        elif kind is Fail:
            self.report(Fail(worker, attempt, reason, "why", transient))
        else:
            self.report(HandBack(worker, attempt, "stopping"))

    @precondition(lambda self: self.believers)
    @rule(data=st.data())
    def believer_dies(self, data: st.DataObject) -> None:
        del self.believers[self.some_believer(data)]

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def report_comes_again(self, data: st.DataObject) -> None:
        self.apply(data.draw(st.sampled_from(self.sent)))

    @precondition(lambda self: self.record.lease_worker)
    @rule(worker=st.integers(0, 2), attempt=st.integers(-1, 9), transient=st.booleans())
    def stranger_reports(self, worker: int, attempt: int, transient: bool) -> None:
        if (f"worker-{worker}", attempt) != (self.record.lease_worker, self.record.attempt):
            before = self.record
            for report in (
                Renew(f"worker-{worker}", attempt),
                Complete(f"worker-{worker}", attempt, self.pages, True),
                Fail(f"worker-{worker}", attempt, REASONS[0], "", transient),
            ):
                self.apply(report)
            assert self.record is before

    # What the record does by itself, and people.

    @precondition(lambda self: self.record.lease_expires_at is not None)
    @rule(silence=st.sampled_from([0.0, 30.0]))
    def lease_runs_out(self, silence: float) -> None:
        assert self.record.lease_expires_at is not None
        self.now = max(self.now, self.record.lease_expires_at) + seconds(silence)
        self.apply(ExpireLease())
        assert self.record.lease_expires_at is None

    @precondition(lambda self: self.record.lease_worker and len(self.believers) > 1)
    @rule()
    def reaper_looks(self) -> None:
        before = self.record
        self.apply(ExpireLease())
        if before.deleted_at is None and before.lease_expires_at is not None:
            assert (self.record is not before) == (before.lease_expires_at <= self.now)

    @precondition(lambda self: self.record.attempt > 1)
    @rule()
    def person_cancels(self) -> None:
        self.apply(Cancel("ada"))

    @precondition(lambda self: self.record.ended)
    @rule()
    def person_retries(self) -> None:
        self.apply(Retry("ada"))

    @precondition(lambda self: self.record.attempt > 2)
    @rule()
    def person_deletes(self) -> None:
        self.apply(Delete("ada"))
        assert self.record.deleted_at is not None

    @precondition(lambda self: self.record.deleted_at is not None)
    @rule(part=st.sampled_from([OBJECT_PURGED, PASSAGES_PURGED]))
    def part_is_purged(self, part: int) -> None:
        self.apply(Purged(part))


MaterialHistory.TestCase.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestEveryHistoryHoldsItsPromises = MaterialHistory.TestCase
