"""Uploads that Ingest refuses, and that leave nothing behind: metadata, sizes, digests, callers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from materials.v1 import ingest_service_pb2 as pb

from tests.contract.bare_services import MAX_UPLOAD_BYTES, BareServices
from tests.contract.refusals import refused
from tests.contract.uploads import MIB, TEXT, Ingest, Messages, chunk, metadata
from tests.local_stack import LocalStack


class TestRefusals:
    async def test_no_metadata(self, ingest: Ingest, course: str) -> None:
        async with ingest.leaves_no_trace(course):
            for messages in ([], [chunk(TEXT)], [pb.UploadMaterialRequest()], [chunk(TEXT), metadata(course)]):
                with refused("INVALID_ARGUMENT", "UPLOAD_METADATA_MISSING"):
                    await ingest.upload(*messages)

    async def test_metadata_twice(self, ingest: Ingest, course: str) -> None:
        async with ingest.leaves_no_trace(course):
            for before in ([], [chunk(TEXT)], [chunk(b"x" * 2 * MIB)]):
                with refused("INVALID_ARGUMENT", "UPLOAD_METADATA_REPEATED"):
                    await ingest.upload(metadata(course), *before, metadata(course), chunk(TEXT))

    @pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]], ids=["no chunk", "empty chunk", "empty chunks"])
    async def test_empty_file(self, ingest: Ingest, course: str, chunks: list[bytes]) -> None:
        async with ingest.leaves_no_trace(course):
            with refused("INVALID_ARGUMENT", "FILE_EMPTY"):
                await ingest.upload(metadata(course), *map(chunk, chunks))

    async def test_declared_size_over_the_limit_is_refused_before_any_byte(self, ingest: Ingest, course: str) -> None:
        asked_for_bytes = False

        async def messages() -> Messages:
            nonlocal asked_for_bytes
            yield metadata(course, file_size=MAX_UPLOAD_BYTES + 1)
            await asyncio.Event().wait()  # a client that sends nothing until it hears that it may
            asked_for_bytes = True

        async with ingest.leaves_no_trace(course):
            with refused("INVALID_ARGUMENT", "FILE_TOO_LARGE") as refusal:
                await ingest.upload_stream(messages())
        assert not asked_for_bytes
        assert str(MAX_UPLOAD_BYTES) in refusal.message

    async def test_endless_stream_is_cut_at_the_limit(self, ingest: Ingest, course: str) -> None:
        sent = 0

        def messages() -> Iterator[pb.UploadMaterialRequest]:
            nonlocal sent
            yield metadata(course)
            while True:
                yield chunk(b"a" * (256 * 1024))
                sent += 256 * 1024

        async with ingest.leaves_no_trace(course):
            with refused("INVALID_ARGUMENT", "FILE_TOO_LARGE"):
                await ingest.upload_each(messages())
        assert sent < MAX_UPLOAD_BYTES + 64 * MIB, "sockets and gRPC hold some megabytes on the way, not more"

    async def test_file_of_exactly_the_limit_is_taken(self, ingest: Ingest, course: str) -> None:
        material = await ingest.upload(metadata(course), *[chunk(b"a" * MIB)] * (MAX_UPLOAD_BYTES // MIB))
        assert material.file_size == MAX_UPLOAD_BYTES

    async def test_chunk_over_two_mebibytes(self, ingest: Ingest, course: str) -> None:
        async with ingest.leaves_no_trace(course):
            with refused("INVALID_ARGUMENT", "CHUNK_TOO_LARGE"):
                await ingest.upload(metadata(course), chunk(b"a" * (2 * MIB + 1)))
        assert (await ingest.upload(metadata(course), chunk(b"a" * 2 * MIB))).file_size == 2 * MIB

    @pytest.mark.parametrize("declared", [len(TEXT) - 1, len(TEXT) + 1])
    async def test_other_size_than_declared(self, ingest: Ingest, course: str, declared: int) -> None:
        async with ingest.leaves_no_trace(course):
            with refused("INVALID_ARGUMENT", "FILE_SIZE_MISMATCH"):
                await ingest.upload(metadata(course, file_size=declared), chunk(TEXT))

    async def test_other_bytes_than_declared(self, ingest: Ingest, course: str) -> None:
        digest = hashlib.sha256(TEXT).hexdigest()
        async with ingest.leaves_no_trace(course):
            for content in (TEXT[:-1] + b"!", b"a" * 2 * MIB):
                with refused("INVALID_ARGUMENT", "FILE_SHA256_MISMATCH"):
                    await ingest.upload(metadata(course, sha256=digest), chunk(content))
        material = await ingest.upload(metadata(course, sha256=digest.upper(), file_size=len(TEXT)), chunk(TEXT))
        assert material.sha256 == digest

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("course_id", ""),
            ("course_id", " "),
            ("course_id", "c" * 129),
            ("course_id", "c" * 10_000),
            ("course_id", "a b"),
            ("course_id", "a\u00a0b"),
            ("course_id", "a/b"),
            ("course_id", "a\\b"),
            ("course_id", "a\0b"),
            ("course_id", "a\r\nb"),
            ("course_id", "a\u202eb"),
            ("name", ""),
            ("name", "   "),
            ("name", "n" * 256),
            ("name", "n" * 10_000),
            ("name", "a\0b.txt"),
            ("name", "a\r\nSet-Cookie: x"),
            ("name", "a\x1b[31mb"),
            ("name", "a\u202etxt.exe"),
            ("name", "a\u2066b"),
            ("name", "a\u2028b"),
            ("request_id", "r" * 65),
            ("request_id", "a b"),
            ("request_id", "é"),
            ("request_id", "a\n"),
            ("file_size", -1),
            ("sha256", "abc"),
            ("sha256", "g" * 64),
            ("sha256", "a" * 64 + "\n"),
        ],
        ids=lambda value: repr(value)[:24],
    )
    async def test_field_out_of_range_is_named(self, ingest: Ingest, course: str, field: str, value: Any) -> None:
        async with ingest.leaves_no_trace(course):
            with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
                await ingest.upload(metadata(**{"course": course, field: value} if field != "course_id" else {"course": value}), chunk(TEXT))  # fmt: skip

    @pytest.mark.parametrize(
        "courses",
        [{}, {"COURSE": "reader"}, {"another": "editor"}, {"*": "reader"}],
        ids=["none", "reader", "editor elsewhere", "reader of all"],
    )
    async def test_caller_who_is_no_editor_of_the_course(
        self, bare: BareServices, stack: LocalStack, ingest: Ingest, course: str, courses: dict[str, str]
    ) -> None:
        token = stack.user_token("ann", {key.replace("COURSE", course): role for key, role in courses.items()})
        async with bare.client(token, status="status-of-ingest") as client, ingest.leaves_no_trace(course):
            with refused("PERMISSION_DENIED", "COURSE_WRITE_DENIED"):
                await Ingest(bare, client, ingest.threads).upload(metadata(course), chunk(TEXT))

    async def test_caller_without_a_token(self, ingest: Ingest, course: str) -> None:
        async with ingest.leaves_no_trace(course):
            with refused("UNAUTHENTICATED", "TOKEN_MISSING"):
                await ingest.upload(metadata(course), chunk(TEXT), token=False)
