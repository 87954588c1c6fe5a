"""How much is tried. Without FUZZ_EXAMPLES a short form that tries the same each time; with FUZZ_EXAMPLES=2000 as many, and others each time."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

_ASKED = os.environ.get("FUZZ_EXAMPLES", "")
EXAMPLES = int(_ASKED or 24)
#: A failure is shrunk for up to five minutes.
TIMEOUT = pytest.mark.timeout(900 + 10 * EXAMPLES)


def fuzzing(share: float = 1.0) -> settings:
    """Settings for a test that tries `share` of the examples."""
    return settings(
        max_examples=max(4, round(EXAMPLES * share)),
        derandomize=not _ASKED,
        database=None,
        deadline=None,  # other processes take their time; each call has a deadline of its own
        print_blob=True,
        report_multiple_bugs=False,
        # Real uploads of some MiB take what they take; what is shared between examples is a stack, and each has users of its own.
        suppress_health_check=[
            HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example,
            HealthCheck.function_scoped_fixture, HealthCheck.differing_executors,
        ],
    )  # fmt: skip
