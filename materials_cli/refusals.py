"""What a failed call means to the person at the terminal: the service's words, its address where it did not answer, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from materials_cli.certificates import tls_advice
from materials_cli.connection import Service
from materials_cli.errors import CommandError, NotFound, Unreachable
from servicekit.refusals import Refusal, refusal_of

#: What to do, where the service's own message does not say it to somebody at a terminal.
_ADVICE = {
    "TOKEN_MISSING": "set MATERIALS_TOKEN to a token",
    "TOKEN_INVALID": "set MATERIALS_TOKEN, or start the local stack again (`make run`)",
    "TOKEN_EXPIRED": "set MATERIALS_TOKEN, or start the local stack again (`make run`)",
    "COURSE_WRITE_DENIED": "ask for the role `editor` in this course",
    "OPERATOR_REQUIRED": "ask for one and set MATERIALS_TOKEN to it",
    "MATERIAL_NOT_FOUND": "see `materials list`",
    "TOO_MANY_UPLOADS": "try again in a moment",
    "TOO_MANY_WATCHES": "try again in a moment",
    "TOO_MANY_UNFINISHED": "see them with `materials list --status pending`",
    "OWNER_REQUEST_LIMIT": "run fewer commands at once",
    "OWNER_UPLOAD_LIMIT": "run fewer uploads at once",
    "OWNER_WATCH_LIMIT": "`materials watch --course COURSE` is one watch",
    "MEMORY_SHORT": "try again in a moment",
    "OBJECT_STORE_FULL": "tell whoever runs the service",
    "INTERNAL": "tell whoever runs the service",
}


def explain(error: grpc.aio.AioRpcError | TimeoutError, service: Service, subject: str = "") -> CommandError:
    """What a failed call means to the person at the terminal. `subject` says what it was about: an id, a file; may be empty."""
    refusal = refusal_of(error, service.name, service.place)
    if isinstance(error, TimeoutError):
        return Unreachable(f"{_about(subject)}{refusal.message}; try again")
    if not refusal.answered and (advice := tls_advice(error.details() or "")):
        return Unreachable(f"{_about(subject)}{refusal.message}; {advice}")
    return explain_refusal(refusal, service, subject)


def explain_refusal(refusal: Refusal, service: Service, subject: str = "") -> CommandError:
    """As `explain`, for what has been read already."""
    text = f"{_about(subject)}{refusal.message}"
    if not refusal.answered:
        return Unreachable(f"{text}; is it running? Start it with `make run`, or set {service.variable}")
    if refusal.code is grpc.StatusCode.UNIMPLEMENTED:
        return CommandError(f"{text}; set {service.variable} to the right host:port")
    advice = _ADVICE.get(refusal.reason, "")
    if advice and advice not in refusal.message:
        text = f"{text}; {advice}"
    if refusal.code is grpc.StatusCode.NOT_FOUND:
        return NotFound(text, reason=refusal.reason)
    if refusal.code is grpc.StatusCode.UNAVAILABLE:
        return Unreachable(text, reason=refusal.reason)
    return CommandError(text, reason=refusal.reason)


def _about(subject: str) -> str:
    return f"{subject}: " if subject else ""


@contextmanager
def explained(service: Service, subject: str = "") -> Iterator[None]:
    """Turns a call's error into a CommandError."""
    try:
        yield
    except (grpc.aio.AioRpcError, TimeoutError) as error:
        raise explain(error, service, subject) from error
