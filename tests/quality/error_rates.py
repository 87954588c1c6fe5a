"""How far a text that was read is from the true one: character and word error rates.

Both are the Levenshtein distance (insertions, deletions and replacements, one each) divided by the length of the truth, in
characters or in words. So a rate may be above 1 where much was read that is not there.

Before they are compared, both texts are put into one form, since these differences are no errors of reading: Unicode NFC;
every run of white space (also line ends) is one space, none at the ends; typographic quotes are `"` and `'`, dashes and
minus signs are `-`, an ellipsis is three dots, ligatures are their letters, soft hyphens are left out. Case and accents count.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

_FOLDED = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‘’‚‛‹›′´`", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "…": "...",
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
        "\u00ad": "",
    }
)


def normalised(text: str) -> str:
    """The form in which texts are compared; see the module's docstring."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_FOLDED).split())


def character_error_rate(truth: str, read: str) -> float:
    """Wrong characters for each true one. For an empty truth: 0 when nothing was read, else 1."""
    return _rate(normalised(truth), normalised(read))


def word_error_rate(truth: str, read: str) -> float:
    """Wrong words for each true one. For an empty truth: 0 when nothing was read, else 1."""
    return _rate(normalised(truth).split(), normalised(read).split())


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein distance. One row of the table is kept, so memory grows with `other` alone."""
    numbers: dict[str, int] = {}
    target = np.array([numbers.setdefault(item, len(numbers)) for item in other], dtype=np.int64)
    columns = np.arange(len(other) + 1)
    row = columns.copy()
    for number, item in enumerate(one, start=1):
        changed = np.empty_like(row)
        changed[0] = number
        replaced = row[:-1] + (target != numbers.get(item, -1))
        np.minimum(replaced, row[1:] + 1, out=changed[1:])
        # Insertions run along the row: each costs one a column, so the least of (value - column) so far, plus the column.
        row = np.minimum.accumulate(changed - columns) + columns
    return int(row[-1])


def _rate(truth: Sequence[str], read: Sequence[str]) -> float:
    if not truth:
        return float(bool(read))
    return edit_distance(truth, read) / len(truth)
