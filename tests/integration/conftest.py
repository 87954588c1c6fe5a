"""Fixtures of the integration tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.observed_stack import ObservedStack, observed_stack


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a document to a file; returns its path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "document"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="session")
def observed() -> Iterator[ObservedStack]:
    """One stack whose spans, metrics and logs are looked at."""
    with observed_stack() as running:
        yield running
