"""Rows of the state machine's table: claims, reports, leases that run out, and the waits between attempts."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import material_pb2 as pb

from status_service.events import (
    Cancel,
    Claim,
    Complete,
    Delete,
    ExpireLease,
    Fail,
    HandBack,
    Progress,
    Renew,
    Report,
    Retry,
)
from status_service.record import COMPLETED, FAILED, PENDING, PROCESSING, Record
from status_service.state_machine import (
    DELETED,
    ENDED_BY_RECORD,
    EXPIRED,
    RETRYABLE_WHEN_PERMANENT,
    TIME,
    Policy,
    Transition,
    Verdict,
    retry_delay,
)
from tests.unit.material_states import (
    ANNOUNCED_AGAIN,
    BRAIN,
    BROKEN,
    CLAIM,
    CREATED,
    DONE,
    LEASE_END,
    NOW,
    REPORTS,
    UNLEASED,
    WAITING,
    WORKING,
    after,
    assert_unchanged,
    differences,
)


def test_claim_of_a_waiting_material_gives_a_lease_and_the_next_attempt_number() -> None:
    decision = after(WAITING, CLAIM)
    assert decision.verdict is Verdict.APPLIED
    assert decision.changed
    assert differences(WAITING, decision.record) == {
        "status": PROCESSING,
        "revision": 2,
        "updated_at": NOW,
        "attempt": 1,
        "stage": pb.PROCESSING_STAGE_OPENING,
        "lease_worker": "worker-9",
        "lease_claim_id": "claim-9",
        "lease_expires_at": LEASE_END,
        "claimed_at": NOW,
    }
    assert decision.transition == Transition(PENDING, PROCESSING, "claimed", "worker-9", 0, "", 1)


def test_claim_clears_what_the_last_attempt_left() -> None:
    before = replace(
        WAITING,
        attempt=4,
        attempt_outcome="Fail",
        not_before=NOW,
        failures=2,
        crashes=1,
        status_message="next one in 2 s",
    )
    changed = after(before, CLAIM).record
    assert (changed.attempt, changed.attempt_outcome, changed.not_before, changed.status_message) == (5, "", None, "")
    assert (changed.failures, changed.crashes) == (2, 1), "a claim is no proof that a page was read"


def test_claim_before_its_time_is_refused_and_at_its_time_granted() -> None:
    early = replace(WAITING, not_before=NOW + timedelta(microseconds=1))
    assert_unchanged(after(early, CLAIM), early, Verdict.NOT_DUE)
    assert after(replace(WAITING, not_before=NOW), CLAIM).verdict is Verdict.APPLIED


def test_claim_of_a_leased_material_is_refused_even_when_the_lease_has_run_out() -> None:
    overdue = replace(WORKING, lease_expires_at=CREATED)
    for record in (WORKING, overdue):
        assert_unchanged(after(record, CLAIM), record, Verdict.LEASED)
        assert_unchanged(after(record, Claim("worker-1", "claim-2")), record, Verdict.LEASED)
        assert_unchanged(after(record, Claim("worker-2", "claim-1")), record, Verdict.LEASED)


def test_repeated_claim_answers_the_same_lease() -> None:
    assert_unchanged(after(WORKING, Claim("worker-1", "claim-1")), WORKING, Verdict.REPEATED)


@pytest.mark.parametrize("record", [DONE, BROKEN])
def test_claim_of_what_has_ended_is_refused(record: Record) -> None:
    assert_unchanged(after(record, CLAIM), record, Verdict.ENDED)


def test_progress_with_a_new_page_renews_the_lease_and_both_budgets() -> None:
    before = replace(WORKING, failures=2, crashes=1)
    decision = after(before, Progress("worker-1", 2, 4, 9, pb.PROCESSING_STAGE_INDEXING))
    assert decision.verdict is Verdict.APPLIED
    assert decision.changed
    assert decision.transition is None, "progress is no line of the history"
    assert differences(before, decision.record) == {
        "revision": 6,
        "updated_at": NOW,
        "pages_done": 4,
        "stage": pb.PROCESSING_STAGE_INDEXING,
        "failures": 0,
        "crashes": 0,
        "lease_expires_at": LEASE_END,
    }


def test_progress_without_a_new_page_keeps_the_budgets_and_never_counts_back() -> None:
    before = replace(WORKING, failures=2, crashes=1)
    changed = after(before, Progress("worker-1", 2, 1, 9, pb.PROCESSING_STAGE_OPENING)).record
    assert (changed.pages_done, changed.failures, changed.crashes) == (3, 2, 1)


def test_progress_that_says_nothing_new_renews_the_lease_without_a_revision() -> None:
    decision = after(WORKING, Progress("worker-1", 2, 3, 9, pb.PROCESSING_STAGE_READING))
    assert (decision.verdict, decision.changed, decision.transition) == (Verdict.APPLIED, False, None)
    assert differences(WORKING, decision.record) == {"lease_expires_at": LEASE_END}


def test_renew_renews_the_lease_without_a_revision() -> None:
    decision = after(WORKING, Renew("worker-1", 2))
    assert (decision.verdict, decision.changed, decision.transition) == (Verdict.APPLIED, False, None)
    assert differences(WORKING, decision.record) == {"lease_expires_at": LEASE_END}


def test_complete_ends_the_material() -> None:
    before = replace(WORKING, failures=2, crashes=1)
    decision = after(before, Complete("worker-1", 2, 9, True))
    assert decision.verdict is Verdict.APPLIED
    assert differences(before, decision.record) == UNLEASED | {
        "status": COMPLETED,
        "revision": 6,
        "updated_at": NOW,
        "processed_at": NOW,
        "attempt_outcome": "Complete",
        "pages_done": 9,
        "has_embedding": True,
        "failures": 0,
        "crashes": 0,
    }
    assert decision.transition == Transition(PROCESSING, COMPLETED, "completed", "worker-1", 0, "", 2)


@pytest.mark.parametrize("reason", [value for value in pb.FailureReason.values() if value])
def test_permanent_failure_ends_the_material_at_once(reason: int) -> None:
    decision = after(WORKING, Fail("worker-1", 2, reason, "mend it", transient=False))
    assert differences(WORKING, decision.record) == UNLEASED | {
        "status": FAILED,
        "revision": 6,
        "updated_at": NOW,
        "processed_at": NOW,
        "attempt_outcome": "Fail",
        "failure_reason": reason,
        "error_message": "mend it",
        "failures": 1,
    } | ({"retryable": True} if reason in RETRYABLE_WHEN_PERMANENT else {})
    assert decision.transition == Transition(PROCESSING, FAILED, "failed", "worker-1", reason, "mend it", 2)


def test_permanent_failures_are_retryable_exactly_as_the_contract_says() -> None:
    contract = (Path(__file__).resolve().parents[2] / "protos/materials/v1/material.proto").read_text()
    stated = {
        name: word for word, name in re.findall(r"(Retryable|Not retryable)[^\n]*\n  FAILURE_REASON_(\w+) = ", contract)
    }
    reasons = [name for name, value in pb.FailureReason.items() if value]
    assert {
        name: after(WORKING, Fail("worker-1", 2, pb.FailureReason.Value(name), "", transient=False)).record.retryable
        for name in reasons
    } == {name: stated[name.removeprefix("FAILURE_REASON_")] == "Retryable" for name in reasons}


def test_transient_failure_waits_with_backoff_and_is_announced_again() -> None:
    decision = after(WORKING, Fail("worker-1", 2, BRAIN, "no answer", transient=True))
    assert differences(WORKING, decision.record) == UNLEASED | ANNOUNCED_AGAIN | {
        "status": PENDING,
        "revision": 6,
        "updated_at": NOW,
        "attempt_outcome": "Fail",
        "failures": 1,
        "not_before": NOW + timedelta(seconds=1.5),
        "status_message": "attempt 2 failed (no answer); waiting for the next one",
    }
    assert decision.transition == Transition(PROCESSING, PENDING, "attempt_failed", "worker-1", BRAIN, "no answer", 2)


def test_transient_failure_that_spends_the_budget_ends_the_material_retryable() -> None:
    decision = after(replace(WORKING, failures=2), Fail("worker-1", 2, BRAIN, "no answer", transient=True))
    changed = decision.record
    assert (changed.status, changed.failures, changed.retryable) == (FAILED, 3, True)
    assert (changed.failure_reason, changed.error_message, changed.processed_at) == (BRAIN, "no answer", NOW)
    assert decision.transition == Transition(PROCESSING, FAILED, "failed", "worker-1", BRAIN, "no answer", 2)


def test_hand_back_costs_nothing_and_is_announced_again() -> None:
    before = replace(WORKING, failures=2, crashes=1)
    decision = after(before, HandBack("worker-1", 2, "waiting for the AI Brain"))
    assert differences(before, decision.record) == UNLEASED | ANNOUNCED_AGAIN | {
        "status": PENDING,
        "revision": 6,
        "updated_at": NOW,
        "attempt_outcome": "HandBack",
        "status_message": "waiting for the AI Brain",
    }
    assert decision.transition == Transition(
        PROCESSING, PENDING, "handed_back", "worker-1", 0, "waiting for the AI Brain", 2
    )


def test_lease_that_ran_out_counts_a_crash_and_is_announced_again() -> None:
    before = replace(WORKING, lease_expires_at=NOW, failures=2)
    decision = after(before, ExpireLease())
    assert differences(before, decision.record) == UNLEASED | ANNOUNCED_AGAIN | {
        "status": PENDING,
        "revision": 6,
        "updated_at": NOW,
        "attempt_outcome": EXPIRED,
        "crashes": 1,
        "status_message": "its processor was lost; waiting for another one",
    }
    assert decision.transition is not None
    assert (decision.transition.event, decision.transition.actor) == ("lease_expired", TIME)


def test_lease_that_ran_out_once_too_often_fails_as_crashed_and_retryable() -> None:
    decision = after(replace(WORKING, lease_expires_at=NOW, crashes=1), ExpireLease())
    changed = decision.record
    assert (changed.status, changed.crashes, changed.retryable) == (FAILED, 2, True)
    assert changed.failure_reason == pb.FAILURE_REASON_PROCESSOR_CRASHED
    assert changed.error_message
    assert decision.transition is not None
    assert (decision.transition.event, decision.transition.to_status) == ("failed", FAILED)


@pytest.mark.parametrize("report", REPORTS)
def test_reports_of_another_attempt_or_worker_are_stale(report: Report) -> None:
    for other in (replace(report, attempt=1), replace(report, attempt=3), replace(report, worker="worker-2")):
        assert_unchanged(after(WORKING, other), WORKING, Verdict.STALE)


@pytest.mark.parametrize("report", REPORTS)
def test_reports_on_what_nobody_works_on_are_stale(report: Report) -> None:
    for record in (
        replace(WAITING, attempt=2, attempt_outcome=EXPIRED),
        replace(BROKEN, attempt_outcome=ENDED_BY_RECORD),
    ):
        assert_unchanged(after(record, report), record, Verdict.STALE)


@pytest.mark.parametrize("report", [r for r in REPORTS if isinstance(r, Complete | Fail | HandBack)])
def test_repeat_of_the_report_that_ended_an_attempt_hears_that_all_is_well(report: Report) -> None:
    ended = after(WORKING, report).record
    assert_unchanged(after(ended, report), ended, Verdict.REPEATED)
    for other in REPORTS:
        if type(other) is not type(report):
            assert_unchanged(after(ended, other), ended, Verdict.STALE)


@pytest.mark.parametrize("report", [r for r in REPORTS if isinstance(r, Fail | HandBack)])
def test_repeat_is_known_also_when_a_person_acted_in_between(report: Report) -> None:
    cancelled = after(after(WORKING, report).record, Cancel("ada")).record
    retried = after(cancelled, Retry("ada")).record
    for record in (cancelled, retried):
        if record.status in (PENDING, FAILED):
            assert_unchanged(after(record, report), record, Verdict.REPEATED)


def test_worker_whose_lease_is_taken_away_by_the_record_can_be_told() -> None:
    assert after(WORKING, Cancel("ada")).record.attempt_outcome == ENDED_BY_RECORD
    assert after(WORKING, Delete("ada")).record.attempt_outcome == DELETED
    assert after(replace(WORKING, lease_expires_at=NOW), ExpireLease()).record.attempt_outcome == EXPIRED


@given(
    failures=st.integers(1, 10_000),
    jitter=st.floats(0, 1, exclude_max=True),
    base=st.floats(0.001, 100),
    cap=st.floats(0.001, 10_000),
)
def test_backoff_is_between_half_and_all_of_a_step_that_doubles_to_its_cap(
    failures: int, jitter: float, base: float, cap: float
) -> None:
    policy = Policy(backoff_base=base, backoff_cap=cap)
    step = min(cap, base * 2.0 ** min(failures - 1, 500))
    assert step / 2 <= retry_delay(failures, policy, lambda: jitter) <= step
