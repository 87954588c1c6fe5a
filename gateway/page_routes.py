"""The web page, and whether this replica serves."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, JSONResponse, Response

from gateway.openapi import OPEN_TO_ALL
from gateway.representations import Health

STATIC = Path(__file__).parent / "static"

router = APIRouter()


class Liveness:
    """Whether this replica serves, or stops."""

    def __init__(self) -> None:
        self.serving = True

    def drain(self) -> None:
        """It stops: whoever spreads requests should send none any more."""
        self.serving = False


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return FileResponse(STATIC / "index.html")


@router.head("/healthz", include_in_schema=False)
@router.get(
    "/healthz",
    tags=["health"],
    operation_id="getHealth",
    response_model=Health,
    responses={503: {"model": Health, "description": "it stops"}},
    openapi_extra=OPEN_TO_ALL,
)
async def health(request: Request) -> Response:
    """Whether this replica takes requests. What stands behind it has health of its own, over gRPC."""
    liveness: Liveness = request.app.state.liveness
    if liveness.serving:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "stopping"}, status_code=503)
