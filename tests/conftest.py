"""Fixtures that all kinds of tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.local_stack import Client, LocalStack, unique_course

# Asserts in the modules beside the tests tell as much as those in the tests.
pytest.register_assert_rewrite(
    "tests.contract", "tests.costs", "tests.fuzz", "tests.integration", "tests.security", "tests.unit"
)

SAMPLES = Path(__file__).resolve().parents[1] / ".." / "shared" / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real documents that nobody on this project wrote. They lie beside the project where it is developed; elsewhere these tests are skipped."""
    if not SAMPLES.is_dir():
        pytest.skip(f"NO SAMPLE DOCUMENTS at {SAMPLES.resolve()}: tests of real documents are left out")
    return SAMPLES.resolve()


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """One real stack for all tests that leave its processes alone."""
    running = LocalStack.start()
    yield running
    running.stop()


@pytest.fixture
async def client(stack: LocalStack) -> AsyncIterator[Client]:
    """Stubs as the demo user, an editor of every course."""
    async with stack.client() as connected:
        yield connected


@pytest.fixture
def course() -> str:
    """A course no other test has."""
    return unique_course()
