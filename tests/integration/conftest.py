"""Fixtures of the integration tests."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a document to a file; returns its path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "document"
        path.write_bytes(content)
        return path

    return write
