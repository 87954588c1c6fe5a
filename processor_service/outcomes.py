"""What an attempt's end is reported as: a pure table from what was raised to what the record is told.

raised                              reported
----------------------------------  ---------------------------------------------------------------------------
BreakerOpen                         HandBack: the Brain is away; costs the material nothing
TurnOver                            HandBack: others wait; costs the material nothing
BrainRefused                        Failure BRAIN_REFUSED, permanent
BrainMisconfigured                  Failure BRAIN_MISCONFIGURED, permanent (retryable by a person)
other BrainError                    Failure BRAIN_FAILED, transient
DocumentError                       Failure by its reason; rendering's own limits RENDERING_FAILED
ObjectMissing, ObjectChanged        Failure OBJECT_MISSING, OBJECT_CHANGED, permanent
TimeoutError                        Failure PROCESSING_TIMED_OUT, transient
FencedOut                           Failure INTERNAL, transient: STALE to the record, unless it knows of no newer attempt
anything else                       Failure INTERNAL, transient
"""

from __future__ import annotations

from dataclasses import dataclass

from materials.v1 import material_pb2
from materials.v1 import record_service_pb2 as pb

from processor_service.brain.errors import BrainError, BrainMisconfigured, BrainRefused, BreakerOpen, one_line
from processor_service.brain.fair_slots import TurnOver
from processor_service.documents.rendering import DocumentError, DocumentReason
from processor_service.index.index_store import FencedOut
from servicekit.errors import ServiceError
from servicekit.object_store import ObjectMissing

WAITING_FOR_BRAIN = "waiting for the AI Brain"
OTHERS_WAIT = "others are waiting; it goes on in its turn"

_DOCUMENT_REASONS = {
    DocumentReason.FILE_ENCRYPTED: material_pb2.FAILURE_REASON_FILE_ENCRYPTED,
    DocumentReason.FILE_CORRUPT: material_pb2.FAILURE_REASON_FILE_CORRUPT,
    DocumentReason.FILE_UNSUPPORTED: material_pb2.FAILURE_REASON_FILE_UNSUPPORTED,
    DocumentReason.TOO_MANY_PAGES: material_pb2.FAILURE_REASON_TOO_MANY_PAGES,
    DocumentReason.PAGE_TOO_LARGE: material_pb2.FAILURE_REASON_PAGE_TOO_LARGE,
}


class ObjectChanged(Exception):
    """The stored bytes are not those that were uploaded."""


@dataclass(frozen=True)
class Told:
    """What the record is told. `unforeseen`: only the log has what went wrong, so it should have the traceback."""

    report: pb.HandBack | pb.Failure
    unforeseen: bool = False


def report_of(error: Exception) -> Told:
    """What the record is told of an attempt that ended with `error`."""
    match error:
        case BreakerOpen():
            return Told(pb.HandBack(message=WAITING_FOR_BRAIN))
        case TurnOver():
            return Told(pb.HandBack(message=OTHERS_WAIT))
        case BrainRefused():
            return _failure(material_pb2.FAILURE_REASON_BRAIN_REFUSED, error.message)
        case BrainMisconfigured():
            return _failure(material_pb2.FAILURE_REASON_BRAIN_MISCONFIGURED, error.message)
        case BrainError():
            return _failure(material_pb2.FAILURE_REASON_BRAIN_FAILED, error.message, transient=True)
        case DocumentError():
            reason = _DOCUMENT_REASONS.get(error.reason, material_pb2.FAILURE_REASON_RENDERING_FAILED)
            return _failure(reason, error.message, transient=not error.permanent)
        case ObjectMissing():
            return _failure(material_pb2.FAILURE_REASON_OBJECT_MISSING, "the stored file is gone; upload it again")
        case ObjectChanged():
            return _failure(
                material_pb2.FAILURE_REASON_OBJECT_CHANGED, "the stored file is not what was uploaded; upload it again"
            )
        case TimeoutError():
            message = "the attempt took longer than MATERIAL_PROCESSING_TIMEOUT; finished pages are kept"
            return _failure(material_pb2.FAILURE_REASON_PROCESSING_TIMED_OUT, message, transient=True)
        case FencedOut():
            message = "another attempt has written to this material"
            return _failure(material_pb2.FAILURE_REASON_INTERNAL, message, transient=True)
        case ServiceError():
            return _failure(material_pb2.FAILURE_REASON_INTERNAL, error.message, transient=True, unforeseen=True)
        case _:
            message = "something unforeseen went wrong; the processor's log has it"
            return _failure(material_pb2.FAILURE_REASON_INTERNAL, message, transient=True, unforeseen=True)


def _failure(
    reason: material_pb2.FailureReason.ValueType, message: str, *, transient: bool = False, unforeseen: bool = False
) -> Told:
    return Told(pb.Failure(reason=reason, message=one_line(message), transient=transient), unforeseen)
