"""Promises of what the queue tells a person, and of how many calls a retry of all takes."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import material_pb2 as pb
from materials.v1 import status_service_pb2
from rich.console import Console

from materials_cli.commands.retrying_failed import Tally, failure_reason, outcome_text
from materials_cli.errors import WrongUsage
from materials_cli.queue_report import duration_text, hints, queue_screen

OPEN, CLOSED = status_service_pb2.BREAKER_STATE_OPEN, status_service_pb2.BREAKER_STATE_CLOSED


def processors(*states: status_service_pb2.BreakerState.ValueType) -> list[status_service_pb2.ProcessorReplica]:
    return [status_service_pb2.ProcessorReplica(worker_id=f"w{state}", slots=1, brain=state) for state in states]


def failed(reason: pb.FailureReason.ValueType, count: int, retryable: int) -> status_service_pb2.FailedCount:
    return status_service_pb2.FailedCount(failure_reason=reason, count=count, retryable=retryable)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (7_500, "2 h 5 min"),
        (86_400, "1 d 0 h"),
        (99 * 86_400 + 3_600, "99 d 1 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_queue_that_needs_nobody_gives_no_hints() -> None:
    cancelled = failed(pb.FAILURE_REASON_CANCELLED, 4, 4)
    corrupt = failed(pb.FAILURE_REASON_FILE_CORRUPT, 2, 0)
    queue = status_service_pb2.GetQueueResponse(processors=processors(CLOSED), failed=[cancelled, corrupt], waiting=9)
    assert hints(queue) == []


def test_a_brain_that_is_away_for_some_is_not_said_to_be_away_for_all() -> None:
    half = status_service_pb2.BREAKER_STATE_HALF_OPEN
    (some,) = hints(status_service_pb2.GetQueueResponse(processors=processors(OPEN, CLOSED, half)))
    assert some.startswith("2 of 3 processors")
    (every,) = hints(status_service_pb2.GetQueueResponse(processors=processors(OPEN, half)))
    assert "materials wait for it" in every


def test_no_processor_is_said() -> None:
    (line,) = hints(status_service_pb2.GetQueueResponse())
    assert line.startswith("no processor")


def test_retryable_failures_come_with_the_command() -> None:
    queue = status_service_pb2.GetQueueResponse(processors=processors(CLOSED))
    queue.failed.append(failed(pb.FAILURE_REASON_BRAIN_FAILED, 1, 1))
    assert hints(queue) == ["1 failed material can be retried: materials retry --failed"]
    queue.failed.append(failed(pb.FAILURE_REASON_INTERNAL, 2_000, 1_500))
    assert hints(queue) == ["1,501 failed materials can be retried: materials retry --failed"]


def test_the_screen_fits_eighty_columns_and_shows_no_control_characters() -> None:
    queue = status_service_pb2.GetQueueResponse(
        waiting=10**9,
        delayed=10**8,
        unannounced=10**8,
        working=10**6,
        failed=[failed(number, 10**6, 10**5) for number in range(20)],  # type: ignore[arg-type]
        oldest_waiting_material_id="6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c",
        oldest_waiting_since=Timestamp(seconds=0),
        processors=[status_service_pb2.ProcessorReplica(worker_id="w\x1b[31m" * 20, slots=999, busy=999, brain=OPEN)],
        pause=status_service_pb2.ProcessingPause(paused_by="ann", reason="[bold]\x1b" * 60),
    )
    screen = Console(width=80, markup=False, emoji=False, highlight=False, color_system=None)
    with screen.capture() as capture:
        screen.print(queue_screen(queue, datetime.fromtimestamp(1_000_000, UTC)))
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "1,000,000,000" in text
    assert "6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c" in text
    assert "for 11 d 13 h" in " ".join(text.split())


@pytest.mark.parametrize("name", ["BRAIN_FAILED", "brain-failed", " Brain_failed"])
def test_a_failure_reason_is_known_however_it_is_written(name: str) -> None:
    assert failure_reason(name) == pb.FAILURE_REASON_BRAIN_FAILED


def test_every_failure_reason_has_its_name_and_others_list_them() -> None:
    names = [name.removeprefix("FAILURE_REASON_") for name in pb.FailureReason.keys()[1:]]
    assert [failure_reason(name) for name in names] == pb.FailureReason.values()[1:]
    with pytest.raises(WrongUsage) as error:
        failure_reason("BRAIN")
    assert all(name.lower() in error.value.message for name in names)


@given(first=st.integers(0, 5_000), failing_again=st.integers(0, 1_000))
def test_a_retry_of_all_ends_however_many_fail_again(first: int, failing_again: int) -> None:
    tally, left, calls, more = Tally(), first, 0, True
    while more:
        count = min(left, 1_000)
        left += min(failing_again, count) - count
        more = tally.add(status_service_pb2.RetryFailedMaterialsResponse(retried=count, remaining=left))
        calls += 1
        # What the first call left may have failed again already.
        assert calls <= 2 * (first // 1_000 + 1)
    assert tally.retried >= first
    assert tally.remaining == left


def test_a_service_that_retries_none_is_not_called_for_ever() -> None:
    assert not Tally().add(status_service_pb2.RetryFailedMaterialsResponse(remaining=5))


def test_the_outcome_says_what_is_left() -> None:
    assert outcome_text(Tally(), course="") == "nothing to retry"
    assert outcome_text(Tally(retried=5), course="") == "retried 5"
    text = outcome_text(Tally(retried=5, remaining=2, not_retryable=1), course="")
    assert text == "retried 5; 2 left, retry again; 1 cannot be retried (see materials list --status failed)"
