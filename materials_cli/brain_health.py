"""Says when the AI Brain is away: materials then wait as pending, and whoever watches should know why."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from materials_cli.connection import Connection
from materials_cli.errors import CommandError
from materials_cli.views import View

AWAY = "the AI Brain is away: materials wait for it as pending, and go on by themselves when it is back"
BACK = "the AI Brain is back"
ASK_AGAIN_SECONDS = 5.0
#: As long at most an answer that only adds to what is shown is waited for.
ASK_ONCE_SECONDS = 2.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def brain_is_away(connection: Connection) -> bool:
    """Whether the processor says so now. False when that cannot be found out (no processor known, or none answers in time)."""
    try:
        async with asyncio.timeout(ASK_ONCE_SECONDS):
            health = connection.processor_health
            return await _status(health, "ai_brain") == _NOT_SERVING and await _status(health, "") == _SERVING
    except (CommandError, grpc.aio.AioRpcError, TimeoutError):
        return False


async def _status(health: health_pb2_grpc.HealthStub, service: str) -> int:
    # A processor that stops says NOT_SERVING of everything: only one that lives speaks of the Brain. The stubs leave the methods out.
    request = health_pb2.HealthCheckRequest(service=service)
    response = await health.Check(request, timeout=5)  # type: ignore[attr-defined]
    return int(response.status)


@asynccontextmanager
async def told_of_brain(connection: Connection, view: View) -> AsyncIterator[None]:
    """Tells the view of each change while the block runs. What cannot be found out (no processor known, or none reached) is not said."""
    telling = asyncio.create_task(_tell(connection, view))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])


async def _tell(connection: Connection, view: View) -> None:
    try:
        health = connection.processor_health
    except CommandError:
        return
    away = False
    while True:
        # The stubs of grpc_health leave its methods out.
        call = health.Watch(health_pb2.HealthCheckRequest(service="ai_brain"))  # type: ignore[attr-defined]
        try:
            async for response in call:
                if away and response.status == _SERVING:
                    away = False
                    view.notice(BACK)
                elif not away and response.status == _NOT_SERVING and await _status(health, "") == _SERVING:
                    away = True
                    view.notice(AWAY)
        except grpc.aio.AioRpcError:
            pass
        finally:
            call.cancel()
        await asyncio.sleep(ASK_AGAIN_SECONDS * random.uniform(0.8, 1.2))
