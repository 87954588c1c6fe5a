"""The record as a processor meets it: real gRPC on a real port, its answers set by a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from materials.v1 import record_service_pb2 as pb
from materials.v1 import record_service_pb2_grpc

from servicekit.channels import Peer


class ScriptedRecord(record_service_pb2_grpc.RecordServiceServicer):
    """`refuses` ends every ReportProcessor with that code; `refusal` is the answer to a claim while not paused,
    unless `grants` is; `yields` are the materials that processors hear have had their turn. A claim is answered while `answers` is set.

    `claims` has the ids of the materials asked for, `told` what processors said.
    """

    def __init__(self) -> None:
        self.paused = False
        self.refusal: int = pb.CLAIM_REFUSAL_ENDED
        self.refuses: grpc.StatusCode | None = None
        self.told: asyncio.Queue[pb.ReportProcessorRequest] = asyncio.Queue()
        self.claims: list[str] = []
        self.yields: list[str] = []
        self.grants: pb.ClaimMaterialResponse | None = None
        self.claimed, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def next_told(self) -> pb.ReportProcessorRequest:
        """What a processor says next."""
        async with asyncio.timeout(30):
            return await self.told.get()

    async def ReportProcessor(self, request: Any, context: Any) -> pb.ReportProcessorResponse:
        self.told.put_nowait(request)
        if self.refuses is not None:
            await context.abort(self.refuses, "as the test says")
        return pb.ReportProcessorResponse(paused=self.paused, yield_material_ids=self.yields)

    async def ClaimMaterial(self, request: Any, context: Any) -> pb.ClaimMaterialResponse:
        self.claims.append(request.material_id)
        self.claimed.set()
        await self.answers.wait()
        if self.grants is not None:
            return self.grants
        refusal = pb.CLAIM_REFUSAL_PAUSED if self.paused else self.refusal
        # Also a number without a name, as a newer Status would send it.
        return pb.ClaimMaterialResponse(refusal=refusal)  # type: ignore[arg-type]


@asynccontextmanager
async def scripted_record() -> AsyncIterator[tuple[ScriptedRecord, Peer]]:
    """The record, and a peer that leads to it."""
    record = ScriptedRecord()
    server = grpc.aio.server()
    record_service_pb2_grpc.add_RecordServiceServicer_to_server(record, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    peer = Peer(f"127.0.0.1:{port}", lambda: "token")
    try:
        yield record, peer
    finally:
        await peer.stop()
        await server.stop(0)
