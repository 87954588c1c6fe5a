"""The three services behind the gateway: stubs, the caller's identity, deadlines, and refusals in the services' own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import grpc
from fastapi import Request
from materials.channels import bearer
from materials.v1 import (
    ingest_service_pb2_grpc,
    processor_service_pb2_grpc,
    record_service_pb2_grpc,
    status_service_pb2_grpc,
)

from servicekit.channels import Peer
from servicekit.identity import Caller
from servicekit.refusals import Refusal, refusal_of
from servicekit.tracing import traced

#: A unary call's deadline, in seconds; the channel's own tries at UNAVAILABLE are within it.
CALL_SECONDS = 15.0
#: A search waits for the query's embedding, which has a deadline of its own at the Processor.
SEARCH_SECONDS = 30.0
#: An answer waits for a search and for the AI Brain's text, which is slow.
ANSWER_SECONDS = 300.0
#: How long the next message of a stream that must move may take, in seconds.
STALL_SECONDS = 30.0


class Refused(Exception):
    """A service refused a call, or nobody answered it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Services:
    """Stubs, each made when asked for: a peer's channel is another one after its certificates were renewed.

    `watching`: connections to Status for watches alone, taken in turn. Each holds a place on its connection for as long as somebody looks on, and a server has
    so many there: other calls would wait behind them.
    """

    def __init__(self, *, ingest: Peer, status: Peer, processor: Peer, watching: Sequence[Peer]) -> None:
        self._ingest, self._status, self._processor = ingest, status, processor
        self._watching = cycle(watching)

    @property
    def ingest(self) -> ingest_service_pb2_grpc.IngestServiceAsyncStub:
        """Bytes in and out."""
        return ingest_service_pb2_grpc.IngestServiceStub(self._ingest.channel)

    @property
    def status(self) -> status_service_pb2_grpc.StatusServiceAsyncStub:
        """The record."""
        return status_service_pb2_grpc.StatusServiceStub(self._status.channel)

    def watching(self) -> status_service_pb2_grpc.StatusServiceAsyncStub:
        """The record, for a watch."""
        return status_service_pb2_grpc.StatusServiceStub(next(self._watching).channel)

    @property
    def record(self) -> record_service_pb2_grpc.RecordServiceAsyncStub:
        """The record as peers change it: for tickets alone."""
        return record_service_pb2_grpc.RecordServiceStub(self._status.channel)

    @property
    def processor(self) -> processor_service_pb2_grpc.ProcessorServiceAsyncStub:
        """What was read."""
        return processor_service_pb2_grpc.ProcessorServiceStub(self._processor.channel)

    def own_identity(self) -> list[tuple[str, str]]:
        """The gateway's own identity towards the record."""
        return self._status.metadata()


def services_of(request: Request) -> Services:
    """What the application gives its routes."""
    services: Services = request.app.state.services
    return services


def identity(caller: Caller) -> list[tuple[str, str]]:
    """The metadata that carries the caller's own token, and the trace."""
    return traced(bearer(caller.token))


@contextmanager
def refusals(service: str) -> Iterator[None]:
    """Turns a call's error into Refused. `service`: its name for people, such as "status"."""
    try:
        yield
    except (grpc.aio.AioRpcError, TimeoutError) as error:
        raise Refused(refusal_of(error, service)) from error
