"""Pages that are followed come in order: one that is missing holds back those behind it."""

from __future__ import annotations

import pytest

from processor_service.index.index_store import PageText, without_gap


@pytest.mark.parametrize(
    ("there", "first", "sent"),
    [
        ([1, 2, 3], 1, [1, 2, 3]),
        ([1, 2, 4, 5], 1, [1, 2]),
        ([2, 3], 1, []),
        ([3, 4], 3, [3, 4]),
        ([5], 3, []),
        ([], 1, []),
    ],
)
def test_pages_up_to_the_first_that_is_missing(there: list[int], first: int, sent: list[int]) -> None:
    pages = [PageText(number, "text", 2) for number in there]
    assert [page.page_number for page in without_gap(pages, first)] == sent
