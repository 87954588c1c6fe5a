"""What is to be done with the indexes of vectors that there are."""

from __future__ import annotations

import pytest

from processor_service.search.nearest_index import Upkeep, index_name, upkeep


@pytest.mark.parametrize(
    ("valid", "expected"),
    [
        ({}, Upkeep((), missing=True)),
        ({index_name(3): True}, Upkeep((), missing=False)),
        ({index_name(3): False}, Upkeep((index_name(3),), missing=True)),
        ({index_name(2): True}, Upkeep((index_name(2),), missing=True)),
        ({index_name(2): True, index_name(3): True}, Upkeep((index_name(2),), missing=False)),
        ({index_name(2): False, index_name(31): True}, Upkeep((index_name(2), index_name(31)), missing=True)),
    ],
)
def test_upkeep_when_generation_three_is_in_use(valid: dict[str, bool], expected: Upkeep) -> None:
    assert upkeep(valid, 3) == expected
