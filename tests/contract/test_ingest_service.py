"""IngestService: bytes in and out. Refusals and what they leave behind are looked at in an Ingest with low limits and an object directory of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import nats
import pytest
from materials.v1 import events_pb2, ingest_service_pb2_grpc, material_pb2, status_service_pb2
from materials.v1 import ingest_service_pb2 as pb
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy

from ingest_service.api import ended_by_the_client
from tests.contract.bare_services import MAX_CONCURRENT_UPLOADS, MAX_UPLOAD_BYTES, BareServices
from tests.contract.person import Person
from tests.contract.refusals import eventually, refusal_of, refused
from tests.local_stack import Client, LocalStack

MIB = 1024 * 1024
TEXT = b"Mitosis makes two cells of one.\n"
Messages = AsyncIterator[pb.UploadMaterialRequest]


def metadata(course: str, **fields: Any) -> pb.UploadMaterialRequest:
    """The first message of an upload."""
    return pb.UploadMaterialRequest(metadata=pb.UploadMetadata(**{"course_id": course, "name": "notes.txt", **fields}))


def chunk(content: bytes) -> pb.UploadMaterialRequest:
    return pb.UploadMaterialRequest(chunk=content)


async def stream(*messages: pb.UploadMaterialRequest) -> Messages:
    for message in messages:
        yield message


@dataclass
class Ingest:
    """The Ingest with low limits, as one caller."""

    bare: BareServices
    client: Client
    threads: ThreadPoolExecutor

    async def upload(self, *messages: pb.UploadMaterialRequest, token: bool = True) -> material_pb2.Material:
        """An upload of these messages."""
        return await self.upload_each(iter(messages), token=token)

    async def upload_each(
        self, messages: Iterator[pb.UploadMaterialRequest], *, token: bool = True
    ) -> material_pb2.Material:
        """An upload of whatever comes. Not by grpc.aio, whose client loses a refusal that comes while it writes (grpc #36066)."""

        def upload() -> material_pb2.Material:
            with grpc.insecure_channel(self.bare.endpoints["ingest"]) as channel:
                stub = ingest_service_pb2_grpc.IngestServiceStub(channel)
                response: pb.UploadMaterialResponse = stub.UploadMaterial(
                    messages, metadata=tuple(self.client.metadata) if token else (), timeout=60
                )
                return response.material

        return await asyncio.get_running_loop().run_in_executor(self.threads, upload)

    async def upload_stream(self, messages: Messages) -> material_pb2.Material:
        """An upload that waits for events of the test."""
        call = self.client.ingest.UploadMaterial(messages, metadata=self.client.metadata, timeout=60)
        return (await call).material

    async def listed(self, course: str) -> list[str]:
        """The materials of the course."""
        return await Person(self.client).listed(course_id=course)

    async def idle(self) -> None:
        """Returns when no upload is being taken: every slot answers."""

        async def all_slots_answer() -> bool:
            calls = (self.upload(metadata("idle")) for _ in range(MAX_CONCURRENT_UPLOADS))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return all(
                isinstance(answer, grpc.RpcError) and refusal_of(answer).reason == "FILE_EMPTY" for answer in answers
            )

        await eventually(all_slots_answer, "every slot for uploads is free")

    @asynccontextmanager
    async def leaves_no_trace(self, course: str) -> AsyncIterator[None]:
        """After the block there are no files that were not there before, complete or not, and no record in the course."""
        before = set(self.bare.stored_files())
        yield
        assert set(self.bare.stored_files()) == before
        if course:
            assert await self.listed(course) == []


@pytest.fixture
async def ingest(bare: BareServices, stack: LocalStack) -> AsyncIterator[Ingest]:
    """As the demo user, an editor of every course."""
    async with bare.client(stack.facts["token"], status="status-of-ingest") as client:
        with ThreadPoolExecutor(MAX_CONCURRENT_UPLOADS + 1) as threads:
            yield Ingest(bare, client, threads)


class Wire:
    """A TCP connection through the test, which may be cut. Use as a context."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.partition(":")
        self._writers: list[asyncio.StreamWriter] = []
        self._carried = 0
        self._more = asyncio.Condition()
        self.address = ""

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Resets both ends."""
        for writer in self._writers:
            writer.transport.abort()

    async def carried(self, count: int) -> None:
        """Returns when the client has sent at least so many bytes."""
        async with asyncio.timeout(20), self._more:
            await self._more.wait_for(lambda: self._carried >= count)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, back]
        with suppress(OSError):
            await asyncio.gather(self._carry(reader, back, count=True), self._carry(there, writer, count=False))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
            if count:
                async with self._more:
                    self._carried += len(data)
                    self._more.notify_all()
        writer.close()


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
        "content",
        [
            b"MZ\x90\x00" + b"\0" * 100,
            b"\x7fELF" + b"\0" * 100,
            b"PK\x03\x04" + b"\0" * 100,
            b"\x1f\x8b\x08" + b"\0" * 100,
            b"GIF89a" + b"\0" * 100,
            b"<!DOCTYPE html><script>alert(1)</script>",
            b"\xef\xbb\xbf  <HTML><body>",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"<?xml version='1.0'?><a/>",
            b"<?php system('id');",
            b"#!/bin/sh\nid\n",
            b"\xff\xfea\0b\0",
            b"caf\xe9 in Latin-1",
            b"x" * 2_000 + b"%PDF-1.7\n\x00",
            b"a" * 1_500_000 + b"\x00",
            b"a" * 1_500_000 + b"\xc3",
            b"\xc3" * 10,
            b"RIFF\0\0\0\0AVI LIST",
        ],
        ids=lambda content: repr(content[:24]),
    )
    async def test_unsupported_content_whatever_its_name_says(
        self, ingest: Ingest, course: str, content: bytes
    ) -> None:
        chunks = [chunk(content[start : start + MIB]) for start in range(0, len(content), MIB)]
        async with ingest.leaves_no_trace(course):
            for name in ("notes.txt", "scan.pdf"):
                with refused("INVALID_ARGUMENT", "UNSUPPORTED_FILE_TYPE"):
                    await ingest.upload(metadata(course, name=name), *chunks)

    @pytest.mark.parametrize(
        ("content", "name", "file_type", "media_type"),
        [
            (b"%PDF-1.7\n\x00binary", "a.txt", "pdf", "application/pdf"),
            (b"junk\n" * 100 + b"%PDF-1.4\n", "a", "pdf", "application/pdf"),
            (b"\x89PNG\r\n\x1a\n\0", "a.pdf", "png", "image/png"),
            (b"\xff\xd8\xff\xe0\0", "a.png", "jpeg", "image/jpeg"),
            (b"II*\0\x08", "a.tif", "tiff", "image/tiff"),
            (b"MM\0*\0", "a.tif", "tiff", "image/tiff"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a", "webp", "image/webp"),
            ("Grüße, 世界\n".encode(), "a.pdf", "text", "text/plain"),
            (b"# Title\n", "a.MD", "markdown", "text/markdown"),
            (b"\xef\xbb\xbftext with a mark", "a.txt", "text", "text/plain"),
        ],
        ids=lambda value: repr(value)[:24],
    )
    async def test_type_is_told_from_content(
        self, ingest: Ingest, course: str, content: bytes, name: str, file_type: str, media_type: str
    ) -> None:
        for chunk_bytes in (1, len(content)):
            chunks = [chunk(content[start : start + chunk_bytes]) for start in range(0, len(content), chunk_bytes)]
            material = await ingest.upload(metadata(course, name=name), *chunks)
            assert (material.file_type, material.media_type) == (file_type, media_type)

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
        "name",
        [
            "../../etc/passwd",
            "C:\\windows\\system32\\x",
            "<img src=x onerror=alert(1)>",
            "a" * 255,
            "世" * 255,
            "-rf",
            "'; --",
        ],
    )
    async def test_odd_names_are_kept_as_text_and_never_are_a_path(
        self, ingest: Ingest, course: str, name: str
    ) -> None:
        material = await ingest.upload(metadata(course, name=name), chunk(TEXT))
        assert material.name == name
        assert material.file_path == f"objects/{material.id[:2]}/{material.id}"
        assert (ingest.bare.objects / material.file_path).read_bytes() == TEXT

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

    @pytest.mark.parametrize(
        "sent",
        [[], [metadata("slow-course")], [metadata("slow-course"), chunk(TEXT)]],
        ids=["nothing", "metadata", "bytes"],
    )
    async def test_client_that_falls_silent(self, ingest: Ingest, sent: list[pb.UploadMaterialRequest]) -> None:
        async def messages() -> Messages:
            for message in sent:
                yield message
            await asyncio.Event().wait()

        async with ingest.leaves_no_trace("slow-course"):
            with refused("DEADLINE_EXCEEDED", "UPLOAD_TOO_SLOW"):
                await ingest.upload_stream(messages())

    async def test_client_that_sends_messages_without_bytes(self, ingest: Ingest, course: str) -> None:
        def messages() -> Iterator[pb.UploadMaterialRequest]:
            yield metadata(course)
            while True:
                yield chunk(b"")
                time.sleep(0.05)  # the client's own pace

        async with ingest.leaves_no_trace(course):
            with refused("DEADLINE_EXCEEDED", "UPLOAD_TOO_SLOW"):
                await ingest.upload_each(messages())

    async def test_more_uploads_at_once_than_the_replica_takes(self, ingest: Ingest, course: str) -> None:
        hold = asyncio.Event()

        async def held() -> Messages:
            yield metadata(course)
            while not hold.is_set():
                yield chunk(b"a")
                await asyncio.sleep(0.2)

        holders = [
            ingest.client.ingest.UploadMaterial(held(), metadata=ingest.client.metadata)
            for _ in range(MAX_CONCURRENT_UPLOADS)
        ]
        try:
            refusals = []

            async def full() -> bool:
                with pytest.raises(grpc.RpcError) as caught:
                    await ingest.upload(metadata(course))
                refusals.append(refusal_of(caught.value))
                return refusals[-1].reason == "TOO_MANY_UPLOADS"

            await eventually(full, "all slots are taken")
            assert refusals[-1].code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert refusals[-1].retry_seconds
            for call in holders[: MAX_CONCURRENT_UPLOADS // 2]:
                call.cancel()

            async def taken() -> bool:
                try:
                    return bool(await ingest.upload(metadata(course), chunk(TEXT)))
                except grpc.RpcError as error:
                    if refusal_of(error).reason != "TOO_MANY_UPLOADS":
                        raise
                    return False

            await eventually(taken, "the slots of cancelled uploads are free again")
        finally:
            hold.set()
            for call in holders:
                call.cancel()
            await asyncio.gather(*holders, return_exceptions=True)

        await ingest.idle()


class TestClientThatGoesAway:
    @pytest.mark.parametrize("how", ["cancels", "is cut off"])
    async def test_in_the_middle_leaves_no_trace(
        self, bare: BareServices, stack: LocalStack, ingest: Ingest, course: str, how: str
    ) -> None:
        async def go_away(sent_bytes: int) -> None:
            all_sent = asyncio.Event()

            async def messages() -> Messages:
                yield metadata(course)
                for start in range(0, sent_bytes, MIB):
                    yield chunk(b"a" * min(MIB, sent_bytes - start))
                all_sent.set()
                await asyncio.Event().wait()

            async with Wire(bare.endpoints["ingest"]) as wire, grpc.aio.insecure_channel(wire.address) as channel:
                stub = ingest_service_pb2_grpc.IngestServiceStub(channel)
                call = stub.UploadMaterial(messages(), metadata=ingest.client.metadata)
                await all_sent.wait()
                await wire.carried(sent_bytes)
                if how == "cancels":
                    call.cancel()
                else:
                    wire.cut()
                await asyncio.gather(call, return_exceptions=True)

        async with ingest.leaves_no_trace(course):
            # What the server sees first, the end of the stream or the cancellation, is a matter of chance: often enough to meet both.
            for sent_bytes in (0, 1, 1_500, 300_000, 2 * MIB + 500):
                await asyncio.gather(*(go_away(sent_bytes) for _ in range(6)))
            await ingest.idle()

    @pytest.mark.parametrize("how", ["ends", "cancels", "is cut off"])
    async def test_end_of_the_stream_is_told_from_the_loss_of_the_client(self, how: str) -> None:
        """A real server whose handler outlives its cancellation, as one does that is about to record the upload."""
        received: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        class Slow(ingest_service_pb2_grpc.IngestServiceServicer):
            async def UploadMaterial(self, request_iterator: Messages, context: Any) -> pb.UploadMaterialResponse:
                async def read_to_the_end() -> None:
                    try:
                        async for _ in ended_by_the_client(request_iterator, context):
                            pass
                    except asyncio.CancelledError:
                        received.set_result(False)
                    else:
                        received.set_result(True)

                reading = asyncio.create_task(read_to_the_end())
                await asyncio.wait([asyncio.ensure_future(asyncio.shield(reading))])
                return pb.UploadMaterialResponse()

        server = grpc.aio.server()
        ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(Slow(), server)  # type: ignore[abstract]  # uploads only
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with Wire(f"127.0.0.1:{port}") as wire, grpc.aio.insecure_channel(wire.address) as channel:
                call = ingest_service_pb2_grpc.IngestServiceStub(channel).UploadMaterial()
                await call.write(chunk(b"a" * MIB))
                await wire.carried(MIB)
                match how:
                    case "ends":
                        await call.done_writing()
                    case "cancels":
                        call.cancel()
                    case _:
                        wire.cut()
                async with asyncio.timeout(20):
                    assert await received is (how == "ends")
                await asyncio.gather(call, return_exceptions=True)
        finally:
            await server.stop(1)

    async def test_after_a_part_was_written_leaves_no_trace(self, ingest: Ingest, course: str) -> None:
        async def messages() -> Messages:
            yield metadata(course)
            yield chunk(b"a" * 2 * MIB)
            await asyncio.Event().wait()

        async with ingest.leaves_no_trace(course):
            before = set(ingest.bare.stored_files())
            call = ingest.client.ingest.UploadMaterial(messages(), metadata=ingest.client.metadata)
            try:

                async def begun() -> bool:
                    return set(ingest.bare.stored_files()) > before

                await eventually(begun, "a part of the file is in the store")
            finally:
                call.cancel()
            await ingest.idle()

    async def test_while_the_record_is_slow_leaves_a_whole_material_or_none(self, ingest: Ingest, course: str) -> None:
        before = set(ingest.bare.stored_files())
        first = await ingest.upload(metadata(course, request_id="known"), chunk(TEXT))
        status = ingest.bare.processes["status-of-ingest"]

        async def stored(files: int) -> bool:
            return len(set(ingest.bare.stored_files()) - before) == files

        status.send_signal(signal.SIGSTOP)
        try:
            calls = [
                ingest.client.ingest.UploadMaterial(
                    stream(metadata(course, request_id=request_id), chunk(TEXT)), metadata=ingest.client.metadata
                )
                for request_id in ("known", "new")
            ]
            await eventually(lambda: stored(3), "the bytes are stored and the record is asked")
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        finally:
            status.send_signal(signal.SIGCONT)

        await eventually(lambda: stored(2), "the bytes that the record did not want are gone")
        again = await ingest.upload(metadata(course, request_id="new"), chunk(TEXT))
        assert sorted(await ingest.listed(course)) == sorted([first.id, again.id])
        kept = {path.name for path in set(ingest.bare.stored_files()) - before}
        assert kept == {first.id, again.id}


class TestRequestId:
    async def test_repeat_answers_the_same_material_and_keeps_one_object(self, ingest: Ingest, course: str) -> None:
        before = set(ingest.bare.stored_files())
        first = await ingest.upload(metadata(course, request_id="again"), chunk(TEXT))
        second = await ingest.upload(metadata(course, request_id="again"), chunk(TEXT))
        assert second == first
        assert {path.name for path in set(ingest.bare.stored_files()) - before} == {first.id}
        assert await ingest.listed(course) == [first.id]

    @pytest.mark.parametrize(
        "other",
        [{"content": TEXT + b"!"}, {"name": "other.txt"}, {"course_id": "elsewhere"}],
        ids=["bytes", "name", "course"],
    )
    async def test_other_upload_is_refused_and_leaves_no_object(
        self, ingest: Ingest, course: str, other: dict[str, Any]
    ) -> None:
        request_id = str(uuid.uuid4())
        first = await ingest.upload(metadata(course, request_id=request_id), chunk(TEXT))
        before = set(ingest.bare.stored_files())
        content = other.pop("content", TEXT)
        with refused("ALREADY_EXISTS", "REQUEST_ID_REUSED"):
            await ingest.upload(metadata(course, request_id=request_id, **other), chunk(content))
        assert set(ingest.bare.stored_files()) == before
        assert await ingest.listed(course) == [first.id]

    async def test_twenty_at_once_make_one_material(self, ingest: Ingest, course: str) -> None:
        before = set(ingest.bare.stored_files())
        request_id = str(uuid.uuid4())
        materials = await asyncio.gather(
            *(ingest.upload(metadata(course, request_id=request_id), chunk(TEXT)) for _ in range(20))
        )
        [material_id] = {material.id for material in materials}
        assert {path.name for path in set(ingest.bare.stored_files()) - before} == {material_id}
        assert await ingest.listed(course) == [material_id]

    async def test_same_bytes_and_request_id_of_two_owners_are_two_materials(
        self, bare: BareServices, stack: LocalStack, ingest: Ingest, course: str
    ) -> None:
        ids = []
        for subject in ("ann", "bob"):
            async with bare.client(stack.user_token(subject, {course: "editor"}), status="status-of-ingest") as client:
                ids.append(
                    (
                        await Ingest(bare, client, ingest.threads).upload(
                            metadata(course, request_id="mine"), chunk(TEXT)
                        )
                    ).id
                )
        assert len(set(ids)) == 2

    async def test_uploads_without_one_are_all_kept(self, ingest: Ingest, course: str) -> None:
        materials = [await ingest.upload(metadata(course), chunk(TEXT)) for _ in range(2)]
        assert materials[0].id != materials[1].id


class TestDownload:
    @pytest.fixture
    async def content(self) -> bytes:
        return bytes(os.urandom(700_000)).hex().encode() + b"\n"

    @pytest.fixture
    async def material(self, ingest: Ingest, course: str, content: bytes) -> material_pb2.Material:
        return await ingest.upload(metadata(course, name="hex.txt"), chunk(content))

    async def download(
        self, client: Client, material_id: str, **query: int
    ) -> tuple[pb.DownloadMetadata, bytes, list[int]]:
        call = client.ingest.DownloadMaterial(
            pb.DownloadMaterialRequest(material_id=material_id, **query), metadata=client.metadata, timeout=30
        )
        responses = [response async for response in call]
        assert [response.WhichOneof("payload") for response in responses][:1] == ["metadata"]
        assert {response.WhichOneof("payload") for response in responses[1:]} <= {"chunk"}
        chunks = [response.chunk for response in responses[1:]]
        return responses[0].metadata, b"".join(chunks), [len(each) for each in chunks]

    async def test_whole_file(self, ingest: Ingest, material: material_pb2.Material, content: bytes) -> None:
        first, received, sizes = await self.download(ingest.client, material.id)
        assert received == content
        assert max(sizes) <= MIB
        assert first == pb.DownloadMetadata(
            name="hex.txt",
            media_type="text/plain",
            file_size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            offset=0,
            length=len(content),
        )

    @pytest.mark.parametrize(
        ("offset", "limit", "wanted"),
        [
            (0, 1, lambda content: content[:1]),
            (10, 0, lambda content: content[10:]),
            (10, 100, lambda content: content[10:110]),
            (MIB - 1, 2, lambda content: content[MIB - 1 : MIB + 1]),
            (1_400_000, 1, lambda content: content[-1:]),
            (1_399_990, 10_000, lambda content: content[-11:]),
            (5, 2**62, lambda content: content[5:]),
            (1_400_001, 0, lambda content: b""),
        ],
    )
    async def test_range(
        self,
        ingest: Ingest,
        material: material_pb2.Material,
        content: bytes,
        offset: int,
        limit: int,
        wanted: Callable[[bytes], bytes],
    ) -> None:
        first, received, _ = await self.download(ingest.client, material.id, offset=offset, limit=limit)
        assert received == wanted(content)
        assert (first.offset, first.length, first.file_size) == (offset, len(received), len(content))

    @pytest.mark.parametrize(
        ("offset", "limit"), [(-1, 0), (0, -1), (1_400_002, 0), (2**62, 1), (-(2**63), 0), (0, -(2**63))]
    )
    async def test_range_outside_the_file(
        self, ingest: Ingest, material: material_pb2.Material, offset: int, limit: int
    ) -> None:
        with refused("OUT_OF_RANGE", "RANGE_INVALID"):
            await self.download(ingest.client, material.id, offset=offset, limit=limit)

    async def test_foreign_and_unknown_materials_get_the_same_answer(
        self, bare: BareServices, stack: LocalStack, material: material_pb2.Material
    ) -> None:
        answers = set()
        async with bare.client(stack.user_token("stranger"), status="status-of-ingest") as client:
            for material_id in (material.id, str(uuid.uuid4()), "../../etc/passwd", "", material.file_path):
                for offset in (0, 2**62):
                    with refused("NOT_FOUND", "MATERIAL_NOT_FOUND") as refusal:
                        await self.download(client, material_id, offset=offset)
                    answers.add(refusal.status_bytes)
        assert len(answers) == 1

    async def test_reader_of_the_course_may(
        self, bare: BareServices, stack: LocalStack, material: material_pb2.Material, content: bytes
    ) -> None:
        token = stack.user_token("reader", {material.course_id: "reader"})
        async with bare.client(token, status="status-of-ingest") as client:
            assert (await self.download(client, material.id))[1] == content


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
