"""Which bytes a Range header asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class ByteRange:
    """`length` bytes from `offset`."""

    offset: int
    length: int


class NotSatisfiable(Exception):
    """The range lies outside the file: 416."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The range of a file of `size` bytes; None for the whole file: no header, or one that may be ignored (another unit, several ranges, nonsense).

    Raises NotSatisfiable.
    """
    match = _ONE_RANGE.fullmatch(header) if header is not None else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        last_bytes = min(int(match[2]), size)
        if last_bytes == 0:
            raise NotSatisfiable
        return ByteRange(size - last_bytes, last_bytes)
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    if first >= size:
        raise NotSatisfiable
    return ByteRange(first, last - first + 1)
