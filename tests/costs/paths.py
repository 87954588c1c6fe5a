"""What people do, as the tests of costs count it."""

from __future__ import annotations

import io
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from materials.channels import bearer
from materials.v1 import processor_service_pb2, status_service_pb2
from materials.v1 import record_service_pb2 as pb
from PIL import Image, ImageDraw

from tests.contract.event_client import EventStream, opened
from tests.contract.record_calls import RecordCalls, ReportStream
from tests.costs.counted_stack import CountedStack
from tests.local_stack import unique_course

TEXT = "Entropy never decreases in an isolated system."


@dataclass
class Paths:
    """One owner's, in one course. Every upload is of other bytes."""

    stack: CountedStack
    course: str = field(default_factory=unique_course)
    uploaded: list[str] = field(default_factory=list)

    async def upload(self, text: str = TEXT) -> str:
        """The id of a text of one page."""
        return self._kept((await self.stack.client.upload(_unlike_others(text), course=self.course)).id)

    async def upload_pictures(self, pages: int) -> str:
        """The id of a PDF, each page of which is for the Brain to read."""
        images = [Image.new("L", (400, 500), 255) for _ in range(pages)]
        for image in images:
            ImageDraw.Draw(image).text((40, 60), f"picture {uuid.uuid4()}", fill=0)
        content = io.BytesIO()
        images[0].save(content, "PDF", save_all=True, append_images=images[1:])
        material = await self.stack.client.upload(content.getvalue(), course=self.course, name="pictures.pdf")
        return self._kept(material.id)

    async def upload_over_http(self) -> str:
        """As `upload`, through the gateway."""
        reply = await self.stack.http.post(
            f"{self._gateway}/courses/{self.course}/materials",
            files={"file": ("note.txt", _unlike_others(TEXT), "text/plain")},
        )
        assert reply.status_code == 201, reply.text
        return self._kept(str(reply.json()["id"]))

    async def cancel(self, material_id: str) -> None:
        """One change of a material."""
        request = status_service_pb2.CancelMaterialRequest(material_id=material_id)
        await self.stack.client.status.CancelMaterial(request, metadata=self.stack.client.metadata)

    async def get(self, material_id: str) -> None:
        """One material."""
        await self.stack.client.get(material_id)

    async def list_course(self) -> None:
        """One page of a list."""
        request = status_service_pb2.ListMaterialsRequest(course_id=self.course)
        await self.stack.client.status.ListMaterials(request, metadata=self.stack.client.metadata)

    async def search(self, query: str) -> None:
        """One search of the course; something is found."""
        request = processor_service_pb2.SearchMaterialsRequest(course_id=self.course, query=query)
        reply = await self.stack.client.processor.SearchMaterials(request, metadata=self.stack.client.metadata)
        assert reply.results

    @asynccontextmanager
    async def watchers(self, count: int) -> AsyncIterator[list[EventStream]]:
        """So many browsers that watch the course; each has had its snapshot."""
        async with AsyncExitStack() as exits:
            path = f"/courses/{self.course}/events"
            token = self.stack.local.facts["token"]
            streams = [
                await exits.enter_async_context(opened(self.stack.local.facts["gateway"], path, token=token))
                for _ in range(count)
            ]
            for stream in streams:
                await stream.until(lambda event: event.name == "snapshot_complete")
            yield streams

    @asynccontextmanager
    async def leased(self) -> AsyncIterator[tuple[str, ReportStream]]:
        """A material of one's own, leased, and the stream of reports on it. The first report was recorded."""
        record = RecordCalls(self.stack.client.record, bearer(self.stack.local.facts["service_token"]))
        claimed = await record.claimed((await record.create("owner", self.course)).id)
        async with record.reports() as reports:
            await reports.ask(claimed.id, claimed.attempt, renewal=pb.Renewal())
            yield claimed.id, reports

    def _kept(self, material_id: str) -> str:
        self.uploaded.append(material_id)
        return material_id

    @property
    def _gateway(self) -> str:
        return f"http://{self.stack.local.facts['gateway']}"


def _unlike_others(text: str) -> bytes:
    return f"{text} ({uuid.uuid4()})".encode()
