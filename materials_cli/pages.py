"""A material's pages as they stream from the processor; while it is still being read, over as many calls as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc
from materials.v1 import processor_service_pb2 as pb

from materials_cli.connection import STALL_SECONDS, Connection
from materials_cli.refusals import explained
from materials_cli.retrying import Attempts


async def pages_there(
    connection: Connection, material_id: str, first: int
) -> AsyncGenerator[pb.GetMaterialTextResponse, None]:
    """Those that are there, from page `first` on. Raises CommandError."""
    request = pb.GetMaterialTextRequest(material_id=material_id, first_page=first)
    with explained(connection.service("processor"), material_id):
        call = connection.processor.GetMaterialText(request, metadata=connection.identity)
        try:
            while True:
                async with asyncio.timeout(STALL_SECONDS):
                    page = await call.read()
                if not isinstance(page, pb.GetMaterialTextResponse):
                    return
                yield page
        finally:
            call.cancel()


async def followed_pages(
    connection: Connection, material_id: str, attempts: Attempts
) -> AsyncGenerator[pb.GetMaterialTextResponse, None]:
    """Each page once, in order, until the material has ended; a cut stream goes on after the last page that came. Raises CommandError."""
    last = 0
    while True:
        request = pb.GetMaterialTextRequest(material_id=material_id, first_page=last + 1, follow=True)
        call = connection.processor.GetMaterialText(request, metadata=connection.identity)
        try:
            # It may be quiet for as long as a page takes: the channel's keepalive finds a connection that is dead.
            async for page in call:
                attempts.progressed()
                last = page.page_number
                yield page
            return
        except grpc.aio.AioRpcError as error:
            await attempts.failed(error)
        finally:
            call.cancel()
