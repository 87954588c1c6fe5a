"""`python -m bench.straight_line.upload_server`: IngestService.UploadMaterial with the least code, in one process.

`discard` takes the chunks and throws them away; `hash` takes their sha256 and writes the file; `full` also commits a record row, together with those that
wait, and has an event acknowledged by JetStream before it replies. When ready it prints `{"address": …}`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
import nats
import uvloop
from materials.v1 import events_pb2, material_pb2
from materials.v1 import ingest_service_pb2 as pb
from nats.js.api import StorageType, StreamConfig

from bench.straight_line.records import MATERIALS_TABLE, GroupCommit, Record
from servicekit.server import SERVER_OPTIONS

SERVICE = pb.DESCRIPTOR.services_by_name["IngestService"].full_name
OWNER = "straight-line"
DEADLINE_SECONDS = 10.0

Messages = AsyncIterator[pb.UploadMaterialRequest]
Handler = Callable[[Messages, object], Awaitable[pb.UploadMaterialResponse]]
#: Makes an upload whose file is complete durable: its record and its event.
Keep = Callable[[Record], Awaitable[None]]


async def discard(messages: Messages, _: object) -> pb.UploadMaterialResponse:
    """Keeps nothing: what gRPC itself costs. The reply says how much came."""
    size = 0
    async for message in messages:
        size += len(message.chunk)
    return pb.UploadMaterialResponse(material=material_pb2.Material(id=str(uuid.uuid4()), file_size=size))


def writing(directory: Path, keep: Keep) -> Handler:
    """Hashes and writes each chunk as it comes, then does what `keep` does."""

    async def write(messages: Messages, _: object) -> pb.UploadMaterialResponse:
        metadata = (await anext(messages)).metadata
        material_id = uuid.uuid4()
        path, digest, size = directory / str(material_id), hashlib.sha256(), 0
        with path.open("wb", buffering=0) as file:
            async for message in messages:
                digest.update(message.chunk)
                file.write(message.chunk)
                size += len(message.chunk)
        sha256 = digest.hexdigest()
        await keep(Record(material_id, OWNER, metadata.course_id, metadata.name, str(path), size, sha256))
        return pb.UploadMaterialResponse(
            material=material_pb2.Material(
                id=str(material_id),
                owner_id=OWNER,
                course_id=metadata.course_id,
                name=metadata.name,
                file_path=str(path),
                file_size=size,
                sha256=sha256,
                processing_status=material_pb2.PROCESSING_STATUS_PENDING,
            )
        )

    return write


async def keep_nothing(_: Record) -> None:
    """The file is all there is."""


@asynccontextmanager
async def durably(database: str, broker: str) -> AsyncIterator[Keep]:
    """Commits the record, then has its event acknowledged by a stream of its own, which is deleted at the end. Raises what Postgres and NATS raise."""
    async with AsyncExitStack() as exits:
        connection = await asyncpg.connect(database, timeout=DEADLINE_SECONDS)
        exits.push_async_callback(connection.close, timeout=DEADLINE_SECONDS)
        await connection.execute(MATERIALS_TABLE)
        commits = GroupCommit(connection)
        writing = asyncio.create_task(commits.run())
        exits.callback(writing.cancel)
        client = await nats.connect(broker)
        exits.push_async_callback(client.close)
        jetstream = client.jetstream(timeout=DEADLINE_SECONDS)
        name = f"STRAIGHT_LINE_{uuid.uuid4().hex[:8]}"
        subject = f"{name}.uploaded"
        await jetstream.add_stream(StreamConfig(name=name, subjects=[subject], storage=StorageType.FILE))
        exits.push_async_callback(jetstream.delete_stream, name)

        async def keep(record: Record) -> None:
            await commits.add(record)
            event = events_pb2.MaterialUploaded(
                material_id=str(record.material_id),
                course_id=record.course_id,
                owner_id=record.owner_id,
                file_size=record.file_size,
                sha256=record.sha256,
                announcement=1,
            )
            await jetstream.publish(subject, event.SerializeToString())

        yield keep


async def serve(service: str, directory: Path, database: str, broker: str) -> None:
    """Until SIGTERM."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as exits:
        handler: Handler = discard
        if service == "hash":
            handler = writing(directory, keep_nothing)
        elif service == "full":
            handler = writing(directory, await exits.enter_async_context(durably(database, broker)))
        method = grpc.stream_unary_rpc_method_handler(
            handler, pb.UploadMaterialRequest.FromString, pb.UploadMaterialResponse.SerializeToString
        )
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"UploadMaterial": method})])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
        await stopped.wait()
        await server.stop(1.0)


def main() -> None:
    """Reads the arguments and serves."""
    parser = argparse.ArgumentParser(prog="python -m bench.straight_line.upload_server")
    parser.add_argument("--service", choices=("discard", "hash", "full"), required=True)
    parser.add_argument("--directory", type=Path, required=True, help="where files are written")
    parser.add_argument("--database", default="", help="URL of a database of its own; for `full`")
    parser.add_argument("--nats", default="", help="URL of a nats-server with JetStream; for `full`")
    chosen = parser.parse_args()
    uvloop.run(serve(chosen.service, chosen.directory, chosen.database, chosen.nats))


if __name__ == "__main__":
    main()
