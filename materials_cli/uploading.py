"""Files to the service.

One upload keeps its random request id over all its tries, so a repeat of one whose reply was lost answers the same material. A try begins anew with
the first byte: nothing is kept of an upload that was cut off.
"""

from __future__ import annotations

import asyncio
import glob
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
from materials.v1 import ingest_service_pb2, material_pb2

from materials_cli.connection import STALL_SECONDS, Connection
from materials_cli.errors import CommandError, WrongUsage
from materials_cli.retrying import Attempts
from servicekit.upload_call import UploadCall

CHUNK_BYTES = 256 * 1024

Progress = Callable[[int, int], None]


def expand_files(arguments: Sequence[str]) -> list[Path]:
    """The files that are meant, each once. A pattern that no shell has expanded is expanded here, over files only; `**` goes into folders.

    Raises WrongUsage for what is not there, folders, and patterns without a match.
    """
    paths: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            raise WrongUsage(f"{argument} is a folder; name files instead, such as '{path / '*.pdf'}'")
        if path.exists():
            paths[path] = None
        elif glob.has_magic(argument):
            matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            found = [path for path in map(Path, matches) if path.is_file()]
            if not found:
                raise WrongUsage(f"no file matches '{argument}'; check the pattern and the folder you are in")
            paths |= dict.fromkeys(found)
        else:
            raise WrongUsage(f"there is no file {argument}; check the name and the folder you are in")
    return list(paths)


def shown_name(path: Path) -> str:
    """A file's own name as the contract takes it: text, whatever bytes the file system holds."""
    return os.fsencode(path.name).decode("utf-8", "replace")


async def upload(
    connection: Connection, path: Path, course: str, name: str, attempts: Attempts, progress: Progress
) -> material_pb2.Material:
    """The material as recorded. `progress` is told bytes sent and bytes in all. Raises CommandError."""
    request_id = str(uuid.uuid4())
    while True:
        try:
            return await _try(connection, path, course, name, request_id, progress)
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            await attempts.failed(error)
        except OSError as error:
            raise CommandError(
                f"cannot read {path}: {error.strerror or error}; check the file and its rights"
            ) from None


async def _try(
    connection: Connection, path: Path, course: str, name: str, request_id: str, progress: Progress
) -> material_pb2.Material:
    # A file on a slow disk or share must not hold up the other uploads, so it is read in a thread.
    file = await asyncio.to_thread(path.open, "rb")
    try:
        size = os.fstat(file.fileno()).st_size
        metadata = ingest_service_pb2.UploadMetadata(course_id=course, name=name, request_id=request_id, file_size=size)
        async with UploadCall(
            connection.ingest, metadata, identity=connection.identity, stall_seconds=STALL_SECONDS
        ) as call:
            sent = 0
            progress(sent, size)
            while (chunk := await asyncio.to_thread(file.read, CHUNK_BYTES)) and await call.send(chunk):
                sent += len(chunk)
                progress(sent, size)
            return await call.finish()
    finally:
        file.close()
