"""One stack of its own for all that is attacked."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.local_stack import LocalStack
from tests.security.attacked import LIMITS, Attacked, OverheardChannels, World, pids
from tests.security.overheard import Overheard
from tests.unit.tokens import NEXT_RSA_KEY, KeyServer, jwk


@pytest.fixture(scope="package")
def attacked() -> Iterator[Attacked]:
    """The stack, and channels to it."""
    stack = LocalStack.start(environment=LIMITS)
    try:
        overheard = Overheard()
        with OverheardChannels(stack, overheard) as channels:
            yield Attacked(stack, overheard, channels, pids(stack))
    finally:
        stack.stop()


@pytest.fixture(scope="package")
def world(attacked: Attacked) -> World:
    """A course and everybody around it."""
    return World(attacked)


@pytest.fixture(scope="package")
def attackers_keys() -> Iterator[KeyServer]:
    """Keys that a token points to, and that nobody may fetch."""
    with KeyServer([jwk(NEXT_RSA_KEY, "rsa")]).running() as keys:
        yield keys


@pytest.fixture
def http(attacked: Attacked) -> Iterator[httpx.Client]:
    """The gateway as somebody without a token."""
    with attacked.http() as client:
        yield client
