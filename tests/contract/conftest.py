"""Fixtures of the contract tests. What is dear to start, is started once for all of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from single_node.samples import Sample, write_samples
from tests.contract.bare_services import MAX_CONCURRENT_UPLOADS, BareServices, start_bare_services
from tests.contract.command_line import Cli
from tests.contract.event_reader import Reader
from tests.contract.gateway_process import GatewayProcess, started_gateway
from tests.contract.people import People
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.rest import FRIEND, Rest
from tests.contract.scripted_services import TOKEN, ScriptedServices, scripted_services
from tests.contract.started_brain import read, started_brain
from tests.contract.uploads import Ingest
from tests.local_stack import LocalStack, free_port

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
async def bare(stack: LocalStack) -> AsyncIterator[BareServices]:
    """Status (two replicas) and, with a record of its own, Ingest."""
    services = await start_bare_services(stack)
    yield services
    services.stop()


@pytest.fixture
async def record(bare: BareServices, stack: LocalStack) -> AsyncIterator[RecordCalls]:
    """The record of `status` and `status-2` as a peer changes it, by way of `status`."""
    async with bare.client(stack.facts["service_token"]) as peer:
        yield RecordCalls(peer.record, peer.metadata)


@pytest.fixture
async def record_2(bare: BareServices, stack: LocalStack) -> AsyncIterator[RecordCalls]:
    """The same record by way of `status-2`."""
    async with bare.client(stack.facts["service_token"], status="status-2") as peer:
        yield RecordCalls(peer.record, peer.metadata)


@pytest.fixture
async def person(bare: BareServices, stack: LocalStack) -> AsyncIterator[Person]:
    """The demo user, who sees everything."""
    async with bare.client(stack.facts["token"]) as client:
        yield Person(client)


@pytest.fixture
async def people(bare: BareServices, stack: LocalStack, course: str) -> AsyncIterator[People]:
    """One connection each."""
    tokens = [
        stack.user_token("owner"),
        stack.user_token("editor", {course: "editor"}),
        stack.user_token("reader", {course: "reader"}),
        stack.user_token("admin", {"*": "editor"}),
        stack.user_token("stranger", {"another-course": "editor"}),
    ]
    async with AsyncExitStack() as clients:
        yield People(*[Person(await clients.enter_async_context(bare.client(token))) for token in tokens])


@pytest.fixture
async def owner_2(bare: BareServices, stack: LocalStack) -> AsyncIterator[Person]:
    """The owner by way of the other replica."""
    async with bare.client(stack.user_token("owner"), status="status-2") as client:
        yield Person(client)


@pytest.fixture
async def ingest(bare: BareServices, stack: LocalStack) -> AsyncIterator[Ingest]:
    """As the demo user, an editor of every course."""
    async with bare.client(stack.facts["token"], status="status-of-ingest") as client:
        with ThreadPoolExecutor(MAX_CONCURRENT_UPLOADS + 1) as threads:
            yield Ingest(bare, client, threads)


@pytest.fixture
async def services() -> AsyncIterator[ScriptedServices]:
    """The three services as the test says."""
    async with scripted_services() as running:
        yield running


@pytest.fixture
def cli(services: ScriptedServices, tmp_path: Path) -> Cli:
    """The command, in front of the scripted services."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MATERIALS_")}
    endpoints = {f"MATERIALS_{name}": services.address for name in ("INGEST", "STATUS", "PROCESSOR")}
    return Cli(tmp_path, {**kept, **endpoints, "MATERIALS_TOKEN": TOKEN, "PYTHONPATH": str(PROJECT)})


@pytest.fixture(scope="session")
def brain_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local Brain logs."""
    return tmp_path_factory.mktemp("brain") / "brain.log"


@pytest.fixture(scope="session")
def brain(brain_log: Path) -> Iterator[httpx.Client]:
    """One local Brain for all tests that leave its process alone."""
    with started_brain(brain_log) as (_, http):
        yield http


@pytest.fixture(scope="session")
def demo_samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The documents of the demo."""
    return write_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def readings(brain: httpx.Client, demo_samples: list[Sample]) -> list[str]:
    """What the Brain reads in each of the demo's documents."""
    kinds = {".pdf": "application/pdf", ".png": "image/png"}
    return [
        read(brain, sample.path.read_bytes(), name=sample.path.name, content_type=kinds[sample.path.suffix])
        for sample in demo_samples
    ]


@pytest.fixture
async def rest(stack: LocalStack) -> AsyncIterator[Rest]:
    """The stack's gateway as the demo user, an editor of every course."""
    async with Rest(stack.facts["gateway"], stack.facts["token"]) as caller:
        yield caller


@pytest.fixture(scope="session")
async def bare_gateway(bare: BareServices, stack: LocalStack) -> AsyncIterator[str]:
    """The address of a gateway in front of the Ingest with low limits and its record; what it takes stays PENDING."""
    endpoints = {
        "ingest": bare.endpoints["ingest"],
        "status": bare.endpoints["status-of-ingest"],
        "processor": f"127.0.0.1:{free_port()}",
    }
    async with started_gateway(stack, endpoints) as gateway:
        yield gateway.address


@pytest.fixture
async def bare_rest(bare_gateway: str, stack: LocalStack) -> AsyncIterator[Rest]:
    """The gateway in front of the Ingest with low limits, as the demo user."""
    async with Rest(bare_gateway, stack.facts["token"]) as caller:
        yield caller


@pytest.fixture(scope="session")
async def lonely_gateway(stack: LocalStack) -> AsyncIterator[str]:
    """The address of a gateway whose services are all away, and that pages of FRIEND may call."""
    endpoints = {name: f"127.0.0.1:{free_port()}" for name in ("ingest", "status", "processor")}
    async with started_gateway(stack, endpoints, CORS_ALLOWED_ORIGINS=FRIEND) as gateway:
        yield gateway.address


@pytest.fixture(scope="session")
async def watching_gateway(bare: BareServices, stack: LocalStack) -> AsyncIterator[GatewayProcess]:
    """In front of `status`: a material stays where a test puts it. Its event streams are never quiet for long."""
    endpoints = {"status": bare.endpoints["status"]}
    async with started_gateway(stack, endpoints, EVENT_KEEPALIVE_SECONDS="0.2") as running:
        yield running


@pytest.fixture
def reader(watching_gateway: GatewayProcess, stack: LocalStack, course: str) -> Reader:
    """A reader of the course, who watches over HTTP."""
    return Reader(watching_gateway, stack.user_token("reader", {course: "reader"}), course)
