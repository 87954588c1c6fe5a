"""How often a change is turned into bytes for its watchers, in a Status that runs in this process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.message import Message
from materials.v1 import material_pb2, status_service_pb2
from pydantic import SecretStr

from servicekit.opaque_tokens import OpaqueTokens
from single_node.ports import HOST
from single_node.readiness import GrpcServing, until_ready
from status_service.service import build
from status_service.settings import StatusSettings
from tests.contract.bare_services import BareServices
from tests.contract.record_calls import RecordCalls
from tests.costs.counted_stack import CountedStack
from tests.local_stack import Client, free_port, unique_course

WATCHERS = 100
SECONDS = 60.0
COUNTED = (material_pb2.Material, status_service_pb2.WatchMaterialResponse, status_service_pb2.WatchCourseResponse)
#: Of one change: for the other replicas, and for all of its watchers here, of the material and of the course.
SERIALISED = {"Material": 1, "WatchMaterialResponse": 1, "WatchCourseResponse": 1, "resume token": 1}


@pytest.fixture
def serialised(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often so far, by the name of the message; tokens too."""
    counts: Counter[str] = Counter()

    def counting(kind: type[Message]) -> Callable[..., bytes]:
        serialise = kind.SerializeToString

        def counted(message: Message, **options: Any) -> bytes:
            counts[kind.__name__] += 1
            return serialise(message, **options)

        return counted

    for kind in COUNTED:
        monkeypatch.setattr(kind, "SerializeToString", counting(kind))
    seal = OpaqueTokens.seal

    def counted_seal(tokens: OpaqueTokens, content: dict[str, Any]) -> str:
        counts["resume token"] += 1
        return seal(tokens, content)

    monkeypatch.setattr(OpaqueTokens, "seal", counted_seal)
    return counts


@pytest.fixture
async def status(counted: CountedStack, serialised: Counter[str]) -> AsyncIterator[BareServices]:
    """Status in this process, whose messages are counted from its beginning, with a database and a NATS of its own."""
    services = BareServices(counted.local)
    await services.start_nats()
    services.endpoints["status"] = services.endpoints["ingest"] = f"{HOST}:{free_port()}"
    secrets = counted.local.secrets()
    manager = build(
        StatusSettings(
            listen_address=services.endpoints["status"],
            nats_url=services.nats_url,
            status_database_url=SecretStr(await services.make_database()),
            auth_hs256_secret=SecretStr(secrets["auth_hs256_secret"]),
            auth_issuer="materials-local",
            service_token_secret=SecretStr(secrets["service_token_secret"]),
            max_watches_per_owner=2 * WATCHERS,
            owner_requests_per_second=0,
        )
    )
    running = asyncio.create_task(manager.run())
    try:
        await until_ready(GrpcServing(services.endpoints["status"]), SECONDS)
        yield services
    finally:
        manager.request_stop()
        await running
        services.stop()


@asynccontextmanager
async def watches(client: Client, material: material_pb2.Material) -> AsyncIterator[list[Any]]:
    """WATCHERS calls of WatchMaterial, as many of WatchCourse; the next that each reads is a change."""
    one = status_service_pb2.WatchMaterialRequest(material_id=material.id)
    course = status_service_pb2.WatchCourseRequest(course_id=material.course_id)
    of_material = [client.status.WatchMaterial(one, metadata=client.metadata) for _ in range(WATCHERS)]
    of_course = [client.status.WatchCourse(course, metadata=client.metadata) for _ in range(WATCHERS)]
    try:
        async with asyncio.timeout(SECONDS):
            for call in of_material:
                await call.read()
            for call in of_course:
                while not (await call.read()).HasField("snapshot_complete"):
                    pass
        yield [*of_material, *of_course]
    finally:
        for call in (*of_material, *of_course):
            call.cancel()


async def test_a_change_is_serialised_no_oftener_than_it_must(
    counted: CountedStack, status: BareServices, serialised: Counter[str]
) -> None:
    async with status.client(counted.local.facts["service_token"]) as peer:
        record = RecordCalls(peer.record, peer.metadata)
        material = await record.create("owner", unique_course())
        async with status.client(counted.local.facts["token"]) as person, watches(person, material) as calls:
            assert serialised["WatchMaterialResponse"] >= 1, "what is counted is not what the server sends by"
            serialised.clear()
            changed = await record.claimed(material.id)
            async with asyncio.timeout(SECONDS):
                told = [(await call.read()).material for call in calls]
    assert told == [changed] * len(calls)
    assert serialised == SERIALISED
