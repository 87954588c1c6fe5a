"""Uploads that stall, that are too many at once, or that lose their client in the middle."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from materials.v1 import ingest_service_pb2 as pb
from materials.v1 import ingest_service_pb2_grpc

from ingest_service.api import ended_by_the_client
from tests.contract.bare_services import MAX_CONCURRENT_UPLOADS, BareServices
from tests.contract.refusals import eventually, refusal_of, refused
from tests.contract.uploads import MIB, TEXT, Ingest, Messages, chunk, metadata
from tests.contract.wire import Wire
from tests.local_stack import LocalStack


class TestClientThatKeepsItsSlot:
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

        def holder() -> Any:
            return ingest.client.ingest.UploadMaterial(held(), metadata=ingest.client.metadata)

        holders = [holder() for _ in range(MAX_CONCURRENT_UPLOADS)]
        try:
            refusals = []

            async def full() -> bool:
                # Who asks takes a place for a moment: a holder that was refused it comes again.
                holders[:] = [holder() if call.done() else call for call in holders]
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
        content = TEXT * (2 * MIB // len(TEXT))
        before = set(ingest.bare.stored_files())
        first = await ingest.upload(metadata(course, request_id="known"), chunk(content))
        status = ingest.bare.processes["status-of-ingest"]
        all_begun = asyncio.Event()

        async def messages(request_id: str) -> Messages:
            yield metadata(course, request_id=request_id)
            yield chunk(content)
            await all_begun.wait()

        async def stored(whole: int, parts: int) -> bool:
            new = set(ingest.bare.stored_files()) - before
            return (whole, parts) == (sum("#" not in path.name for path in new), sum("#" in path.name for path in new))

        calls = [
            ingest.client.ingest.UploadMaterial(messages(request_id), metadata=ingest.client.metadata)
            for request_id in ("known", "new")
        ]
        await eventually(lambda: stored(1, 2), "both uploads are admitted")
        status.send_signal(signal.SIGSTOP)
        try:
            all_begun.set()
            await eventually(lambda: stored(3, 0), "the bytes are stored and the record is asked")
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        finally:
            status.send_signal(signal.SIGCONT)

        await eventually(lambda: stored(2, 0), "the bytes that the record did not want are gone")
        again = await ingest.upload(metadata(course, request_id="new"), chunk(content))
        assert sorted(await ingest.listed(course)) == sorted([first.id, again.id])
        kept = {path.name for path in set(ingest.bare.stored_files()) - before}
        assert kept == {first.id, again.id}
