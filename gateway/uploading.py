"""An upload: from the socket to Ingest piece by piece. Nothing of it is kept here, and no more is read than Ingest takes.

Two things go on at once: the body is read and passed on, and Ingest's answer is awaited, which may be a refusal long before the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from materials.v1 import ingest_service_pb2, material_pb2

from gateway.multipart import FieldRead, FileBegins, FileBytes, FormEnds, FormEvent, MultipartForm, malformed
from gateway.services import Services, identity, refusals
from servicekit.errors import FieldInvalid
from servicekit.identity import Caller
from servicekit.upload_call import UploadCall

CHUNK_BYTES = 256 * 1024
#: Ingest waits for the store, and for room; the client's own slowness is measured elsewhere.
STALL_SECONDS = 60.0
FILE_FIELD = "file"
FIELDS = ("name", "sha256")


async def upload(
    services: Services, caller: Caller, course_id: str, request_id: str, form: MultipartForm, body: AsyncIterator[bytes]
) -> material_pb2.Material:
    """The material as recorded. Raises ServiceError for a form that is not one, Refused for what Ingest refuses, and what `body` raises."""
    fields: dict[str, str] = {}
    events = _events(form, body)
    begun = await _until_the_file(events, fields)
    metadata = ingest_service_pb2.UploadMetadata(
        course_id=course_id,
        name=fields.get("name", begun.filename),
        request_id=request_id,
        sha256=fields.get("sha256", ""),
    )
    with refusals("ingest"):
        async with UploadCall(
            services.ingest, metadata, identity=identity(caller), stall_seconds=STALL_SECONDS
        ) as call:
            return await _answered_or_sent(call, events)


async def _answered_or_sent(call: UploadCall, events: AsyncIterator[FormEvent]) -> material_pb2.Material:
    sending = asyncio.ensure_future(_send_file(call, events))
    answering = asyncio.ensure_future(call.answer())
    try:
        await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done() and sending.result():
            return await call.finish()
        return await answering
    finally:
        for task in (sending, answering):
            task.cancel()
        await asyncio.wait({sending, answering})
        for task in (sending, answering):
            if not task.cancelled():
                task.exception()  # what counts has been raised above


async def _send_file(call: UploadCall, events: AsyncIterator[FormEvent]) -> bool:
    """Whether all was sent. False when Ingest has answered before the end."""
    pieces: list[bytes] = []
    held = 0
    async for event in events:
        match event:
            case FileBytes(content):
                pieces.append(content)
                held += len(content)
                if held >= CHUNK_BYTES:
                    if not await call.send(b"".join(pieces)):
                        return False
                    pieces, held = [], 0
            case FileBegins():
                raise FieldInvalid(FILE_FIELD, "must come once: one file a request")
            case FieldRead(name, _) if name in FIELDS:
                raise FieldInvalid(name, f"must come before the part `{FILE_FIELD}`")
    return not pieces or await call.send(b"".join(pieces))


async def _until_the_file(events: AsyncIterator[FormEvent], fields: dict[str, str]) -> FileBegins:
    async for event in events:
        match event:
            case FieldRead(name, value):
                if name == FILE_FIELD:
                    raise FieldInvalid(FILE_FIELD, "must be a file with a file name, not a plain field")
                fields[name] = value
            case FileBegins(field) if field == FILE_FIELD:
                return event
            case FileBegins(field):
                raise malformed(f"the file must be in a part named `{FILE_FIELD}`, not `{field[:64]}`")
            case _:
                break
    raise malformed(f"the form has no part named `{FILE_FIELD}`")


async def _events(form: MultipartForm, body: AsyncIterator[bytes]) -> AsyncIterator[FormEvent]:
    """All events of a form. Raises UPLOAD_MALFORMED when the body ends before the form does."""
    async for data in body:
        for event in form.feed(data):
            yield event
            if isinstance(event, FormEnds):
                return
    raise malformed("the body ended before the form did; upload again with the same Idempotency-Key")


def request_id_of(idempotency_key: str | None) -> str:
    """The key with or without the quotes that the header's specification asks for; "" for none."""
    key = (idempotency_key or "").strip()
    return key[1:-1] if len(key) >= 2 and key[0] == key[-1] == '"' else key
