"""The answers that calls have in common, for OpenAPI."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from gateway.problems import MEDIA_TYPE
from gateway.representations import ProblemDetails

#: Any call may meet these: the caller is over a limit, this replica or a service behind it is busy, away, or failed.
EVERYWHERE = (408, 413, 422, 429, 500, 501, 503, 504)


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The given statuses and those that any call may meet, each with problem details."""
    return {
        status: {
            "model": ProblemDetails,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in sorted({*statuses, *EVERYWHERE})
    }
