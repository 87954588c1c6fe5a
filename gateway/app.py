"""The ASGI application: routes, layers, and what the routes are given."""

from __future__ import annotations

from importlib.metadata import version

from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from gateway import (
    ask_routes,
    content_routes,
    event_routes,
    material_routes,
    page_routes,
    problems,
    reading_routes,
    session_routes,
)
from gateway.callers import Callers
from gateway.event_streams import EventStreams
from gateway.metrics import GatewayMetrics
from gateway.openapi import DescribedApp
from gateway.page_routes import STATIC, Liveness
from gateway.request_layers import BoundedBodies, BoundedRequests, RequestContext, SafeHeaders
from gateway.sealing import Sealer
from gateway.services import Services
from gateway.settings import GatewaySettings
from gateway.tickets import Tickets

_ABOUT = """Upload study material, watch it being read, search the course by meaning, ask it questions.

Every call but `/healthz` and this document needs `Authorization: Bearer <token>`, or the cookie that `POST /session` sets. Errors are problem
details (RFC 9457) with the reasons of the gRPC contract; 429 and 503 come with `Retry-After`."""


def build_app(
    settings: GatewaySettings,
    *,
    services: Services,
    callers: Callers,
    tickets: Tickets,
    cookies: Sealer,
    event_streams: EventStreams,
    liveness: Liveness,
    metrics: GatewayMetrics | None = None,
) -> ASGIApp:
    """Everything over HTTP."""
    metrics = metrics or GatewayMetrics()
    app = DescribedApp(
        title="Course materials",
        version=version("course-materials"),
        description=_ABOUT,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        # A path with a slash too many is no other path.
        redirect_slashes=False,
        # FastAPI's own: its spans hold the query, which may be a ticket or what somebody searched for, and its logs what was sent.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.state.services, app.state.callers, app.state.tickets = services, callers, tickets
    app.state.cookies, app.state.event_streams, app.state.liveness = cookies, event_streams, liveness
    modules = (material_routes, content_routes, reading_routes, ask_routes, event_routes, session_routes, page_routes)
    for module in modules:
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    problems.add_handlers(app, [route for module in modules for route in module.router.routes])
    # Not by add_middleware: what is unforeseen would then be answered outside of all layers. The last is the outermost.
    layers: ASGIApp = BoundedBodies(
        app, metrics, idle_seconds=settings.body_idle_seconds, is_upload=material_routes.is_upload
    )
    layers = BoundedRequests(layers, metrics, most=settings.max_http_requests)
    if origins := settings.allowed_origins():
        layers = CORSMiddleware(
            layers,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Range"],
            expose_headers=["Location", "Link", "Retry-After", "ETag", "Content-Disposition", "Content-Range"],
        )
    return RequestContext(SafeHeaders(layers), metrics)
