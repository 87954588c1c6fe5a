"""Events forged on NATS by somebody who may publish: they carry ids only, the record decides what becomes of them, and nobody loses or hears anything."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import nats
import pytest
from materials.v1 import events_pb2, material_pb2, processor_service_pb2, status_service_pb2
from nats.aio.client import Client as NatsClient

from tests.local_stack import unique_course
from tests.security.attacked import TEXT, Attacked, World

STREAM, UPLOADED, DELETED = "MATERIALS", "materials.v1.uploaded", "materials.v1.deleted"
#: Between the replicas of Status: a change as its watchers are told it.
CHANGES = "status.v1.changes"
CONSUMERS = {UPLOADED: ["processor"], DELETED: ["ingest-purger", "processor-purger"]}


@pytest.fixture
async def forger(attacked: Attacked) -> AsyncIterator[NatsClient]:
    """Somebody with the broker's password."""
    connection = await nats.connect(attacked.stack.facts["nats"])
    try:
        yield connection
    finally:
        await connection.close()


async def publish_and_wait(forger: NatsClient, subject: str, data: bytes) -> None:
    """Returns when everybody who takes events of the subject has done with this one."""
    stream = forger.jetstream()
    sequence = (await stream.publish(subject, data)).seq
    async with asyncio.timeout(20):
        for durable in CONSUMERS[subject]:
            while (await stream.consumer_info(STREAM, durable)).ack_floor.stream_seq < sequence:
                await asyncio.sleep(0.02)  # nobody tells of acknowledgements


async def test_forged_deletion_deletes_nothing(world: World, forger: NatsClient) -> None:
    forged = events_pb2.MaterialDeleted(material_id=world.material.id, course_id=world.course, announcement=1_000)
    await publish_and_wait(forger, DELETED, forged.SerializeToString())
    world.still_serves()
    request = processor_service_pb2.GetMaterialTextRequest(material_id=world.material.id)
    pages = world.owner.processor.GetMaterialText(request, metadata=world.owner.metadata, timeout=20)
    assert [page.text for page in pages] == [TEXT.decode()]


async def test_forged_upload_of_a_material_that_ended_or_is_not_there_changes_nothing(
    world: World, forger: NatsClient
) -> None:
    stolen = events_pb2.MaterialUploaded(
        material_id=world.material.id, course_id="another-course", owner_id=world.stranger.subject, announcement=1_000
    )
    unknown = events_pb2.MaterialUploaded(material_id=str(uuid.uuid4()), owner_id=world.stranger.subject)
    for forged in (stolen, unknown):
        await publish_and_wait(forger, UPLOADED, forged.SerializeToString())
    world.still_serves()
    assert not world.stranger.page().materials
    assert not world.stranger.page(course_id="another-course").materials


async def test_forged_change_is_told_to_no_watcher(attacked: Attacked, world: World, forger: NatsClient) -> None:
    course = unique_course()
    async with attacked.stack.client(attacked.stack.user_token("watcher", {course: "editor"})) as client:
        watch = client.status.WatchCourse(
            status_service_pb2.WatchCourseRequest(course_id=course), metadata=client.metadata, timeout=30
        )
        assert (await watch.read()).HasField("snapshot_complete")
        signed = await forger.subscribe(CHANGES)
        await forger.flush()
        real = await client.upload(TEXT, course=course)
        assert (await watch.read()).material == real
        genuine = await signed.next_msg(timeout=20)
        assert genuine.headers is not None
        forged = material_pb2.Material.FromString(genuine.data)
        forged.name, forged.revision = "forged", 1_000
        for signature in (genuine.headers["signature"], "", "0" * 32):
            headers = genuine.headers | {"course-revision": "1000", "signature": signature}
            for data in (forged.SerializeToString(), genuine.data, b"", b"\xff" * 100):
                await forger.publish(CHANGES, data, headers=headers)
        await forger.publish(CHANGES, genuine.data, headers=genuine.headers)
        await forger.flush()
        later = await client.upload(TEXT, course=course, name="later.txt")
        heard = []
        while (state := (await watch.read()).material).id != later.id:
            heard.append(state)
        watch.cancel()
    assert {state.id for state in heard} <= {real.id}
    assert {state.name for state in heard} <= {real.name}
    revisions = [real.revision, *(state.revision for state in heard)]
    assert revisions == sorted(set(revisions)), "nothing comes twice, nothing from a future that did not happen"
    assert revisions[-1] < 1_000
