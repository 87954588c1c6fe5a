"""The JetStream stream MATERIALS and the events on it, as CloudEvents 1.0 in binary mode (NATS protocol binding)."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message
from materials.v1 import events_pb2
from materials.v1 import record_service_pb2 as pb
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

STREAM = "MATERIALS"
UPLOADED = "materials.v1.uploaded"
DELETED = "materials.v1.deleted"
_DAY = 86_400.0


@dataclass(frozen=True)
class Event:
    """A message ready to be published."""

    subject: str
    data: bytes
    headers: dict[str, str]


async def ensure_stream(jetstream: JetStreamContext, replicas: int) -> pb.StreamPosition:
    """Makes the stream where it is missing; returns where it stands. Raises what NATS raises."""
    try:
        info = await jetstream.stream_info(STREAM)
    except NotFoundError:
        info = await jetstream.add_stream(
            StreamConfig(
                name=STREAM,
                subjects=[UPLOADED, DELETED],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                discard=DiscardPolicy.OLD,
                max_age=7 * _DAY,
                duplicate_window=120,
                num_replicas=replicas,
            )
        )
    return pb.StreamPosition(incarnation=str(info.created), last_sequence=info.state.last_seq)


def to_event(announcement: pb.Announcement) -> Event:
    """The event of an announcement. Its id carries the announcement's number, so that no duplicate window swallows a repeat."""
    message: Message
    if announcement.kind == pb.ANNOUNCEMENT_KIND_DELETED:
        subject = DELETED
        message = events_pb2.MaterialDeleted(
            material_id=announcement.material_id,
            course_id=announcement.course_id,
            owner_id=announcement.owner_id,
            announcement=announcement.number,
            deleted_at=announcement.occurred_at,
        )
    else:
        subject = UPLOADED
        message = events_pb2.MaterialUploaded(
            material_id=announcement.material_id,
            course_id=announcement.course_id,
            owner_id=announcement.owner_id,
            media_type=announcement.media_type,
            file_size=announcement.file_size,
            sha256=announcement.sha256,
            announcement=announcement.number,
            created_at=announcement.occurred_at,
        )
    event_id = f"{announcement.material_id}:{announcement.number}"
    headers = {
        "Nats-Msg-Id": event_id,
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": "/materials/ingest",
        "ce-type": subject,
        "ce-subject": announcement.material_id,
        "ce-time": announcement.occurred_at.ToJsonString(),
        # As an attribute (the binding leaves `content-type` to structured mode), and for readers that know only the common name.
        "ce-datacontenttype": "application/protobuf",
        "content-type": "application/protobuf",
    }
    if announcement.traceparent:
        headers["traceparent"] = announcement.traceparent
    return Event(subject, message.SerializeToString(), headers)
