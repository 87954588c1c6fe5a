"""Who sends a request: a bearer token in the header, the session cookie, or, where the route takes one, a ticket in the URL. Never a bearer token in the URL.

The services verify the token again and decide what its owner may do; here it is verified so that nothing of a stranger's request is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request
from fastapi.routing import APIRoute
from materials.v1 import errors_pb2
from starlette.datastructures import Headers
from starlette.responses import Response

from gateway.sealing import Sealer
from gateway.tickets import Purpose, Tickets
from servicekit.errors import ServiceError
from servicekit.identity import Caller, TokenVerifier

COOKIE = "materials_session"
_TOKEN_PARAMETERS = frozenset({"token", "access_token", "bearer", "bearer_token", "jwt", "id_token", "authorization"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Callers:
    """A part: finds out who is calling."""

    def __init__(self, verifier: TokenVerifier, cookies: Sealer, tickets: Tickets) -> None:
        self._verifier, self._cookies, self._tickets = verifier, cookies, tickets

    async def of(self, request: Request) -> Caller:
        """By header or cookie. Raises TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_IN_URL, CROSS_ORIGIN_REFUSED, TOKEN_KEYS_UNAVAILABLE."""
        refuse_token_in_url(request)
        token = bearer_token(request.headers)
        if token is None:
            token = self._cookie_token(request)
        return await self.verified(token)

    async def with_ticket(self, request: Request, purpose: Purpose) -> Caller:
        """As `of`; where neither header nor cookie came, by the ticket in the URL. Raises TICKET_INVALID too."""
        ticket = request.query_params.get("ticket")
        if ticket is None or "authorization" in request.headers:
            return await self.of(request)
        refuse_token_in_url(request)
        return await self.verified(await self._tickets.redeem(ticket, purpose, request.scope["path"]))

    async def verified(self, token: str) -> Caller:
        """The caller a token speaks for, bound to the request's log lines."""
        caller = await self._verifier.verify(token)
        structlog.contextvars.bind_contextvars(caller=caller.subject)
        return caller

    def _cookie_token(self, request: Request) -> str:
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            raise ServiceError(errors_pb2.ERROR_REASON_TOKEN_MISSING, "send the header `Authorization: Bearer <token>`")
        if request.method not in _SAFE_METHODS and not same_origin(request.headers):
            raise cross_origin_refused()
        content = self._cookies.open(cookie)
        if content is None:
            raise ServiceError(errors_pb2.ERROR_REASON_TOKEN_INVALID, "the session is not one of ours; sign in again")
        return str(content["token"])


def bearer_token(headers: Headers) -> str | None:
    """The token of the Authorization header; None when there is none. Raises TOKEN_MISSING for a header that is something else."""
    authorization = headers.get("authorization")
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ServiceError(errors_pb2.ERROR_REASON_TOKEN_MISSING, "send the header `Authorization: Bearer <token>`")
    return token.strip()


def same_origin(headers: Headers) -> bool:
    """Whether a browser says that a page of this very site sent the request. Fetch Metadata first (browsers send it to HTTPS and loopback), else Origin
    against Host (RFC 6454)."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    _, _, host = headers.get("origin", "").partition("://")
    return bool(host) and host == headers.get("host")


def refuse_token_in_url(request: Request) -> None:
    """Raises TOKEN_IN_URL."""
    if any(name.lower() in _TOKEN_PARAMETERS for name in request.query_params):
        raise ServiceError(
            errors_pb2.ERROR_REASON_TOKEN_IN_URL,
            "a token does not belong in the URL, where logs and histories keep it; send the header `Authorization: Bearer <token>`",
        )


def cross_origin_refused() -> ServiceError:
    """The cookie came from elsewhere."""
    return ServiceError(
        errors_pb2.ERROR_REASON_CROSS_ORIGIN_REFUSED,
        "a page of another site may not act with this site's cookie; send the header `Authorization: Bearer <token>`",
    )


async def _caller(request: Request) -> Caller:
    callers: Callers = request.app.state.callers
    if not hasattr(request.state, "caller"):
        request.state.caller = await callers.of(request)
    caller: Caller = request.state.caller
    return caller


def _by_ticket(purpose: Purpose) -> Callable[[Request], Awaitable[Caller]]:
    async def caller(request: Request) -> Caller:
        callers: Callers = request.app.state.callers
        return await callers.with_ticket(request, purpose)

    return caller


class CallerFirst(APIRoute):
    """Whoever calls is known before anything of the body is read; FastAPI alone would read and check it first."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's, after its caller."""
        handle = super().get_route_handler()
        if all(dependency.call is not _caller for dependency in self.dependant.dependencies):
            return handle

        async def after_the_caller(request: Request) -> Response:
            await _caller(request)
            return await handle(request)

        return after_the_caller


CurrentCaller = Annotated[Caller, Depends(_caller)]
EventsCaller = Annotated[Caller, Depends(_by_ticket(Purpose.EVENTS))]
ContentCaller = Annotated[Caller, Depends(_by_ticket(Purpose.CONTENT))]
