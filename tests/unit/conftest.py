"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.tokens import EC_KEY, ED_KEY, NEXT_RSA_KEY, RSA_KEY, KeyServer, jwk


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    """A key server with a key of each kind, and one that is not for signatures."""
    keys = [jwk(RSA_KEY, "rsa-1"), jwk(EC_KEY, "ec-1"), jwk(ED_KEY, "ed-1"), jwk(NEXT_RSA_KEY, "enc-1", use="enc")]
    with KeyServer(keys).running() as server:
        yield server
