"""The OpenAPI document: FastAPI's own, and what holds for calls in common that it cannot see in the routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from gateway.callers import COOKIE
from gateway.problems import MEDIA_TYPE

_IDENTITIES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "set by `POST /session`"},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "from `POST /tickets`, good once"},
}
#: Of calls that anybody may make: for `openapi_extra`.
OPEN_TO_ALL: dict[str, Any] = {"security": []}
_TAKE_TICKETS = ("/events", "/content")


class DescribedApp(FastAPI):
    """An application whose document says how callers are known, and what errors are made of."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        document["components"]["securitySchemes"] = _IDENTITIES
        document["security"] = [{"bearer": []}, {"session": []}]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path.endswith(_TAKE_TICKETS):
                    operation["security"] = [*document["security"], {"ticket": []}]
                for answer in operation["responses"].values():
                    # FastAPI takes errors for JSON of the same media type as all else.
                    if MEDIA_TYPE in answer.get("content", {}):
                        answer["content"] = {MEDIA_TYPE: answer["content"][MEDIA_TYPE]}
        return document
