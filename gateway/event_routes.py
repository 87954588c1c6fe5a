"""Live status: a watch of the contract as server-sent events, each with an `id` that resumes it."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from materials.v1 import material_pb2
from materials.v1 import status_service_pb2 as pb
from starlette.responses import Response

from gateway.answers import problem_answers
from gateway.callers import EventsCaller
from gateway.event_streams import EventStreams, problem_event
from gateway.paths import CourseId, MaterialId
from gateway.representations import Material
from gateway.server_sent_events import event
from gateway.services import CALL_SECONDS, identity, refusals, services_of
from gateway.watches import Watch
from servicekit.refusals import Refusal

router = APIRouter(tags=["live status"])

LARGEST_REVISION = 2**63 - 1
ENDED = (material_pb2.PROCESSING_STATUS_COMPLETED, material_pb2.PROCESSING_STATUS_FAILED)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


def _last_event_id(
    last_event_id: Annotated[
        str | None, Header(description="resumes after that event; browsers send it by themselves")
    ] = None,
    last_event_id_in_url: Annotated[
        str | None, Query(alias="last_event_id", description="the same, for a client that opens a stream anew")
    ] = None,
) -> str:
    return last_event_id or last_event_id_in_url or ""


LastEventId = Annotated[str, Depends(_last_event_id)]


@router.get(
    "/materials/{material_id}/events",
    operation_id="watchMaterial",
    response_class=Response,
    responses=_STREAM
    | {204: {"description": "the client has seen the end: do not come back"}}
    | problem_answers(400, 401, 404),
)
async def material_events(
    request: Request, material_id: MaterialId, caller: EventsCaller, last_event_id: LastEventId
) -> Response:
    """The material's present state, then each newer one, as `material` events; `end` after it completed or failed; `deleted` when it was deleted meanwhile."""
    services = services_of(request)
    streams: EventStreams = request.app.state.event_streams
    metadata = identity(caller)
    after = _revision(last_event_id)
    if after:
        # Who comes back after the end would else be sent the end for ever: an EventSource stops at a 204 alone.
        with refusals("status"):
            answer = await services.status.GetMaterial(
                pb.GetMaterialRequest(material_id=material_id), metadata=metadata, timeout=CALL_SECONDS
            )
        if answer.material.revision == after and answer.material.processing_status in ENDED:
            return Response(status_code=204)
    watch: Watch[pb.WatchMaterialResponse] = Watch(
        lambda revision: services.watching().WatchMaterial(
            pb.WatchMaterialRequest(material_id=material_id, after_revision=revision), metadata=metadata
        ),
        lambda message: message.material.revision,
        after,
        patience=streams.patience,
    )
    await watch.begin()

    def events_of(message: pb.WatchMaterialResponse) -> bytes:
        change = _material_event(message.material, str(message.material.revision))
        return change + event("end", "{}") if ended(message) else change

    def ended(message: pb.WatchMaterialResponse) -> bool:
        return message.material.processing_status in ENDED

    return streams.response(watch, events_of, ended, refused=lambda refusal: _end_of(material_id, refusal))


@router.get(
    "/courses/{course_id}/events",
    operation_id="watchCourse",
    response_class=Response,
    responses=_STREAM | problem_answers(400, 401),
)
async def course_events(
    request: Request, course_id: CourseId, caller: EventsCaller, last_event_id: LastEventId
) -> Response:
    """Every material of the course that the caller may see, `snapshot_complete`, then every change: `material` and `deleted` events. Does not end by itself."""
    services = services_of(request)
    streams: EventStreams = request.app.state.event_streams
    metadata = identity(caller)
    watch: Watch[pb.WatchCourseResponse] = Watch(
        lambda token: services.watching().WatchCourse(
            pb.WatchCourseRequest(course_id=course_id, resume_token=token), metadata=metadata
        ),
        lambda message: message.resume_token,
        last_event_id,
        patience=streams.patience,
    )
    await watch.begin()
    return streams.response(watch, _course_event, lambda _: False)


def _course_event(message: pb.WatchCourseResponse) -> bytes:
    # Within a snapshot nothing can be resumed after: no id.
    match message.WhichOneof("change"):
        case "material":
            return _material_event(message.material, message.resume_token)
        case "deleted_material_id":
            return _deleted_event(message.deleted_material_id, message.resume_token)
        case "snapshot_complete":
            return event("snapshot_complete", "{}", message.resume_token)
        case _:  # of a later contract
            return b""


def _end_of(material_id: str, refusal: Refusal) -> bytes:
    """What a watch that was refused in its middle tells: a material that has gone was deleted."""
    return _deleted_event(material_id) if refusal.reason == "MATERIAL_NOT_FOUND" else problem_event(refusal)


def _deleted_event(material_id: str, event_id: str = "") -> bytes:
    return event("deleted", json.dumps({"id": material_id}), event_id)


def _material_event(material: material_pb2.Material, event_id: str) -> bytes:
    return event("material", _material_json(material.SerializeToString()), event_id)


@lru_cache(maxsize=1024)
def _material_json(serialized: bytes) -> str:
    """A state's JSON: made once for all who watch it."""
    return Material.of(material_pb2.Material.FromString(serialized)).model_dump_json()


def _revision(event_id: str) -> int:
    """What is not a revision of ours resumes nothing: the client gets the newest state."""
    if not (event_id.isascii() and event_id.isdigit()) or len(event_id) > 19:
        return 0
    return min(int(event_id), LARGEST_REVISION)
