"""What the record is told of each way an attempt can end."""

from __future__ import annotations

import pytest
from materials.v1 import errors_pb2, material_pb2
from materials.v1 import record_service_pb2 as pb

from processor_service.brain.errors import (
    MAX_REASON_CHARS,
    BrainBusy,
    BrainError,
    BrainFailed,
    BrainInterrupted,
    BrainMisconfigured,
    BrainRefused,
    BrainTimedOut,
    BrainUnavailable,
    BreakerOpen,
)
from processor_service.brain.fair_slots import TurnOver
from processor_service.documents.rendering import DocumentError, DocumentReason
from processor_service.index.index_store import FencedOut
from processor_service.outcomes import OTHERS_WAIT, WAITING_FOR_BRAIN, ObjectChanged, report_of
from servicekit.errors import ServiceError, Unavailable
from servicekit.object_store import ObjectMissing


def reason_and_transience(error: Exception) -> tuple[str, bool]:
    report = report_of(error).report
    assert isinstance(report, pb.Failure)
    assert report.message
    assert len(report.message) <= MAX_REASON_CHARS
    assert report.message.isprintable()
    return material_pb2.FailureReason.Name(report.reason).removeprefix("FAILURE_REASON_"), report.transient


def test_brain_that_is_known_to_be_away_costs_the_material_nothing() -> None:
    assert report_of(BreakerOpen("away")).report == pb.HandBack(message=WAITING_FOR_BRAIN)


def test_material_that_has_had_its_turn_is_handed_back_at_no_cost() -> None:
    assert report_of(TurnOver()).report == pb.HandBack(message=OTHERS_WAIT)


@pytest.mark.parametrize(
    ("error", "reason", "transient"),
    [
        (BrainRefused("will not read this", reason="bad"), "BRAIN_REFUSED", False),
        (BrainMisconfigured("vectors of 384 numbers, 1024 wanted"), "BRAIN_MISCONFIGURED", False),
        (BrainUnavailable("not reached"), "BRAIN_FAILED", True),
        (BrainInterrupted("cut off"), "BRAIN_FAILED", True),
        (BrainTimedOut("no answer"), "BRAIN_FAILED", True),
        (BrainBusy("too many"), "BRAIN_FAILED", True),
        (BrainFailed("500"), "BRAIN_FAILED", True),
        (BrainError("another"), "BRAIN_FAILED", True),
        (ObjectMissing(), "OBJECT_MISSING", False),
        (ObjectChanged(), "OBJECT_CHANGED", False),
        (TimeoutError(), "PROCESSING_TIMED_OUT", True),
        (ValueError("unforeseen"), "INTERNAL", True),
        (KeyError("unforeseen"), "INTERNAL", True),
    ],
)
def test_error_is_reported_as_the_table_says(error: Exception, reason: str, transient: bool) -> None:
    assert reason_and_transience(error) == (reason, transient)


@pytest.mark.parametrize("reason", list(DocumentReason))
@pytest.mark.parametrize("permanent", [True, False])
def test_document_error_keeps_its_reason_and_its_permanence(reason: DocumentReason, permanent: bool) -> None:
    own = {*material_pb2.FailureReason.keys()}
    expected = reason.value if f"FAILURE_REASON_{reason.value}" in own else "RENDERING_FAILED"
    assert reason_and_transience(DocumentError(reason, "open it", permanent=permanent)) == (expected, not permanent)


def test_each_class_of_brain_error_is_in_the_table() -> None:
    """A new subclass is transient only where it says so itself."""

    def tree(kind: type[BrainError]) -> set[type[BrainError]]:
        return {kind}.union(*(tree(child) for child in kind.__subclasses__()))

    for kind in tree(BrainError) - {BrainError, BreakerOpen}:
        error = kind("x", reason="y") if kind is BrainRefused else kind("x")
        assert reason_and_transience(error)[1] == kind.transient


@pytest.mark.parametrize(
    "error",
    [
        ServiceError(errors_pb2.ERROR_REASON_INTERNAL, "the store answered nonsense"),
        Unavailable(errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE, "the object store cannot be reached"),
        Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "the database cannot be reached"),
    ],
)
def test_what_is_away_on_our_side_is_never_a_permanent_failure(error: ServiceError) -> None:
    report = report_of(error).report
    assert isinstance(report, pb.HandBack) or report.transient


@pytest.mark.parametrize(
    ("error", "unforeseen"),
    [
        (ValueError("a slip of ours"), True),
        (ServiceError(errors_pb2.ERROR_REASON_INTERNAL, "the store answered nonsense"), True),
        (FencedOut(), False),
        (TimeoutError(), False),
        (BrainFailed("500"), False),
        (DocumentError(DocumentReason.FILE_CORRUPT, "open it", permanent=True), False),
        (BreakerOpen("away"), False),
        (TurnOver(), False),
    ],
)
def test_only_what_the_table_does_not_expect_is_unforeseen(error: Exception, unforeseen: bool) -> None:
    assert report_of(error).unforeseen is unforeseen


def test_message_of_an_unforeseen_error_tells_nothing_about_our_insides() -> None:
    report = report_of(RuntimeError("postgresql://user:password@host/db refused /srv/objects/x")).report
    assert isinstance(report, pb.Failure)
    assert "password" not in report.message
    assert "/srv" not in report.message


def test_foreign_words_reach_the_record_as_one_printable_line() -> None:
    report = report_of(BrainFailed("first\r\nsecond\0\x1b[31m\u202e" + "x" * 1_000)).report
    assert isinstance(report, pb.Failure)
    assert report.message.startswith("first second")
    assert report.message.isprintable()
    assert len(report.message) <= MAX_REASON_CHARS
