"""All scenarios. Importing a module of `tests.faults.scenarios` registers what is in it."""

from __future__ import annotations

import importlib
import pkgutil

from tests.faults import scenarios
from tests.faults.scenario import all_scenarios

for _module in pkgutil.iter_modules(scenarios.__path__, f"{scenarios.__name__}."):
    importlib.import_module(_module.name)

SCENARIOS = all_scenarios()
