"""The quick third of the faults, one test each. All of them: `make faults`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.catalogue import SCENARIOS
from tests.faults.running import Lane
from tests.faults.scenario import Scenario

#: Those that need the same stack follow one another.
QUICK = sorted((each for each in SCENARIOS if each.quick), key=lambda each: (repr(each.layout), each.order))


@pytest.fixture(scope="module")
async def lane() -> AsyncIterator[Lane]:
    """A stack for all of them, started anew where a scenario wants another one."""
    lane = Lane()
    yield lane
    await lane.close()


@pytest.mark.parametrize("scenario", QUICK, ids=[f"{each.number}: {each.title}" for each in QUICK])
async def test_nothing_is_lost_stuck_or_done_twice(lane: Lane, scenario: Scenario) -> None:
    result = await lane.run(scenario)
    if result.skipped:
        pytest.skip(f"FAULT {scenario.number} NOT TRIED: {result.skipped}")
    assert result.good, "\n".join(result.verdict.lines())
