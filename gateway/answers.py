"""The answers that calls have in common, for OpenAPI."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from gateway.problems import MEDIA_TYPE
from gateway.representations import ProblemDetails

#: Any call may meet these: a field is wrong, the caller is over a limit, this replica or a service behind it is busy, away, or failed.
EVERYWHERE = (422, 429, 500, 501, 503, 504)
#: And these any that takes a body: it came too slowly, or is too large.
BODY = (408, 413)
_HEADERS = {
    401: {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}},
    416: {"Content-Range": {"description": "the file's size: `bytes */N`", "schema": {"type": "string"}}},
    **{
        status: {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
        for status in (429, 503, 504)
    },
}


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The given statuses and those that any call may meet, each with problem details."""
    return {
        status: {
            "model": ProblemDetails,
            "description": HTTPStatus(status).phrase,
            "headers": _HEADERS.get(status, {}),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in sorted({*statuses, *EVERYWHERE})
    }
