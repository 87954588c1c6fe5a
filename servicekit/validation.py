"""Checks of what users send, each raising FieldInvalid with the field's name."""

from __future__ import annotations

import unicodedata
import uuid

from servicekit.errors import FieldInvalid

#: Bidirectional overrides and isolates: they make a text read other than it is.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible_text(field: str, value: str, *, max_length: int, spaces: bool = True) -> str:
    """`value`, 1 to `max_length` characters with something to see in them, without control characters or bidirectional overrides."""
    # Separators and format characters (zero-width ones) leave nothing to see.
    if all(
        unicodedata.category(character)[0] == "Z" or unicodedata.category(character) == "Cf"
        for character in value.strip()
    ):
        raise FieldInvalid(field, "must not be empty")
    if len(value) > max_length:
        raise FieldInvalid(field, f"must have at most {max_length} characters, has {len(value)}")
    for character in value:
        category = unicodedata.category(character)
        if category in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") or character in _BIDI:
            raise FieldInvalid(field, f"must not contain the character U+{ord(character):04X}")
        if not spaces and category == "Zs":
            raise FieldInvalid(field, "must not contain spaces")
    return value


def course_id(value: str) -> str:
    """A course id: 1-128 visible characters without spaces or slashes."""
    visible_text("course_id", value, max_length=128, spaces=False)
    if "/" in value or "\\" in value:
        raise FieldInvalid("course_id", "must not contain slashes")
    return value


def parse_uuid(value: str) -> uuid.UUID | None:
    """The UUID in canonical lower-case form, or None: an id of another shape belongs to nothing."""
    try:
        parsed = uuid.UUID(value)
    except (ValueError, AttributeError):
        return None
    return parsed if str(parsed) == value else None
