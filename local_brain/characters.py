"""Characters as a person would type them, for those that the recogniser takes from another script.

It was trained on Chinese beside Latin text, and gives what looks alike: a degree sign and a C as one sign, a comma or bracket
of double width. Searching for what stands on the page would miss these.
"""

from __future__ import annotations

import re
import unicodedata

_DEGREES = re.compile(r"\s*°?\s*([℃℉])")
_DOUBLE_WIDTH = re.compile(r"[\u3000\uff01-\uff5e]+")
_CHINESE_OR_JAPANESE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def typed(line: str) -> str:
    """The line with degrees as `20 °C` and, unless it has Chinese or Japanese in it, no characters of double width."""
    line = _DEGREES.sub(_degrees, line)
    if not _CHINESE_OR_JAPANESE.search(line):
        line = _DOUBLE_WIDTH.sub(lambda found: unicodedata.normalize("NFKC", found[0]), line)
    return line


def _degrees(found: re.Match[str]) -> str:
    return ("" if found.start() == 0 else " ") + unicodedata.normalize("NFKC", found[1])
