"""A material's bytes to a file: whole and proven by their sha256, or not there at all.

The bytes go to a hidden file beside the target, which gets the target's name when they are complete. A cut download goes on at the byte it was cut at.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import grpc
from materials.v1 import ingest_service_pb2

from materials_cli.connection import STALL_SECONDS, Connection
from materials_cli.errors import CommandError, WrongUsage
from materials_cli.retrying import Attempts

_MAX_NAME_BYTES = 200
_RESERVED = re.compile(r'[<>:"|?*]')


def safe_file_name(name: str, fallback: str) -> str:
    """A name without folders, control characters and what shells and systems take for something else; `fallback` when nothing is left.

    The stored name is whatever the uploader said: `../../.bashrc` becomes `bashrc`, `-rf` becomes `_rf`.
    """
    base = re.split(r"[/\\]", name)[-1]
    visible = "".join(each for each in base if unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
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
    folder = output.parent if output is not None else Path()
    if output is not None:
        _check_target(output, force)
    partial = folder / f".{secrets.token_hex(8)}.part"
    try:
        # Reading from the network and writing to the page cache take turns here: one download a command, so nobody waits for it.
        with partial.open("xb") as file:
            metadata = await _fetch(connection, material_id, file, attempts, progress, output, force)
        target = output if output is not None else folder / safe_file_name(metadata.name, material_id)
        _publish(partial, target, force)
    except OSError as error:
        raise CommandError(f"cannot write in {folder.resolve()}: {error.strerror or error}; choose another place with -o") from None
    finally:
        partial.unlink(missing_ok=True)
    return target, metadata


async def _fetch(
    connection: Connection,
    material_id: str,
    file: BinaryIO,
    attempts: Attempts,
    progress: Callable[[int, int], None],
    output: Path | None,
    force: bool,
) -> ingest_service_pb2.DownloadMetadata:
    digest, received = hashlib.sha256(), 0
    while True:
        request = ingest_service_pb2.DownloadMaterialRequest(material_id=material_id, offset=received)
        call = connection.ingest.DownloadMaterial(request, metadata=connection.identity)
        try:
            metadata = (await _next(call)).metadata
            if output is None:
                _check_target(Path(safe_file_name(metadata.name, material_id)), force)
            progress(received, metadata.file_size)
            while received < metadata.file_size:
                chunk = (await _next(call)).chunk
                attempts.progressed()
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                progress(received, metadata.file_size)
            if digest.hexdigest() != metadata.sha256:
                raise CommandError(f"{material_id}: the bytes received are not those uploaded (sha256 differs); download again")
            return metadata
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            await attempts.failed(error)
        finally:
            call.cancel()
