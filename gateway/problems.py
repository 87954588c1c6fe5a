"""Errors over HTTP: problem details (RFC 9457) with the reasons and words of the contract.

`type` is `urn:materials:error:REASON`, `reason` the contract's ErrorReason, `detail` the service's own words; `errors` names fields at fault, `retry_after`
(seconds) and the Retry-After header say when to call again. What is only HTTP's (no such route, a wrong method) is `about:blank`, without a reason.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import grpc
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from materials.v1 import errors_pb2
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.services import Refused
from servicekit.errors import FieldInvalid, ServiceError, Unavailable, answer_of, reason_name
from servicekit.refusals import Refusal

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:materials:error:"
#: For answers without a reason of the contract: google/rpc/code.proto's own mapping.
_STATUS_OF_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    grpc.StatusCode.CANCELLED: 503,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.UNIMPLEMENTED: 501,
}
#: Where pydantic's own words for a wrong field are for programmers.
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "json_invalid": "must be JSON",
    "model_attributes_type": "must be a JSON object, sent with the header `Content-Type: application/json`",
}
#: When a service that did not answer at all is asked again, in seconds.
NO_ANSWER_RETRY_SECONDS = 2.0


class Problem(JSONResponse):
    """One problem-details answer."""

    media_type = MEDIA_TYPE

    def __init__(self, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        added = dict(headers or {})
        if document["status"] == HTTPStatus.UNAUTHORIZED:
            added["WWW-Authenticate"] = 'Bearer realm="materials"'
        if (seconds := document.get("retry_after")) is not None:
            added["Retry-After"] = str(max(1, math.ceil(seconds)))
        super().__init__(document, status_code=document["status"], headers=added)


def document(
    status: int,
    detail: str,
    *,
    reason: str = "",
    violations: Iterable[tuple[str, str]] = (),
    retry_after: float | None = None,
    error_id: str = "",
) -> dict[str, Any]:
    """The JSON of a problem: what does not apply is left out."""
    content: dict[str, Any] = {
        "type": TYPE_PREFIX + reason if reason else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if reason:
        content["reason"] = reason
    if errors := [{"field": field, "description": description} for field, description in violations]:
        content["errors"] = errors
    if retry_after is not None:
        content["retry_after"] = retry_after
    if error_id:
        content["error_id"] = error_id
    return content


def of_refusal(refusal: Refusal) -> dict[str, Any]:
    """What a service refused."""
    retry_after = refusal.retry_after
    known = refusal.reason in _REASONS
    status = answer_of(_REASONS[refusal.reason]).http_status if known else _STATUS_OF_CODE.get(refusal.code, 500)
    if retry_after is None and not known and status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        retry_after = NO_ANSWER_RETRY_SECONDS
    return document(
        status,
        refusal.message,
        reason=refusal.reason,
        violations=refusal.violations,
        retry_after=retry_after,
        error_id=refusal.error_id,
    )


def of_service_error(error: ServiceError, *, status: int | None = None) -> dict[str, Any]:
    """What the gateway itself refused. `status` replaces the contract's where HTTP has a closer one."""
    return document(
        status or answer_of(error.reason).http_status,
        error.message,
        reason=reason_name(error.reason),
        violations=[(error.field, error.description)] if isinstance(error, FieldInvalid) else (),
        retry_after=error.retry_after if isinstance(error, Unavailable) else None,
        error_id=error.metadata.get("error_id", ""),
    )


_REASONS = {reason_name(value): value for value in errors_pb2.ErrorReason.values() if value}


class RefusedRequest(HTTPException):
    """A ServiceError met while a body is read, where FastAPI lets nothing else through."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(answer_of(error.reason).http_status)
        self.error = error


def add_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Every error of the application becomes a problem. `routes`: all there are, for what may be done with an address."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return Problem(of_refusal(error.refusal))

    @app.exception_handler(ServiceError)
    async def service_error(_: Request, error: ServiceError) -> Response:
        return Problem(of_service_error(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return _invalid([(_field(item["loc"]), _description(item)) for item in error.errors()])

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        error_id = secrets.token_hex(6)
        log.error("request failed", error_id=error_id, exc_info=error)
        return Problem(
            of_service_error(
                ServiceError(
                    errors_pb2.ERROR_REASON_INTERNAL,
                    f"something unforeseen went wrong; the service's log has it under {error_id}",
                    metadata={"error_id": error_id},
                )
            )
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        match error.status_code:
            case _ if isinstance(error, RefusedRequest):
                return Problem(of_service_error(error.error))
            case HTTPStatus.BAD_REQUEST:  # FastAPI's, for a body that its parser broke at
                return _invalid([("body", _WORDS["json_invalid"])])
            case HTTPStatus.METHOD_NOT_ALLOWED:
                words = "this method is not for this address; /openapi.json lists the calls"
                return Problem(document(405, words), {**(error.headers or {}), **_allowed(request, routes)})
            case HTTPStatus.NOT_FOUND:
                return Problem(document(404, "there is no such page or call; /openapi.json lists the calls"))
            case _:
                return Problem(document(error.status_code, str(error.detail)), error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        log.info("the client has gone before its request was whole")
        return Response(status_code=499)  # read by nobody


def _invalid(violations: Sequence[tuple[str, str]]) -> Problem:
    reason = errors_pb2.ERROR_REASON_FIELD_INVALID
    detail = ", ".join(f"{field}: {description}" for field, description in violations)
    return Problem(document(answer_of(reason).http_status, detail, reason=reason_name(reason), violations=violations))


def _field(location: tuple[int | str, ...]) -> str:
    # ("query", "page_size"), ("body", "limit"), ("body", 17): where a JSON text broke.
    names = [part for part in location[1:] if isinstance(part, str)]
    return ".".join(names) or str(location[0])


def _description(item: Mapping[str, Any]) -> str:
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    return _WORDS.get(item["type"], str(item["msg"]))


def _allowed(request: Request, routes: Iterable[BaseRoute]) -> dict[str, str]:
    """The Allow header of an address with routes of ours: each route knows of its own methods alone."""
    path = request.scope["path"]
    methods = [each.methods or () for each in routes if isinstance(each, Route) and each.path_regex.match(path)]
    return {"Allow": ", ".join(sorted({name for each in methods for name in each}))} if methods else {}
