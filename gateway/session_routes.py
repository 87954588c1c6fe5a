"""Signing in: a bearer token, or a sign-in ticket, against a cookie that scripts cannot read; and tickets for what can send neither header nor cookie."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from fastapi import APIRouter, Request
from materials.v1 import errors_pb2
from starlette.responses import JSONResponse, Response

from gateway.answers import BODY, problem_answers
from gateway.callers import (
    COOKIE,
    CallerFirst,
    Callers,
    CurrentCaller,
    bearer_token,
    cross_origin_refused,
    refuse_token_in_url,
    same_origin,
)
from gateway.openapi import OPEN_TO_ALL
from gateway.representations import IssuedTicket, Session, SignIn, TicketRequest
from gateway.sealing import Sealer
from gateway.tickets import Purpose, Tickets
from servicekit import validation
from servicekit.errors import FieldInvalid, ServiceError
from servicekit.identity import Caller

router = APIRouter(tags=["sign-in"], route_class=CallerFirst)

#: What browsers keep at least, RFC 6265 section 6.1.
MAX_COOKIE_CHARACTERS = 4096
FEATURES = ["search", "ask"]


@router.post(
    "/session",
    operation_id="signIn",
    response_model=Session,
    responses=problem_answers(*BODY, 400, 401, 403),
    openapi_extra=OPEN_TO_ALL,
)
async def sign_in(request: Request, body: SignIn | None = None) -> Response:
    """Sets the session cookie from the Authorization header, a token, or a sign-in ticket (`/#sign-in=…`)."""
    callers: Callers = request.app.state.callers
    refuse_token_in_url(request)
    if "origin" in request.headers and not same_origin(request.headers):
        raise cross_origin_refused()
    caller = await callers.verified(await _token(request, body))
    cookies: Sealer = request.app.state.cookies
    cookie = cookies.seal({"token": caller.token})
    if len(cookie) > MAX_COOKIE_CHARACTERS - 200:
        raise FieldInvalid("token", "is too long for a cookie: ask for one that names fewer courses")
    response = JSONResponse(_session(caller).model_dump(mode="json"))
    response.set_cookie(
        COOKIE,
        cookie,
        expires=datetime.fromtimestamp(caller.expires_at, UTC),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.head("/session", include_in_schema=False)
@router.get("/session", operation_id="getSession", responses=problem_answers(400, 401))
async def session(caller: CurrentCaller) -> Session:
    """Who is signed in."""
    return _session(caller)


@router.delete(
    "/session",
    operation_id="signOut",
    status_code=204,
    responses=problem_answers(403),
    openapi_extra=OPEN_TO_ALL,
)
async def sign_out(request: Request) -> Response:
    """Removes the cookie."""
    if COOKIE in request.cookies and not same_origin(request.headers):
        raise cross_origin_refused()
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, secure=request.url.scheme == "https", httponly=True, samesite="strict")
    return response


@router.post("/tickets", operation_id="issueTicket", status_code=201, responses=problem_answers(*BODY, 400, 401, 403))
async def issue_ticket(request: Request, body: TicketRequest, caller: CurrentCaller) -> IssuedTicket:
    """A ticket for an event stream, a download, or the first visit of a browser: good once, for this alone, for a minute (a sign-in: ten)."""
    purpose, resource = Purpose(body.purpose), _resource(body)
    tickets: Tickets = request.app.state.tickets
    ticket = await tickets.issue(caller, purpose, resource)
    url = f"{quote(resource)}?ticket={ticket.text}" if resource else f"/#sign-in={ticket.text}"
    return IssuedTicket(ticket=ticket.text, url=url, expires_at=ticket.expires_at)


async def _token(request: Request, body: SignIn | None) -> str:
    token = bearer_token(request.headers)
    if token is not None:
        return token
    if body is not None and body.ticket is not None:
        tickets: Tickets = request.app.state.tickets
        return await tickets.redeem(body.ticket, Purpose.SIGN_IN, "")
    if body is not None and body.token is not None:
        return body.token
    raise ServiceError(
        errors_pb2.ERROR_REASON_TOKEN_MISSING,
        "send a `token`, a sign-in `ticket`, or the header `Authorization: Bearer <token>`",
    )


def _resource(body: TicketRequest) -> str:
    """The path that the ticket opens; "" for a sign-in."""
    wanted = {"sign-in": (), "content": ("material_id",), "events": ("material_id", "course_id")}[body.purpose]
    given = [name for name in ("material_id", "course_id") if getattr(body, name) is not None]
    if len(given) != min(1, len(wanted)) or not set(given) <= set(wanted):
        raise FieldInvalid("purpose", f"`{body.purpose}` takes {' or '.join(wanted) or 'nothing else'}")
    if body.course_id is not None:
        return f"/courses/{validation.course_id(body.course_id)}/events"
    if body.material_id is not None:
        if validation.parse_uuid(body.material_id) is None:
            raise FieldInvalid("material_id", "must be a UUID in lower case")
        return f"/materials/{body.material_id}/{body.purpose}"
    return ""


def _session(caller: Caller) -> Session:
    return Session(
        subject=caller.subject,
        courses=dict(caller.courses),
        operator=caller.is_operator,
        expires_at=datetime.fromtimestamp(caller.expires_at, UTC),
        features=FEATURES,
    )
