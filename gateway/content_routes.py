"""The bytes of a material: whole or a range, never shown as a page of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Request
from materials.v1 import errors_pb2, ingest_service_pb2, material_pb2, status_service_pb2
from starlette.responses import Response

from gateway.answers import problem_answers
from gateway.byte_ranges import ByteRange, NotSatisfiable, parse_range
from gateway.callers import ContentCaller
from gateway.paths import MaterialId
from gateway.problems import Problem, of_service_error
from gateway.service_streams import ServiceStream, ServiceStreamResponse
from gateway.services import CALL_SECONDS, Services, identity, refusals, services_of
from servicekit.errors import ServiceError
from servicekit.identity import Caller

router = APIRouter(tags=["materials"])

#: A document may hold scripts: it gets an origin of its own, may load nothing, and is offered for saving.
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}


@router.head("/materials/{material_id}/content", include_in_schema=False)
@router.get(
    "/materials/{material_id}/content",
    operation_id="downloadMaterial",
    response_class=Response,
    responses={
        200: {"description": "the whole file", "content": {"*/*": {}}},
        206: {"description": "the range", "content": {"*/*": {}}},
        304: {"description": "the client has it already (If-None-Match)"},
        **problem_answers(400, 401, 404, 416),
    },
)
async def download(
    request: Request,
    material_id: MaterialId,
    caller: ContentCaller,
    byte_range: Annotated[
        str | None, Header(alias="Range", description="one range of bytes", examples=["bytes=0-1023"])
    ] = None,
    if_range: Annotated[
        str | None, Header(alias="If-Range", description="an ETag: the range, if it is still that file")
    ] = None,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="ETags that the client has: then 304")
    ] = None,
) -> Response:
    """The original bytes, for saving. One range at a time; the ETag is the file's SHA-256."""
    services = services_of(request)
    with refusals("status"):
        response = await services.status.GetMaterial(
            status_service_pb2.GetMaterialRequest(material_id=material_id),
            metadata=identity(caller),
            timeout=CALL_SECONDS,
        )
    material = response.material
    etag = f'"{material.sha256}"'
    headers = _SAFE_HEADERS | {"ETag": etag}
    if {"*", etag} & {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}:
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = content_disposition(material.name)
    try:
        # Of HEAD a Range means nothing (RFC 9110, section 14.2).
        applies = request.method == "GET" and if_range in (None, etag)
        wanted = parse_range(byte_range if applies else None, material.file_size)
    except NotSatisfiable:
        outside = ServiceError(
            errors_pb2.ERROR_REASON_RANGE_INVALID, f"the file has {material.file_size} bytes; the range lies outside"
        )
        return Problem(of_service_error(outside), {"Content-Range": f"bytes */{material.file_size}"})
    part = wanted or ByteRange(0, material.file_size)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {part.offset}-{part.offset + part.length - 1}/{material.file_size}"
    headers["Content-Length"] = str(part.length)
    status = 200 if wanted is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=material.media_type)
    return await _streamed(services, caller, material, part, status, headers)


async def _streamed(
    services: Services,
    caller: Caller,
    material: material_pb2.Material,
    part: ByteRange,
    status: int,
    headers: dict[str, str],
) -> Response:
    request = ingest_service_pb2.DownloadMaterialRequest(material_id=material.id, offset=part.offset, limit=part.length)
    stream: ServiceStream[ingest_service_pb2.DownloadMaterialResponse] = ServiceStream(
        services.ingest.DownloadMaterial(request, metadata=identity(caller)), "ingest"
    )
    with stream:
        await stream.next()  # the metadata
        first = await stream.next()  # Only with its first bytes is it sure that the file is there.

    async def body() -> AsyncIterator[bytes]:
        if first is not None:
            yield first.chunk
        async for message in stream:
            yield message.chunk

    return ServiceStreamResponse(body(), stream, status_code=status, headers=headers, media_type=material.media_type)


def content_disposition(name: str) -> str:
    """RFC 6266: offered for saving, under the material's name; for old clients a likeness of it in ASCII."""
    plain = "".join(
        character if character.isascii() and character.isprintable() and character not in '"\\/%' else "_"
        for character in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
