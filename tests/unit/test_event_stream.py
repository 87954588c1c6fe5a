"""The events on the stream: CloudEvents headers and the data beside them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from materials.v1 import events_pb2
from materials.v1 import record_service_pb2 as pb

from ingest_service.event_stream import DELETED, UPLOADED, to_event

MATERIAL = "0b9f2a52-6f6a-4f0e-9a53-2f9f2a526f6a"
MOMENT = Timestamp()
MOMENT.FromDatetime(datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC))
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def announcement(kind: pb.AnnouncementKind.ValueType, number: int = 3, **fields: str) -> pb.Announcement:
    return pb.Announcement(
        kind=kind,
        material_id=MATERIAL,
        number=number,
        course_id="математика\n1",
        owner_id="ada",
        media_type="application/pdf",
        file_size=12,
        sha256="ab" * 32,
        occurred_at=MOMENT,
        **fields,
    )


@pytest.mark.parametrize(
    ("kind", "subject"), [(pb.ANNOUNCEMENT_KIND_UPLOADED, UPLOADED), (pb.ANNOUNCEMENT_KIND_DELETED, DELETED)]
)
def test_headers_are_cloudevents_in_binary_mode(kind: pb.AnnouncementKind.ValueType, subject: str) -> None:
    event = to_event(announcement(kind, traceparent=TRACEPARENT))
    assert event.subject == subject
    assert event.headers == {
        "Nats-Msg-Id": f"{MATERIAL}:3",
        "ce-specversion": "1.0",
        "ce-id": f"{MATERIAL}:3",
        "ce-source": "/materials/ingest",
        "ce-type": subject,
        "ce-subject": MATERIAL,
        "ce-time": "2030-01-02T03:04:05.678Z",
        "ce-datacontenttype": "application/protobuf",
        "content-type": "application/protobuf",
        "traceparent": TRACEPARENT,
    }


@pytest.mark.parametrize("kind", [pb.ANNOUNCEMENT_KIND_UPLOADED, pb.ANNOUNCEMENT_KIND_DELETED])
def test_nothing_that_a_user_chose_is_in_a_header(kind: pb.AnnouncementKind.ValueType) -> None:
    headers = to_event(announcement(kind)).headers
    assert "traceparent" not in headers
    for name, value in headers.items():
        assert value.isascii()
        assert value.isprintable(), name
        assert "математика" not in value


def test_upload_event_tells_what_is_to_be_read() -> None:
    event = events_pb2.MaterialUploaded.FromString(to_event(announcement(pb.ANNOUNCEMENT_KIND_UPLOADED)).data)
    assert event == events_pb2.MaterialUploaded(
        material_id=MATERIAL,
        course_id="математика\n1",
        owner_id="ada",
        media_type="application/pdf",
        file_size=12,
        sha256="ab" * 32,
        announcement=3,
        created_at=MOMENT,
    )


def test_delete_event_tells_whose_data_is_to_go() -> None:
    event = events_pb2.MaterialDeleted.FromString(to_event(announcement(pb.ANNOUNCEMENT_KIND_DELETED)).data)
    assert event == events_pb2.MaterialDeleted(
        material_id=MATERIAL, course_id="математика\n1", owner_id="ada", announcement=3, deleted_at=MOMENT
    )


def test_each_announcement_has_a_message_id_of_its_own_and_a_repeat_the_same() -> None:
    ids = [
        to_event(announcement(pb.ANNOUNCEMENT_KIND_UPLOADED, number)).headers["Nats-Msg-Id"] for number in (1, 2, 3, 3)
    ]
    assert len(set(ids)) == 3
    assert ids[2] == ids[3]
