"""Says when the AI Brain is away: materials then wait as pending, and whoever watches should know why."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2

from materials_cli.connection import Connection
from materials_cli.errors import CommandError
from materials_cli.views import View

AWAY = "the AI Brain is away: materials wait for it as pending, and go on by themselves when it is back"
BACK = "the AI Brain is back"
ASK_AGAIN_SECONDS = 5.0


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
                serving = response.status == health_pb2.HealthCheckResponse.SERVING
                if away and serving:
                    away = False
                    view.notice("brain", BACK)
                elif not away and response.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    # A processor that stops says NOT_SERVING of everything: only one that lives speaks of the Brain.
                    process = await health.Check(  # type: ignore[attr-defined]
                        health_pb2.HealthCheckRequest(service=""), timeout=5
                    )
                    if process.status == health_pb2.HealthCheckResponse.SERVING:
                        away = True
                        view.notice("brain", AWAY)
        except grpc.aio.AioRpcError:
            pass
        finally:
            call.cancel()
        await asyncio.sleep(ASK_AGAIN_SECONDS * random.uniform(0.8, 1.2))
