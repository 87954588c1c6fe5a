"""A material's bytes to a file: whole and proven by their sha256, or not there at all. Or to standard output, as they come.

The bytes go to a hidden file beside the target, which gets the target's name when they are complete. A cut download goes on at the byte it was cut at.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import select
import sys
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
from materials.v1 import ingest_service_pb2

from materials_cli.connection import STALL_SECONDS, Connection
from materials_cli.errors import CommandError, WrongUsage
from materials_cli.retrying import Attempts

_MAX_NAME_BYTES = 200
_RESERVED = re.compile(r'[<>:"|?*]')
#: As many bytes a pipe takes without waiting when it takes any: PIPE_BUF of POSIX, which Windows does not tell.
_PIPE_BYTES = getattr(select, "PIPE_BUF", 4096)


def safe_file_name(name: str, fallback: str) -> str:
    """A name without folders, control characters and what shells and systems take for something else; `fallback` when nothing is left.

    The stored name is whatever the uploader said: `../../.bashrc` becomes `bashrc`, `-rf` becomes `_rf`.
    """
    base = re.split(r"[/\\]", name)[-1]
    visible = "".join(
        each for each in base if unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )
    safe = _RESERVED.sub("_", visible).strip(". ")
    if safe.startswith(("-", "~")):
        safe = f"_{safe[1:]}"
    stem, dot, suffix = safe.rpartition(".")
    while len(safe.encode()) > _MAX_NAME_BYTES:
        stem, suffix = (stem[:-1], suffix) if stem else (stem, suffix[:-1])
        safe = f"{stem}{dot}{suffix}"
    return safe or fallback


async def download(
    connection: Connection,
    material_id: str,
    *,
    output: Path | None,
    force: bool,
    attempts: Attempts,
    progress: Callable[[int, int], None],
) -> tuple[Path, ingest_service_pb2.DownloadMetadata]:
    """Where the file is now, and what is known of it. Without `output` its own name in the current folder. Raises CommandError."""

    def target_of(metadata: ingest_service_pb2.DownloadMetadata) -> Path:
        target = output if output is not None else Path(safe_file_name(metadata.name, material_id))
        _check(target, force=force)
        return target

    if output is not None:
        _check(output, force=force)
    folder = output.parent if output is not None else Path()
    partial = folder / f".{secrets.token_hex(8)}.part"
    try:
        with partial.open("xb") as file:

            async def write(chunk: bytes) -> None:
                # Network and page cache take turns here: it is one download a command, so nobody waits for the writes.
                file.write(chunk)

            metadata = await _fetch(connection, material_id, write, attempts, progress, check=target_of)
        target = target_of(metadata)
        if not force:
            try:
                # Takes the name, or fails when somebody else took it meanwhile.
                target.open("xb").close()
            except FileExistsError:
                raise _exists(target) from None
        partial.replace(target)
    except OSError as error:
        raise CommandError(
            f"cannot write in {folder.absolute()}: {error.strerror}; choose another place with -o"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return target, metadata


async def download_to_standard_output(
    connection: Connection, material_id: str, *, attempts: Attempts
) -> ingest_service_pb2.DownloadMetadata:
    """What is known of the file. Its bytes are out before their sha256 is. Raises CommandError, and BrokenPipeError when nobody reads any more."""
    try:
        return await _fetch(
            connection,
            material_id,
            _write_to_standard_output,
            attempts,
            progress=lambda done, total: None,
            check=lambda metadata: None,
        )
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"cannot write to standard output: {error.strerror}") from None


async def _write_to_standard_output(content: bytes) -> None:
    """Waits for a slow reader as events do, so that Ctrl-C and SIGTERM are heard meanwhile."""
    descriptor, left = sys.stdout.fileno(), memoryview(content)
    loop, size = asyncio.get_running_loop(), _PIPE_BYTES
    while left:
        writable = asyncio.Event()
        try:
            loop.add_writer(descriptor, writable.set)
        except (PermissionError, NotImplementedError):  # A plain file, or Windows: writes as they are.
            size = len(content)
        else:
            try:
                await writable.wait()
            finally:
                loop.remove_writer(descriptor)
        left = left[os.write(descriptor, left[:size]) :]


def _check(target: Path, *, force: bool) -> None:
    """Whether the target may be written. Raises CommandError."""
    if target.is_dir():
        raise WrongUsage(f"{target} is a folder; name a file with -o")
    if target.exists() and not target.is_file():
        raise WrongUsage(f"{target} is no regular file; name another with -o, or `-o -` for standard output")
    if target.exists() and not force:
        raise _exists(target)


def _exists(target: Path) -> CommandError:
    return CommandError(f"{target} is there already; choose another name with -o, or replace it with --force")


async def _fetch(
    connection: Connection,
    material_id: str,
    write: Callable[[bytes], Awaitable[None]],
    attempts: Attempts,
    progress: Callable[[int, int], None],
    *,
    check: Callable[[ingest_service_pb2.DownloadMetadata], object],
) -> ingest_service_pb2.DownloadMetadata:
    """Passes the bytes to `write`. `check` may refuse on what is known before they come."""
    digest, received = hashlib.sha256(), 0
    while True:
        request = ingest_service_pb2.DownloadMaterialRequest(material_id=material_id, offset=received)
        call = connection.ingest.DownloadMaterial(request, metadata=connection.identity)
        try:
            metadata = (await _next(call)).metadata
            check(metadata)
            progress(received, metadata.file_size)
            while received < metadata.file_size:
                chunk = (await _next(call)).chunk
                attempts.progressed()
                await write(chunk)
                digest.update(chunk)
                received += len(chunk)
                progress(received, metadata.file_size)
            if digest.hexdigest() != metadata.sha256:
                raise CommandError(f"{material_id}: the bytes received are not those uploaded (sha256); try again")
            return metadata
        except EOFError:
            await attempts.cut()
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            await attempts.failed(error)
        finally:
            call.cancel()


async def _next(
    call: grpc.aio.UnaryStreamCall[
        ingest_service_pb2.DownloadMaterialRequest, ingest_service_pb2.DownloadMaterialResponse
    ],
) -> ingest_service_pb2.DownloadMaterialResponse:
    """The next message. Raises EOFError at the stream's end."""
    async with asyncio.timeout(STALL_SECONDS):
        message = await call.read()
    if not isinstance(message, ingest_service_pb2.DownloadMaterialResponse):
        raise EOFError
    return message
