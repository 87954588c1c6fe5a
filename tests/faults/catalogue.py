"""All scenarios. Importing a module registers what is in it."""

from __future__ import annotations

from tests.faults import (
    backlog,
    brain_away,
    broker,
    broker_amnesia,
    clocks,
    crowds,
    deaf_consumers,
    everything_killed,
    file_limit,
    network,
    object_store,
    rolling_restart,
    sick_brain,
)
from tests.faults.scenario import all_scenarios

_MODULES = (
    backlog,
    brain_away,
    broker,
    broker_amnesia,
    clocks,
    crowds,
    deaf_consumers,
    everything_killed,
    file_limit,
    network,
    object_store,
    rolling_restart,
    sick_brain,
)
SCENARIOS = all_scenarios()
