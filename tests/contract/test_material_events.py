"""The events that Ingest publishes on NATS: what is on the stream when a material comes or goes."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
from materials.v1 import events_pb2, status_service_pb2
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy

from tests.contract.bare_services import BareServices
from tests.contract.refusals import eventually, refused
from tests.contract.uploads import TEXT, Ingest, chunk, metadata, stream


class TestEvents:
    @asynccontextmanager
    async def events_of(self, bare: BareServices) -> AsyncIterator[Callable[[str, str], Any]]:
        """Awaits the event of a subject about a material: what comes on the stream from now on."""
        connection = await nats.connect(bare.nats_url)
        try:
            subscription = await connection.jetstream().subscribe(
                "materials.v1.*", stream="MATERIALS", ordered_consumer=True,
                config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW),
            )  # fmt: skip

            async def event(subject: str, material_id: str) -> Msg:
                async with asyncio.timeout(20):
                    while True:
                        message = await subscription.next_msg(timeout=20)
                        if message.subject == subject and (message.headers or {}).get("ce-subject") == material_id:
                            return message

            yield event
        finally:
            await connection.close()

    async def test_upload_is_published_as_a_cloud_event_in_the_clients_trace(self, ingest: Ingest, course: str) -> None:
        await ingest.upload(metadata(course), chunk(TEXT))  # the first upload makes the stream, where it is missing
        trace_id = uuid.uuid4().hex
        async with self.events_of(ingest.bare) as event:
            call = ingest.client.ingest.UploadMaterial(
                stream(metadata(course), chunk(TEXT)),
                metadata=[*ingest.client.metadata, ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01")],
            )
            material = (await call).material
            message = await event("materials.v1.uploaded", material.id)
        headers = message.headers or {}
        assert headers["ce-specversion"] == "1.0"
        assert headers["ce-id"] == headers["Nats-Msg-Id"] == f"{material.id}:1"
        assert headers["ce-type"] == "materials.v1.uploaded"
        assert headers["ce-source"]
        assert headers["ce-time"] == material.created_at.ToJsonString()
        assert headers["content-type"] == "application/protobuf"
        version, trace, parent, flags = headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", trace_id, "01")
        assert parent != "b7ad6b7169203331", "the span of Ingest is the parent of what follows"
        assert events_pb2.MaterialUploaded.FromString(message.data) == events_pb2.MaterialUploaded(
            material_id=material.id,
            course_id=course,
            owner_id="demo-user",
            media_type="text/plain",
            file_size=len(TEXT),
            sha256=hashlib.sha256(TEXT).hexdigest(),
            announcement=1,
            created_at=material.created_at,
        )

    async def test_deletion_is_published_and_the_bytes_go(self, ingest: Ingest, course: str) -> None:
        material = await ingest.upload(metadata(course), chunk(TEXT))
        path = ingest.bare.objects / material.file_path
        assert path.read_bytes() == TEXT
        async with self.events_of(ingest.bare) as event:
            await ingest.client.status.DeleteMaterial(
                status_service_pb2.DeleteMaterialRequest(material_id=material.id), metadata=ingest.client.metadata
            )
            message = await event("materials.v1.deleted", material.id)
        deleted = events_pb2.MaterialDeleted.FromString(message.data)
        assert (deleted.material_id, deleted.course_id, deleted.owner_id) == (material.id, course, "demo-user")
        assert deleted.HasField("deleted_at")

        async def gone() -> bool:
            return not path.exists()

        await eventually(gone, "the bytes of the deleted material are purged")

    async def test_upload_that_was_refused_publishes_nothing(self, ingest: Ingest, course: str) -> None:
        await ingest.upload(metadata(course), chunk(TEXT))
        async with self.events_of(ingest.bare) as event:
            with refused("INVALID_ARGUMENT", "FILE_EMPTY"):
                await ingest.upload(metadata(f"{course}-refused"))
            material = await ingest.upload(metadata(course), chunk(TEXT))
            first = await event("materials.v1.uploaded", material.id)
            assert first.metadata.sequence.consumer == 1, "nothing came before"
