"""A pause of all processing, as the state machine is told of it: it refuses claims and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from status_service.events import Claim, Event
from status_service.record import Record
from status_service.state_machine import Verdict
from tests.unit.material_states import (
    BROKEN,
    CLAIM,
    CREATED,
    DONE,
    EVERY_EVENT,
    NOW,
    REMOVED,
    WAITING,
    WORKING,
    after,
    assert_unchanged,
)


@pytest.mark.parametrize(
    "record", [WAITING, WORKING, replace(WORKING, lease_expires_at=CREATED), DONE, BROKEN, REMOVED]
)
@pytest.mark.parametrize("event", [*EVERY_EVENT, Claim("worker-1", "claim-1")])
def test_pause_refuses_exactly_the_claims_that_would_be_granted(record: Record, event: Event) -> None:
    without = after(record, event)
    if isinstance(event, Claim) and without.verdict is Verdict.APPLIED:
        assert_unchanged(after(record, event, paused=True), record, Verdict.PAUSED)
    else:
        assert after(record, event, paused=True) == without


def test_claim_before_its_time_is_not_due_even_in_a_pause() -> None:
    early = replace(WAITING, not_before=NOW + timedelta(seconds=1))
    assert_unchanged(after(early, CLAIM, paused=True), early, Verdict.NOT_DUE)
