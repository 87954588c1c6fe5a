"""What was read: a material's text, and search."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from materials.v1 import processor_service_pb2 as pb
from starlette.responses import Response

from gateway.answers import BODY, problem_answers
from gateway.callers import CallerFirst, CurrentCaller
from gateway.paths import CourseId, MaterialId
from gateway.representations import (
    LIMIT_SHOWN,
    NEXT_PAGE_MEANING,
    QUERY_SHOWN,
    MaterialText,
    SearchRequest,
    SearchResult,
    SearchResults,
)
from gateway.service_streams import ServiceStream, ServiceStreamResponse
from gateway.services import SEARCH_SECONDS, identity, refusals, services_of
from servicekit.documents import document
from servicekit.identity import Caller

router = APIRouter(route_class=CallerFirst)


@router.head("/materials/{material_id}/text", include_in_schema=False)
@router.get(
    "/materials/{material_id}/text",
    tags=["materials"],
    operation_id="getMaterialText",
    response_model=MaterialText,
    responses=problem_answers(400, 401, 404),
)
async def text(
    request: Request,
    material_id: MaterialId,
    caller: CurrentCaller,
    first_page: Annotated[int, Query(ge=0, le=2**31 - 1, description="from 1; 0 is 1")] = 1,
    page_count: Annotated[int, Query(ge=0, le=2**31 - 1, description="at most so many; 0: all")] = 0,
) -> Response:
    """The pages read so far, in order. A cut answer is no valid JSON."""
    services = services_of(request)
    message = pb.GetMaterialTextRequest(material_id=material_id, first_page=first_page)
    stream: ServiceStream[pb.GetMaterialTextResponse] = ServiceStream(
        services.processor.GetMaterialText(message, metadata=identity(caller)), "processor"
    )
    with stream:
        first = await stream.next()  # a refusal comes in its place
    pages = _text_json(material_id, first, stream, page_count)
    return ServiceStreamResponse(pages, stream, media_type="application/json")


async def _text_json(
    material_id: str,
    first: pb.GetMaterialTextResponse | None,
    stream: ServiceStream[pb.GetMaterialTextResponse],
    page_count: int,
) -> AsyncIterator[bytes]:
    yield f'{{"material_id": {json.dumps(material_id)}, "pages": ['.encode()
    page, sent = first, 0
    while page is not None:
        yield (b", " if sent else b"") + json.dumps(document(page)).encode()
        sent += 1
        page = None if sent == page_count else await stream.next()
    yield b"]}"


@router.head("/courses/{course_id}/search", include_in_schema=False)
@router.get(
    "/courses/{course_id}/search",
    tags=["search"],
    operation_id="searchCourse",
    responses=problem_answers(400, 401),
)
async def search(
    request: Request,
    course_id: CourseId,
    caller: CurrentCaller,
    query: Annotated[
        str,
        Query(description="1-500 characters", examples=["how do cells make energy?"], json_schema_extra=QUERY_SHOWN),
    ],
    limit: Annotated[
        int,
        Query(ge=-(2**31), le=2**31 - 1, description="10 at most; 0: the default, 3", json_schema_extra=LIMIT_SHOWN),
    ] = 0,
    page_token: Annotated[str, Query(description=NEXT_PAGE_MEANING)] = "",
) -> SearchResults:
    """The passages that answer best, by meaning and by words, of what the caller may see; best first."""
    message = pb.SearchMaterialsRequest(course_id=course_id, query=query, limit=limit, page_token=page_token)
    return await _search(request, caller, message)


@router.post(
    "/courses/{course_id}/search",
    tags=["search"],
    operation_id="searchCourseByPost",
    responses=problem_answers(*BODY, 400, 401),
)
async def search_by_post(
    request: Request, course_id: CourseId, caller: CurrentCaller, body: SearchRequest
) -> SearchResults:
    """The same with the query in the body, where no log keeps it."""
    message = pb.SearchMaterialsRequest(
        course_id=course_id, query=body.query, limit=body.limit, page_token=body.page_token
    )
    return await _search(request, caller, message)


async def _search(request: Request, caller: Caller, message: pb.SearchMaterialsRequest) -> SearchResults:
    services = services_of(request)
    with refusals("processor"):
        answer = await services.processor.SearchMaterials(message, metadata=identity(caller), timeout=SEARCH_SECONDS)
    return SearchResults(
        query=message.query,
        results=[SearchResult.of(each) for each in answer.results],
        next_page_token=answer.next_page_token,
    )
