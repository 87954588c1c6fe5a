"""A PNG without all that its picture does not need: text, times, profiles, what stands behind its end. Pure; cheap beside encoding the picture again."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = struct.Struct(">I4s")
_SUM = struct.Struct(">I")
#: Of a gray or RGB picture: no palette, and what a reader may do without is left out.
_KEPT = frozenset((b"IHDR", b"IDAT", b"IEND"))


def bare_png(content: bytes) -> bytes | None:
    """The header, the pixels and the end of a gray or RGB picture, up to its end; None where a sum is wrong or there is no end."""
    if not content.startswith(SIGNATURE):
        return None
    kept, at = [SIGNATURE], len(SIGNATURE)
    while at + _HEAD.size + _SUM.size <= len(content):
        length, kind = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + length + _SUM.size
        if end > len(content):
            return None
        if kind in _KEPT:
            (told,) = _SUM.unpack_from(content, end - _SUM.size)
            if zlib.crc32(content[at + 4 : end - _SUM.size]) != told:
                return None
            kept.append(content[at:end])
            if kind == b"IEND":
                return b"".join(kept)
        at = end
    return None
