"""One stack whose wires are counted, warm: statements are prepared, channels connected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from materials.v1 import status_service_pb2

from tests.costs.counted_stack import CountedStack, counted_stack
from tests.costs.paths import Paths

WARMING = 8


@pytest.fixture(scope="package")
async def counted() -> AsyncIterator[CountedStack]:
    """The stack. Nothing is under way."""
    async with counted_stack() as stack:
        warming = Paths(stack)
        await stack.read(*await asyncio.gather(*[warming.upload() for _ in range(WARMING)]))
        yield stack


@pytest.fixture
def paths(counted: CountedStack) -> Paths:
    """What people do, in a course of its own."""
    return Paths(counted)


@pytest.fixture(scope="class")
async def paused(counted: CountedStack) -> AsyncIterator[Paths]:
    """The same while nothing is read: what is uploaded waits, and costs what an upload costs alone. All of it is read at the end."""
    paths, status, metadata = Paths(counted), counted.client.status, counted.client.metadata
    await status.PauseProcessing(status_service_pb2.PauseProcessingRequest(), metadata=metadata)
    await counted.told_of_pause()
    await counted.no_pull_waits()
    yield paths
    await status.ResumeProcessing(status_service_pb2.ResumeProcessingRequest(), metadata=metadata)
    await counted.read(*paths.uploaded)
