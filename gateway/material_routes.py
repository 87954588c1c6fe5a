"""Materials over REST: upload, list, one, retry, cancel, delete, history. Each a call of the contract."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Header, Query, Request
from materials.v1 import material_pb2
from materials.v1 import status_service_pb2 as pb
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from gateway.answers import BODY, problem_answers
from gateway.callers import CallerFirst, CurrentCaller
from gateway.multipart import MultipartForm
from gateway.paths import CourseId, MaterialId
from gateway.representations import FailureReason, Material, RetryFailedRequest, RetryFailedResult, Status, Transition
from gateway.services import CALL_SECONDS, identity, refusals, services_of
from gateway.uploading import request_id_of, upload
from servicekit.documents import numbers_by_name
from servicekit.errors import FieldInvalid
from servicekit.identity import Caller

router = APIRouter(tags=["materials"], route_class=CallerFirst)

DEFAULT_PAGE = 1000
_UPLOAD_PATH = re.compile(r"/courses/[^/]+/materials")
_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "name": {
                        "type": "string",
                        "description": "what people see; default: the file's name. Before `file`",
                        "examples": ["Cells"],
                    },
                    "sha256": {
                        "type": "string",
                        "description": "checked against the bytes. Before `file`",
                        "examples": ["c4dbe4ef4618194779238aa1dd0aefa481f027b1ed5de12abb1d7ff52261a9a2"],
                    },
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "a PDF, image, text or Markdown file",
                        "examples": ["Mitochondria turn sugar into ATP."],
                    },
                },
            },
        }
    },
}
_NEXT = {"Link": {"description": 'the next page, rel="next"; absent on the last', "schema": {"type": "string"}}}

PageToken = Annotated[str, Query(description="from the Link of the page before")]
PageSize = Annotated[int, Query(ge=0, le=2**31 - 1, description="at most so many, 1,000 at most")]
Statuses = Annotated[list[Status] | None, Query(alias="status", description="only these states", examples=[["failed"]])]
Reason = Annotated[
    FailureReason | None, Query(description="only those failed for this reason", examples=["file_encrypted"])
]


@dataclass
class Listing:
    """Which materials a list is asked for, and which page of them."""

    status: Statuses = None
    failure_reason: Reason = None
    page_size: PageSize = DEFAULT_PAGE
    page_token: PageToken = ""


Asked = Annotated[Listing, Depends()]


@router.post(
    "/courses/{course_id}/materials",
    operation_id="uploadMaterial",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"description": "the material", "schema": {"type": "string"}}}},
        **problem_answers(*BODY, 400, 401, 403, 409, 415),
    },
    openapi_extra={"requestBody": _FORM},
)
async def upload_material(
    request: Request,
    response: Response,
    course_id: CourseId,
    caller: CurrentCaller,
    content_type: Annotated[str | None, Header(include_in_schema=False)] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="makes a repeat safe: the same key and file answer the same material",
            examples=["2f1c8c52"],
        ),
    ] = None,
) -> Material:
    """Uploads one file. The answer comes when it is kept safely, not when it was read: follow it with `/materials/{id}/events`."""
    form = MultipartForm(content_type)
    material = await upload(
        services_of(request), caller, course_id, request_id_of(idempotency_key), form, request.stream()
    )
    response.headers["Location"] = f"/materials/{material.id}"
    return Material.of(material)


@router.head("/courses/{course_id}/materials", include_in_schema=False)
@router.get(
    "/courses/{course_id}/materials",
    operation_id="listCourseMaterials",
    responses={200: {"headers": _NEXT}, **problem_answers(400, 401)},
)
async def list_course(
    request: Request, response: Response, course_id: CourseId, caller: CurrentCaller, asked: Asked
) -> list[Material]:
    """The course's materials that the caller may see, newest first."""
    return await _listed(request, response, caller, course_id, asked)


@router.head("/materials", include_in_schema=False)
@router.get(
    "/materials",
    operation_id="listOwnMaterials",
    responses={200: {"headers": _NEXT}, **problem_answers(400, 401)},
)
async def list_own(request: Request, response: Response, caller: CurrentCaller, asked: Asked) -> list[Material]:
    """The caller's own materials of all courses, newest first."""
    return await _listed(request, response, caller, "", asked)


@router.head("/materials/{material_id}", include_in_schema=False)
@router.get("/materials/{material_id}", operation_id="getMaterial", responses=problem_answers(400, 401, 404))
async def get_material(request: Request, material_id: MaterialId, caller: CurrentCaller) -> Material:
    """One material as it is now."""
    with refusals("status"):
        answer = await services_of(request).status.GetMaterial(
            pb.GetMaterialRequest(material_id=material_id), metadata=identity(caller), timeout=CALL_SECONDS
        )
    return Material.of(answer.material)


@router.delete(
    "/materials/{material_id}",
    operation_id="deleteMaterial",
    status_code=204,
    responses=problem_answers(400, 401, 403, 404),
)
async def delete_material(request: Request, material_id: MaterialId, caller: CurrentCaller) -> None:
    """Deletes a material: gone for everybody at once, its text and bytes soon after."""
    with refusals("status"):
        await services_of(request).status.DeleteMaterial(
            pb.DeleteMaterialRequest(material_id=material_id), metadata=identity(caller), timeout=CALL_SECONDS
        )


