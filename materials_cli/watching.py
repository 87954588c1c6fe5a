"""Watches that go on by themselves where they were cut.

A watch of a material resumes with the last revision seen, one of a course with the last resume token. A snapshot that was cut is asked for again; what of
it was seen before is not told twice, and what is missing from the new one was deleted in between.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import grpc
from materials.v1 import material_pb2, status_service_pb2

from materials_cli.connection import Connection
from materials_cli.retrying import Attempts
from servicekit.errors import reason_of_status
from servicekit.refusals import status_of

_ENDED = (material_pb2.PROCESSING_STATUS_COMPLETED, material_pb2.PROCESSING_STATUS_FAILED)


def ended(material: material_pb2.Material) -> bool:
    """Whether it is COMPLETED or FAILED."""
    return material.processing_status in _ENDED


async def watch_material(
    connection: Connection, material_id: str, attempts: Attempts
) -> AsyncGenerator[material_pb2.Material, None]:
    """Each state from the present one to the terminal one. Raises CommandError."""
    revision = 0
    while True:
        # Also the state known already: it comes at once, and tells that the watch is up again when there is nothing newer.
        after = max(revision - 1, 0)
        request = status_service_pb2.WatchMaterialRequest(material_id=material_id, after_revision=after)
        call = connection.status.WatchMaterial(request, metadata=connection.identity)
        try:
            async for response in call:
                attempts.progressed()
                material = response.material
                if material.revision != revision:
                    revision = material.revision
                    yield material
                if ended(material):
                    return
            await attempts.cut()
        except grpc.aio.AioRpcError as error:
            await attempts.failed(error)
        finally:
            call.cancel()


@dataclass(frozen=True)
class Deleted:
    """A material of the course was deleted."""

    material_id: str


@dataclass(frozen=True)
class SnapshotComplete:
    """All that was there has been told; what follows are changes."""


CourseEvent = material_pb2.Material | Deleted | SnapshotComplete


async def watch_course(connection: Connection, course_id: str, attempts: Attempts) -> AsyncGenerator[CourseEvent, None]:
    """The course's materials, then each change, without an end. Raises CommandError."""
    resume_token = ""
    revisions: dict[str, int] = {}
    told_complete = False
    while True:
        request = status_service_pb2.WatchCourseRequest(course_id=course_id, resume_token=resume_token)
        call = connection.status.WatchCourse(request, metadata=connection.identity)
        gone = set(revisions) if not resume_token else set()
        try:
            async for response in call:
                attempts.progressed()
                resume_token = response.resume_token or resume_token
                match response.WhichOneof("change"):
                    case "material":
                        material = response.material
                        gone.discard(material.id)
                        if revisions.get(material.id) != material.revision:
                            revisions[material.id] = material.revision
                            yield material
                    case "deleted_material_id":
                        gone.discard(response.deleted_material_id)
                        revisions.pop(response.deleted_material_id, None)
                        yield Deleted(response.deleted_material_id)
                    case "snapshot_complete":
                        for material_id in sorted(gone):
                            del revisions[material_id]
                            yield Deleted(material_id)
                        gone = set()
                        if not told_complete:
                            told_complete = True
                            yield SnapshotComplete()
            await attempts.cut()
        except grpc.aio.AioRpcError as error:
            if resume_token and reason_of_status(status_of(error)) == "RESUME_TOKEN_INVALID":
                resume_token = ""
                continue
            await attempts.failed(error)
        finally:
            call.cancel()
