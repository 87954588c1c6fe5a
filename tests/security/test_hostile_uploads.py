"""Uploads that are empty, too large, without end, malformed or never finished: refused in the contract's words, in time, and nothing of them is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from materials.channels import MAX_MESSAGE_BYTES
from materials.v1 import ingest_service_pb2

from tests.contract.refusals import refused
from tests.fuzz.calls import Caller
from tests.local_stack import unique_course
from tests.security.attacked import MAX_UPLOAD_BYTES, MIB, TEXT, Attacked, World, upload_request
from tests.security.http1 import BOUNDARY, END, Http1, chunk, part, upload_head

CHUNK = upload_request(chunk=TEXT)
FIELD = 'form-data; name="{}"'
FILE = 'form-data; name="file"; filename="{}"'


def metadata(**fields: object) -> ingest_service_pb2.UploadMaterialRequest:
    return upload_request(metadata=ingest_service_pb2.UploadMetadata(course_id="COURSE", name="notes.txt", **fields))


@pytest.fixture
def course() -> str:
    return unique_course()


@pytest.fixture
def uploader(attacked: Attacked, course: str) -> Iterator[Caller]:
    """An editor of the course, of whom nothing is kept after the test."""
    caller = attacked.caller(courses={course: "editor"})
    with attacked.leaves_no_trace(caller, course):
        yield caller


class TestGrpc:
    @pytest.mark.parametrize(
        ("messages", "reason"),
        [
            ([], "UPLOAD_METADATA_MISSING"),
            ([CHUNK], "UPLOAD_METADATA_MISSING"),
            ([CHUNK, metadata()], "UPLOAD_METADATA_MISSING"),
            ([metadata(), metadata(), CHUNK], "UPLOAD_METADATA_REPEATED"),
            ([metadata(), CHUNK, metadata()], "UPLOAD_METADATA_REPEATED"),
            ([metadata()], "FILE_EMPTY"),
            ([metadata(), upload_request(chunk=b"")], "FILE_EMPTY"),
            ([metadata(file_size=MAX_UPLOAD_BYTES + 1), CHUNK], "FILE_TOO_LARGE"),
            ([metadata(file_size=2**63 - 1), CHUNK], "FILE_TOO_LARGE"),
            ([metadata(file_size=-1), CHUNK], "FIELD_INVALID"),
            ([metadata(), *[upload_request(chunk=b"a" * MIB)] * 4], "FILE_TOO_LARGE"),
            ([metadata(), upload_request(chunk=b"a" * (2 * MIB + 1))], "CHUNK_TOO_LARGE"),
            ([metadata(file_size=7), CHUNK], "FILE_SIZE_MISMATCH"),
            ([metadata(sha256="0" * 64), CHUNK], "FILE_SHA256_MISMATCH"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_upload_is_refused_for_what_is_wrong_with_it(
        self, uploader: Caller, course: str, messages: list[ingest_service_pb2.UploadMaterialRequest], reason: str
    ) -> None:
        with refused("INVALID_ARGUMENT", reason, *(["file_size"] if reason == "FIELD_INVALID" else [])):
            uploader.upload(in_course(message, course) for message in messages)

    def test_endless_stream_is_cut_at_the_limit(self, uploader: Caller, course: str) -> None:
        def endless() -> Iterator[ingest_service_pb2.UploadMaterialRequest]:
            yield in_course(metadata(), course)
            while True:
                yield upload_request(chunk=b"a" * MIB)

        with refused("INVALID_ARGUMENT", "FILE_TOO_LARGE"):
            uploader.upload(endless())

    @pytest.mark.parametrize("sent", [0, 1, 2], ids=["before the metadata", "before any byte", "in the middle"])
    def test_client_that_falls_silent_is_let_go(self, uploader: Caller, course: str, sent: int) -> None:
        over = threading.Event()

        def stalling() -> Iterator[ingest_service_pb2.UploadMaterialRequest]:
            yield from [in_course(metadata(), course), CHUNK][:sent]
            over.wait(60)

        try:
            with refused("DEADLINE_EXCEEDED", "UPLOAD_TOO_SLOW"):
                uploader.upload(stalling())
        finally:
            over.set()

    def test_message_over_the_servers_limit_is_no_upload(self, uploader: Caller, course: str) -> None:
        with pytest.raises(Exception, match="RESOURCE_EXHAUSTED"):
            uploader.upload([in_course(metadata(), course), upload_request(chunk=bytes(MAX_MESSAGE_BYTES))])


def in_course(
    message: ingest_service_pb2.UploadMaterialRequest, course: str
) -> ingest_service_pb2.UploadMaterialRequest:
    if not message.HasField("metadata"):
        return message
    copy = ingest_service_pb2.UploadMaterialRequest.FromString(message.SerializeToString())
    copy.metadata.course_id = course
    return copy


class TestHttp:
    @pytest.mark.parametrize(
        ("body", "status", "reason"),
        [
            (b"", 400, "UPLOAD_MALFORMED"),
            (END, 400, "UPLOAD_MALFORMED"),
            (b"no form at all", 400, "UPLOAD_MALFORMED"),
            (part(b"biology", FIELD.format("name")) + END, 400, "UPLOAD_MALFORMED"),
            (part(TEXT, 'form-data; name="document"; filename="a.txt"') + END, 400, "UPLOAD_MALFORMED"),
            (part(TEXT, FIELD.format("file")) + END, 422, "FIELD_INVALID"),
            (part(TEXT, "attachment") + END, 400, "UPLOAD_MALFORMED"),
            (part(TEXT) + part(TEXT) + END, 422, "FIELD_INVALID"),
            (part(TEXT) + part(b"late", FIELD.format("name")) + END, 422, "FIELD_INVALID"),
            (part(TEXT), 400, "UPLOAD_MALFORMED"),
            (part(TEXT) + END[:-6], 400, "UPLOAD_MALFORMED"),
            (part(TEXT)[:40], 400, "UPLOAD_MALFORMED"),
            (part(b"x", FIELD.format("a")) * 100 + part(TEXT) + END, 400, "UPLOAD_MALFORMED"),
            (part(b"n" * 10_000, FIELD.format("name")) + part(TEXT) + END, 422, "FIELD_INVALID"),
            (part(TEXT, FILE.format("n" * 10_000)) + END, 400, "UPLOAD_MALFORMED"),
            (part(TEXT, FILE.format("a.txt"), *["X-Filler: x"] * 100) + END, 400, "UPLOAD_MALFORMED"),
            (part(TEXT, FILE.format("")) + END, 422, "FIELD_INVALID"),
            (part(b"") + END, 422, "FILE_EMPTY"),
            (part(b"a" * (MAX_UPLOAD_BYTES + 1)) + END, 413, "FILE_TOO_LARGE"),
            (part(b"0" * 64, FIELD.format("sha256")) + part(TEXT) + END, 422, "FILE_SHA256_MISMATCH"),
        ],
        ids=lambda value: repr(value)[:24],
    )
    def test_form_that_is_no_upload_is_refused(
        self, attacked: Attacked, uploader: Caller, course: str, body: bytes, status: int, reason: str
    ) -> None:
        with Http1(attacked) as connection:
            connection.head(*upload_head(course, uploader.token, f"Content-Length: {len(body)}"))
            connection.send(body)
            reply = connection.reply()
        assert (reply.status, reply.reason) == (status, reason), reply.body

    @pytest.mark.parametrize(
        "media_type",
        [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            f"multipart/form-data; boundary={'b' * 5_000}",
            f"multipart/mixed; boundary={BOUNDARY}",
            "application/json",
            "text/plain; boundary",
            "",
        ],
    )
    def test_body_of_another_type_is_refused(
        self, attacked: Attacked, uploader: Caller, course: str, media_type: str
    ) -> None:
        body = part(TEXT) + END
        with Http1(attacked) as connection:
            method, path, authorization, *_ = upload_head(course, uploader.token)
            connection.head(method, path, authorization, f"Content-Type: {media_type}", f"Content-Length: {len(body)}")
            connection.send(body)
            reply = connection.reply()
        assert (reply.status, reply.reason) == (400, "UPLOAD_MALFORMED"), reply.body

    def test_length_that_promises_more_than_comes_is_no_upload(
        self, attacked: Attacked, uploader: Caller, course: str
    ) -> None:
        body = part(TEXT)
        with Http1(attacked) as connection:
            connection.head(*upload_head(course, uploader.token, f"Content-Length: {len(body) + 1_000}"))
            connection.send(body)
            connection.end()
            assert connection.reply().status in (0, 400)

    def test_length_that_hides_a_second_request_smuggles_nothing(
        self, attacked: Attacked, world: World, uploader: Caller, course: str
    ) -> None:
        hidden = f"DELETE /materials/{world.material.id} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        body = part(TEXT) + END
        with Http1(attacked) as connection:
            connection.head(
                *upload_head(course, uploader.token, f"Content-Length: {len(body)}", "Transfer-Encoding: chunked")
            )
            connection.send(b"0\r\n\r\n" + hidden)
            assert connection.reply().status in (0, 400)
        with Http1(attacked) as connection:
            connection.head(*upload_head(course, uploader.token, "Content-Length: 4", f"Content-Length: {len(body)}"))
            connection.send(body + hidden)
            assert connection.reply().status in (0, 400)
        world.still_serves()

    @pytest.mark.parametrize("declared", [True, False], ids=["with a length", "chunked"])
    @pytest.mark.parametrize("sent", [b"", part(TEXT)[:60], part(TEXT)], ids=["nothing", "half a head", "a file"])
    def test_body_that_stops_in_the_middle_is_let_go(
        self, attacked: Attacked, uploader: Caller, course: str, declared: bool, sent: bytes
    ) -> None:
        with Http1(attacked) as connection:
            length = f"Content-Length: {MIB}" if declared else "Transfer-Encoding: chunked"
            connection.head(*upload_head(course, uploader.token, length))
            connection.send(sent if declared or not sent else chunk(sent))
            reply = connection.reply()
        assert (reply.status, reply.reason) in [(408, "REQUEST_TOO_SLOW"), (408, "UPLOAD_TOO_SLOW")]

    def test_endless_body_is_cut_at_the_limit(self, attacked: Attacked, uploader: Caller, course: str) -> None:
        with Http1(attacked) as connection:
            connection.head(*upload_head(course, uploader.token, "Transfer-Encoding: chunked"))
            connection.send(chunk(part(b"a")[:-2]))
            refusal: list[object] = []

            def listen() -> None:
                reply = connection.reply()
                refusal.extend([reply.status, reply.reason])

            listener = threading.Thread(target=listen)
            listener.start()
            sent = 0
            while listener.is_alive() and connection.send(chunk(b"a" * 65_536)):
                sent += 65_536
                assert sent < MAX_UPLOAD_BYTES + 256 * MIB, "more is read than may be kept"
            listener.join(30)
        assert refusal == [413, "FILE_TOO_LARGE"]

    def test_client_that_goes_away_in_the_middle_leaves_nothing(
        self, attacked: Attacked, uploader: Caller, course: str
    ) -> None:
        for sent in (0, 30, 100, len(part(TEXT)), MIB):
            body = part(b"a" * (2 * MIB))[:sent]
            with Http1(attacked) as connection:
                connection.head(*upload_head(course, uploader.token, f"Content-Length: {3 * MIB}"))
                connection.send(body)

    def test_well_formed_upload_in_the_same_words_is_taken(self, attacked: Attacked, course: str) -> None:
        """So that the others are refused for what is wrong with them."""
        caller = attacked.caller(courses={course: "editor"})
        body = part(TEXT) + END
        with Http1(attacked) as connection:
            connection.head(*upload_head(course, caller.token, f"Content-Length: {len(body)}"))
            connection.send(body)
            assert connection.reply().status == 201
