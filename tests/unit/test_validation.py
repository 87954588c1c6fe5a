"""What users may call things: every refusal names its field, what is taken is kept as it is."""

from __future__ import annotations

import unicodedata
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit import validation
from servicekit.errors import FieldInvalid

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def refused(value: str, *, max_length: int = 255, spaces: bool = True) -> str:
    with pytest.raises(FieldInvalid) as error:
        validation.visible_text("name", value, max_length=max_length, spaces=spaces)
    assert error.value.field == "name"
    return error.value.description


@pytest.mark.parametrize(
    "value",
    [
        "a",
        " leading and trailing ",
        "Übung 3 (neu).pdf",
        "日本語.pdf",
        "שיעור.pdf",
        "🎓👩‍🏫.png",
        "می‌خواهم",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "C:\\x",
        "'; DROP TABLE materials; --",
        "%00%0d%0a",
        "x" * 255,
    ],
)
def test_visible_text_is_kept_as_it_is(value: str) -> None:
    assert validation.visible_text("name", value, max_length=255) == value


@pytest.mark.parametrize(
    "value",
    ["", " ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u200d\u200c", "\u00ad", "\u2060 \u200b", "\u2028"],
)
def test_text_with_nothing_to_see_is_empty(value: str) -> None:
    assert refused(value) == "must not be empty"


@pytest.mark.parametrize(
    "character",
    [
        "\0",
        "\n",
        "\r",
        "\t",
        "\x1b",
        "\x7f",
        "\x85",
        "\x9b",
        "\u2028",
        "\u2029",
        "\ud800",
        "\ue000",
        "\uffff",
        "\ufdd0",
        *BIDI,
    ],
)
@pytest.mark.parametrize("pattern", ["{}name", "na{}me", "name{}"])
def test_characters_that_forge_lines_or_order_are_refused_by_number(character: str, pattern: str) -> None:
    assert refused(pattern.format(character)) == f"must not contain the character U+{ord(character):04X}"


def test_length_is_counted_in_characters() -> None:
    assert refused("é" * 256) == "must have at most 255 characters, has 256"
    assert validation.visible_text("name", "🎓" * 255, max_length=255) == "🎓" * 255


@given(value=st.text(max_size=40))
def test_what_is_taken_is_unchanged_and_free_of_control_characters(value: str) -> None:
    try:
        taken = validation.visible_text("name", value, max_length=20)
    except FieldInvalid as error:
        error.description.encode()  # never a lone surrogate of the user's in a message
        return
    assert taken == value
    assert 1 <= len(taken) <= 20
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in taken)
    assert not set(taken) & set(BIDI)
    assert taken.encode().decode() == taken


@pytest.mark.parametrize("value", ["a", "algebra-1", "математика", "a.b", "..", "50%", "a?b#c", "x" * 128])
def test_course_ids_are_any_visible_characters(value: str) -> None:
    assert validation.course_id(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "two words",
        "a\u00a0b",
        "a\u3000b",
        "a/b",
        "/",
        "a\\b",
        "x" * 129,
        "x" * 10_000,
        "a\r\nb",
        "a\0",
        "\u202eabc",
    ],
)
def test_course_ids_without_spaces_slashes_and_control_characters(value: str) -> None:
    with pytest.raises(FieldInvalid) as error:
        validation.course_id(value)
    assert error.value.field == "course_id"


def test_uuid_in_canonical_form_is_an_id() -> None:
    known = uuid.uuid4()
    assert validation.parse_uuid(str(known)) == known


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "0" * 32,
        "{00000000-0000-0000-0000-000000000000}",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "ABCDEF00-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-000000000000\n",
        " 00000000-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-00000000000٠",
        "0000000000000000-0000-0000-0000-0000",
        "' OR 1=1 --",
        "../../etc/passwd",
    ],
)
def test_id_of_another_shape_belongs_to_nothing(value: str) -> None:
    assert validation.parse_uuid(value) is None


@given(value=st.text())
def test_no_text_makes_parsing_an_id_fail(value: str) -> None:
    parsed = validation.parse_uuid(value)
    assert parsed is None or str(parsed) == value
