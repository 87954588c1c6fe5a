"""Fixtures of the contract tests that need services without a processor behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.bare_services import BareServices, start_bare_services
from tests.contract.record_calls import RecordCalls
from tests.local_stack import LocalStack


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
