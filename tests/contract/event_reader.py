"""A reader of live status over HTTP, the changes that are made for it, and what its events tell of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from materials.v1 import material_pb2, record_service_pb2

from tests.contract.event_client import Event, opened
from tests.contract.gateway_process import GatewayProcess
from tests.contract.people import People
from tests.contract.record_calls import RecordCalls

PAGES = 6
#: Of a material that is read: each of its pages, and its end.
CHANGES = PAGES + 1


class Reader:
    """A reader of the course, in front of the gateway."""

    def __init__(self, gateway: GatewayProcess, token: str, course: str) -> None:
        self.gateway, self.token, self.course = gateway, token, course

    def material(self, material_id: str, last_event_id: str | None = None, query: str = "") -> Any:
        """An answer to GET /materials/{id}/events."""
        path = f"/materials/{material_id}/events{query}"
        return opened(self.gateway.address, path, token=self.token, last_event_id=last_event_id)

    def watch_course(self, last_event_id: str | None = None, query: str = "") -> Any:
        """An answer to GET /courses/{id}/events."""
        path = f"/courses/{self.course}/events{query}"
        return opened(self.gateway.address, path, token=self.token, last_event_id=last_event_id)


async def expected(people: People, material_id: str) -> dict[str, Any]:
    """What an event tells of the material as it is now, as far as these tests look."""
    material = await people.admin.get(material_id)
    return {
        "id": material_id,
        "revision": material.revision,
        "pages_done": material.pages_done,
        "processing_status": material_pb2.ProcessingStatus.Name(material.processing_status)[18:].lower(),
    }


def told(event: Event) -> dict[str, Any]:
    assert event.name == "material"
    return {name: event.data[name] for name in ("id", "revision", "pages_done", "processing_status")}


async def read_pages(record: RecordCalls, claimed: material_pb2.Material) -> AsyncIterator[int]:
    """Reports a page, yields its revision, and so on; then the end."""
    revision = claimed.revision
    async with record.reports() as reports:
        for done in range(1, PAGES + 1):
            progress = record_service_pb2.Progress(pages_done=done, pages_total=PAGES + 1)
            await reports.ask(claimed.id, claimed.attempt, progress=progress)
            yield (revision := revision + 1)
        await reports.ask(claimed.id, claimed.attempt, completion=record_service_pb2.Completion(pages_total=PAGES + 1))
        yield revision + 1


def is_complete(event: Event) -> bool:
    return event.name == "snapshot_complete"
