"""Status and Ingest that let nobody in without a certificate of their authority, in processes of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from materials.channels import bearer

from servicekit.channels import open_channel
from servicekit.tls import TlsFiles
from single_node.readiness import GrpcServing, Readiness
from tests.contract.bare_services import START_SECONDS, BareServices
from tests.local_stack import Client, LocalStack
from tests.security.certificates import Authority, Pair

STATUS_NAME, INGEST_NAME = "status.materials.internal", "ingest.materials.internal"


class SecuredServices(BareServices):
    """Ingest calls Status by two addresses, so by the name in its certificate. Status has no other; Ingest has that of the loopback too."""

    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack)
        self.authority = Authority(self.directory, "authority")
        self.another_authority = Authority(self.directory, "another-authority")
        self.caller = self.authority.files(self.authority.issue("caller"), "caller")

    async def start(self, *status_names: str) -> None:
        """NATS, Status, Ingest. Status's certificate has `status_names` beside its own."""
        await self.start_nats()
        await self.start_status(
            "status", await self.make_database(), **self.settings("status", STATUS_NAME, *status_names)
        )
        await self.start_ingest(
            "ingest",
            "status",
            **self.settings("ingest", INGEST_NAME, "127.0.0.1"),
            STATUS_ENDPOINT=",".join([self.endpoints["status"]] * 2),
            TLS_SERVER_NAME=STATUS_NAME,
        )

    def settings(self, name: str, *names: str) -> dict[str, str]:
        """TLS settings of a service with a new certificate for these names."""
        certificate, key = self.authority.issue(*names).write(self.directory, name)
        return {
            "TLS_CERT_FILE": str(certificate),
            "TLS_KEY_FILE": str(key),
            "TLS_CA_FILE": str(self.authority.file),
            "TLS_REQUIRE_CLIENT_CERTIFICATE": "true",
        }

    def renew(self, name: str, pair: Pair) -> None:
        """Puts another certificate in the place of a service's."""
        pair.write(self.directory, name)

    def as_caller(self, name: str) -> TlsFiles:
        """For a caller who looks for this name in the service's certificate."""
        return TlsFiles(self.caller.certificate, self.caller.key, self.authority.file, server_name=name)

    async def until_ready(self, readiness: Readiness) -> None:
        """A probe of gRPC health, by TLS where the process speaks it."""
        if not isinstance(readiness, GrpcServing):
            return await super().until_ready(readiness)
        name = STATUS_NAME if readiness.target == self.endpoints["status"] else INGEST_NAME
        assert await probe(readiness.target, self.as_caller(name), wait=START_SECONDS) == "SERVING"
        return None

    @asynccontextmanager
    async def caller_of_both(self, token: str, *, ingest: str = "ingest") -> AsyncIterator[Client]:
        """Stubs to both services with the caller's certificate."""
        async with (
            open_channel(self.endpoints[ingest], self.as_caller(INGEST_NAME)) as to_ingest,
            open_channel(self.endpoints["status"], self.as_caller(STATUS_NAME)) as to_status,
        ):
            yield Client({"ingest": to_ingest, "status": to_status, "processor": to_status}, bearer(token))


async def probe(endpoint: str, tls: TlsFiles | None, *, wait: float = 0.0) -> str:
    """What gRPC health says to a caller without a token; `wait` is how long it may take to be there, in seconds. Raises AioRpcError."""
    async with open_channel(endpoint, tls) as channel:
        call = health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
            health_pb2.HealthCheckRequest(), timeout=wait or 20.0, wait_for_ready=wait > 0
        )
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name((await call).status))


async def refused(endpoint: str, tls: TlsFiles | None) -> str:
    """gRPC's words for a connection that came to nothing."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await probe(endpoint, tls)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    return refusal.value.details() or ""


def environment(services: SecuredServices, token: str, tls: TlsFiles) -> dict[str, str]:
    """What a person sets for the `materials` command."""
    named: dict[str, Path | None] = {
        "MATERIALS_CA_FILE": tls.authority,
        "MATERIALS_CERT_FILE": tls.certificate,
        "MATERIALS_KEY_FILE": tls.key,
    }
    return {
        "MATERIALS_INGEST": services.endpoints["ingest"],
        "MATERIALS_STATUS": services.endpoints["status"],
        "MATERIALS_TOKEN": token,
        **{name: str(path) for name, path in named.items() if path is not None},
        **({"MATERIALS_SERVER_NAME": tls.server_name} if tls.server_name else {}),
    }