@router.head("/materials/{material_id}/history", include_in_schema=False)
@router.get(
    "/materials/{material_id}/history",
    operation_id="listMaterialHistory",
    responses={200: {"headers": _NEXT}, **problem_answers(400, 401, 404)},
)
async def history(
    request: Request,
    response: Response,
    material_id: MaterialId,
    caller: CurrentCaller,
    page_size: PageSize = DEFAULT_PAGE,
    page_token: PageToken = "",
) -> list[Transition]:
    """Who did what when, and why; oldest first."""
    message = pb.ListMaterialTransitionsRequest(material_id=material_id, page_size=page_size, page_token=page_token)
    with refusals("status"):
        answer = await services_of(request).status.ListMaterialTransitions(
            message, metadata=identity(caller), timeout=CALL_SECONDS
        )
    _link_next(request, response, answer.next_page_token)
    return [Transition.of(each) for each in answer.transitions]


@router.post(
    "/materials/{material_id}:retry", operation_id="retryMaterial", responses=problem_answers(400, 401, 403, 404, 409)
)
async def retry_material(request: Request, material_id: MaterialId, caller: CurrentCaller) -> Material:
    """Another try for a failed material; pages already read are kept. On one that has not failed it changes nothing."""
    with refusals("status"):
        answer = await services_of(request).status.RetryMaterial(
            pb.RetryMaterialRequest(material_id=material_id), metadata=identity(caller), timeout=CALL_SECONDS
        )
    return Material.of(answer.material)


@router.post(
    "/materials/{material_id}:cancel", operation_id="cancelMaterial", responses=problem_answers(400, 401, 403, 404)
)
async def cancel_material(request: Request, material_id: MaterialId, caller: CurrentCaller) -> Material:
    """Ends the reading of a material. On one that has ended it changes nothing."""
    with refusals("status"):
        answer = await services_of(request).status.CancelMaterial(
            pb.CancelMaterialRequest(material_id=material_id), metadata=identity(caller), timeout=CALL_SECONDS
        )
    return Material.of(answer.material)


@router.post(
    "/courses/{course_id}/materials:retry-failed",
    operation_id="retryFailedMaterials",
    responses=problem_answers(*BODY, 400, 401, 403),
)
async def retry_failed(
    request: Request, course_id: CourseId, caller: CurrentCaller, body: RetryFailedRequest
) -> RetryFailedResult:
    """Another try for all failed materials of a course; what another attempt cannot mend stays as it is."""
    message = pb.RetryFailedMaterialsRequest(
        course_id=course_id, failure_reason=_reason(body.failure_reason), max_count=body.max_count
    )
    with refusals("status"):
        answer = await services_of(request).status.RetryFailedMaterials(
            message, metadata=identity(caller), timeout=CALL_SECONDS
        )
    return RetryFailedResult.of(answer)


def is_upload(scope: Scope) -> bool:
    """Whether a request is one whose body may be large: known by its head, before anything of it is read."""
    media_type = Headers(scope=scope).get("content-type", "").lower()
    return (
        scope["method"] == "POST"
        and _UPLOAD_PATH.fullmatch(scope["path"]) is not None
        and media_type.startswith("multipart/form-data")
    )


async def _listed(
    request: Request, response: Response, caller: Caller, course_id: str, asked: Listing
) -> list[Material]:
    message = pb.ListMaterialsRequest(
        course_id=course_id,
        processing_statuses=[_status(each) for each in asked.status or ()],
        failure_reason=_reason(asked.failure_reason),
        page_size=asked.page_size,
        page_token=asked.page_token,
    )
    with refusals("status"):
        answer = await services_of(request).status.ListMaterials(
            message, metadata=identity(caller), timeout=CALL_SECONDS
        )
    _link_next(request, response, answer.next_page_token)
    return [Material.of(each) for each in answer.materials]


def _status(name: str) -> material_pb2.ProcessingStatus.ValueType:
    value: material_pb2.ProcessingStatus.ValueType = _known(material_pb2.ProcessingStatus.DESCRIPTOR, "status", name)
    return value


def _reason(name: str | None) -> material_pb2.FailureReason.ValueType:
    if name is None:
        return material_pb2.FAILURE_REASON_UNSPECIFIED
    value: material_pb2.FailureReason.ValueType = _known(material_pb2.FailureReason.DESCRIPTOR, "failure_reason", name)
    return value


def _known(enum: Any, field: str, name: str) -> Any:
    numbers = numbers_by_name(enum)
    if name not in numbers:
        raise FieldInvalid(field, f"must be one of {', '.join(numbers)}")
    return numbers[name]


def _link_next(request: Request, response: Response, page_token: str) -> None:
    """RFC 8288: the same query with the next page's token."""
    if page_token:
        others = [(name, value) for name, value in request.query_params.multi_items() if name != "page_token"]
        query = urlencode([*others, ("page_token", page_token)])
        response.headers["Link"] = f'<{quote(request.scope["path"])}?{query}>; rel="next"'
