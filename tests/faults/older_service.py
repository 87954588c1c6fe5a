"""A service as it was before some of its calls existed: passes everything on to the real one, but answers those as gRPC does for a call it does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import grpc

from servicekit.channels import open_channel


@asynccontextmanager
async def older_service(endpoint: str, unknown: Collection[str]) -> AsyncIterator[tuple[int, list[str]]]:
    """The port of a server before `endpoint` that does not know the calls named in `unknown`, and the list of those refused so far (method names)."""
    async with open_channel(endpoint) as channel:
        server = grpc.aio.server()
        forwarder = _Forwarder(channel, unknown)
        server.add_generic_rpc_handlers([forwarder])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield port, forwarder.refused
        finally:
            await server.stop(0.5)


class _Forwarder(grpc.GenericRpcHandler):
    """Bytes in, bytes out: whether a call streams makes no difference on the wire."""

    def __init__(self, channel: grpc.aio.Channel, unknown: Collection[str]) -> None:
        self._channel, self._unknown = channel, unknown
        self.refused: list[str] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        method: str = handler_call_details.method
        if (name := method.rpartition("/")[2]) in self._unknown:
            self.refused.append(name)
            return None  # gRPC answers UNIMPLEMENTED

        async def forward(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            call = self._channel.stream_stream(method)(
                requests, metadata=context.invocation_metadata(), timeout=context.time_remaining()
            )
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())
                await context.abort(error.code(), error.details() or "", error.trailing_metadata())
            finally:
                call.cancel()

        return grpc.stream_stream_rpc_method_handler(forward)
