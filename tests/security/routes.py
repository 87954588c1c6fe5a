"""Every route of the gateway with the rule of who may use it, and a request to each that is good but for who sends it.

A route that is new in the OpenAPI document fails the tests of access until it has its line in ROUTES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.contract.rpcs import Access
from tests.security.attacked import TEXT

ROUTES = {
    "POST /courses/{course_id}/materials": Access.WRITE,
    "GET /courses/{course_id}/materials": Access.OWN,
    "POST /courses/{course_id}/materials:retry-failed": Access.WRITE,
    "GET /courses/{course_id}/search": Access.OWN,
    "POST /courses/{course_id}/search": Access.OWN,
    "POST /courses/{course_id}/ask": Access.OWN,
    "GET /courses/{course_id}/events": Access.OWN,
    "GET /materials": Access.OWN,
    "GET /materials/{material_id}": Access.READ,
    "DELETE /materials/{material_id}": Access.CHANGE,
    "GET /materials/{material_id}/content": Access.READ,
    "GET /materials/{material_id}/text": Access.READ,
    "GET /materials/{material_id}/history": Access.READ,
    "GET /materials/{material_id}/events": Access.READ,
    "POST /materials/{material_id}:retry": Access.CHANGE,
    "POST /materials/{material_id}:cancel": Access.CHANGE,
    "GET /session": Access.OWN,
    "POST /session": Access.OWN,
    "DELETE /session": Access.OPEN,
    "POST /tickets": Access.OWN,
    "GET /healthz": Access.OPEN,
}
#: Served beside those of the document.
UNDOCUMENTED = {"HEAD /materials/{material_id}/content": Access.READ}
BODIES: dict[str, dict[str, Any]] = {
    "POST /courses/{course_id}/materials": {"files": {"file": ("notes.txt", TEXT)}},
    "POST /courses/{course_id}/materials:retry-failed": {"json": {}},
    "POST /courses/{course_id}/search": {"json": {"query": "cells"}},
    "GET /courses/{course_id}/search": {"params": {"query": "cells"}},
    "POST /courses/{course_id}/ask": {"json": {"question": "what do cells do?"}},
    "POST /tickets": {"json": {"purpose": "sign-in"}},
}


@dataclass(frozen=True)
class Route:
    """One route, such as `GET /materials/{material_id}`."""

    name: str
    access: Access

    def send(self, http: httpx.Client, *, material_id: str = "unknown", course_id: str = "unknown") -> httpx.Response:
        """The answer; of an event stream that does not end, as far as the snapshot goes."""
        method, _, path = self.name.partition(" ")
        path = path.format(material_id=quote(material_id, safe=""), course_id=quote(course_id, safe=""))
        request = http.build_request(method, path, **BODIES.get(self.name, {}))
        response = http.send(request, stream=True)
        if path.endswith("/events") and response.status_code == 200:
            lines = []
            for line in response.iter_lines():
                lines.append(line)
                if line in ("event: snapshot_complete", "event: end"):
                    break
            response.close()
            return httpx.Response(200, headers=response.headers, text="\n".join(lines))
        response.read()
        response.close()
        return response


def routes(*access: Access) -> Callable[..., Any]:
    """A test's parameter: the routes under these rules; all that need a token when none is named."""
    every = [Route(name, rule) for name, rule in {**ROUTES, **UNDOCUMENTED}.items()]
    chosen = [route for route in every if (route.access in access if access else route.access is not Access.OPEN)]
    mark: Callable[..., Any] = pytest.mark.parametrize("route", chosen, ids=lambda route: route.name)
    return mark
