"""Files to the service.

One upload keeps its random request id over all its tries, so a repeat of one whose reply was lost answers the same material. A try begins anew with
the first byte: nothing is kept of an upload that was cut off.
"""

from __future__ import annotations

import asyncio
import glob
import os
import uuid
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import grpc
from materials.v1 import ingest_service_pb2, material_pb2

from materials_cli.connection import STALL_SECONDS, Connection
from materials_cli.errors import CommandError, WrongUsage
from materials_cli.retrying import Attempts

CHUNK_BYTES = 256 * 1024

T = TypeVar("T")
Progress = Callable[[int, int], None]
UploadCall: TypeAlias = (
    "grpc.aio.StreamUnaryCall[ingest_service_pb2.UploadMaterialRequest, ingest_service_pb2.UploadMaterialResponse]"
)


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
    call = connection.ingest.UploadMaterial(metadata=connection.identity)
    answers = refusals_as_they_come(call)
    try:
        size = os.fstat(file.fileno()).st_size
        metadata = ingest_service_pb2.UploadMetadata(course_id=course, name=name, request_id=request_id, file_size=size)
        message = ingest_service_pb2.UploadMaterialRequest(metadata=metadata)
        sent = 0
        progress(sent, size)
        while await _send(call, message) and (chunk := await asyncio.to_thread(file.read, CHUNK_BYTES)):
            message = ingest_service_pb2.UploadMaterialRequest(chunk=chunk)
            sent += len(chunk)
            progress(sent, size)
        async with asyncio.timeout(STALL_SECONDS):
            await call.done_writing()
            return (await call).material
    except grpc.aio.AioRpcError as error:
        raise answers[0] if answers else error from None
    finally:
        call.cancel()
        file.close()


async def _send(call: UploadCall, message: ingest_service_pb2.UploadMaterialRequest) -> bool:
    """Whether it was sent. False when the service has answered before the end."""
    try:
        async with asyncio.timeout(STALL_SECONDS):
            await call.write(message)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


def refusals_as_they_come(call: UploadCall) -> list[grpc.aio.AioRpcError]:
    """Filled with the service's refusal at the moment it comes.

    A write that fails because the service has refused the upload makes grpc.aio replace the refusal by an INTERNAL of its own (grpc/grpc#36066), before or
    after it came. The callback is run at once by both, and the call's getters have then nothing to wait for.
    """
    answers: list[grpc.aio.AioRpcError] = []

    def note(_: object) -> None:
        code, details = _settled(call.code()), _settled(call.details())
        if code is not grpc.StatusCode.OK and details != "Internal error from Core":
            initial, trailing = _settled(call.initial_metadata()), _settled(call.trailing_metadata())
            answers.append(grpc.aio.AioRpcError(code, initial, trailing, details))

    call.add_done_callback(note)
    return answers


def _settled(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not wait. Raises RuntimeError for one that does."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("the call has not ended yet")
