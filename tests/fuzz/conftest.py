"""One stack of its own for all that is fuzzed, with limits low enough that what is not given back is missed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.calls import Channels, Fuzzed
from tests.fuzz.leftovers import Usage
from tests.fuzz.limits import ENVIRONMENT
from tests.fuzz.world import World
from tests.local_stack import LocalStack


@pytest.fixture(scope="package")
def fuzzed() -> Iterator[Fuzzed]:
    """The stack and blocking channels to it."""
    stack = LocalStack.start(environment=ENVIRONMENT)
    try:
        with Channels({name: stack.facts[name] for name in ("ingest", "status", "processor")}) as channels:
            yield Fuzzed(stack, channels)
    finally:
        stack.stop()


@pytest.fixture(scope="package", autouse=True)
def at_first(fuzzed: Fuzzed) -> Usage:
    """What the services hold before anything is tried."""
    return Usage.of(fuzzed)


@pytest.fixture(scope="package")
def world(fuzzed: Fuzzed) -> World:
    """A course with materials that have been read."""
    return World(fuzzed)
