"""A text's words as word search compares them: for passages when they are stored and for queries when they are asked. Pure."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+(?:[.'’]\w+)*")


def search_words(text: str) -> str:
    """The normalised words of `text`, with a space between: input for Postgres' `to_tsvector('simple', ...)`."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    return " ".join(_WORD.findall(plain))
