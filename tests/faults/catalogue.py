"""All scenarios. Importing a module registers what is in it."""

from __future__ import annotations

from tests.faults import broker
from tests.faults.scenario import all_scenarios

_MODULES = (broker,)
SCENARIOS = all_scenarios()
