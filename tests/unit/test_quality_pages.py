"""The pages of the quality suite are the same each time, and each kind has a floor."""

from __future__ import annotations

import pytest

from tests.quality.page_quality import FLOORS
from tests.quality.page_texts import HYPHENATED, NOTES, TABLES
from tests.quality.pages import page_kinds

KINDS = {kind.name: kind for kind in page_kinds(None)}


def test_each_kind_has_a_floor_and_each_floor_a_kind() -> None:
    assert {*KINDS, "real scans"} == set(FLOORS)


@pytest.mark.parametrize("name", ["clean 150 dpi", "noise", "photo in uneven light", "skewed or turned tables"])
def test_a_picture_is_the_same_each_time(name: str) -> None:
    first, again = KINDS[name].make(), KINDS[name].make()
    assert first == again
    assert len({page.data for page in first}) == len(first)


def test_there_are_texts_in_three_languages_that_the_fonts_have() -> None:
    assert {notes.language for notes in NOTES} == {"en", "es", "de"}
    for text in (*(notes.text for notes in (*NOTES, *HYPHENATED)), *(table.text for table in TABLES)):
        text.replace("\u00ad", "").encode("windows-1252")
