"""Images made to harm whoever opens them: they claim, or unpack to, far more than they are."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, before: bytes = b"", pixels: bytes = bytes(1000)) -> bytes:
    """A PNG that says it had so many pixels; `before` are chunks in front of them."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + header + before + body + _chunk(b"IEND", b"")


def png_with_packed_text(mebibytes: int) -> bytes:
    """A small PNG with a comment that inflates to so many MiB."""
    return png(10, 10, before=_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(mebibytes * 1024 * 1024), 9)))


def png_with_packed_profile(mebibytes: int) -> bytes:
    """A small PNG with a colour profile that inflates to so many MiB."""
    return png(10, 10, before=_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(mebibytes * 1024 * 1024), 9)))


def png_with_surplus(mebibytes: int) -> bytes:
    """A PNG of 10 by 10 pixels whose data inflate to so many MiB."""
    return png(10, 10, pixels=bytes(mebibytes * 1024 * 1024))


def tiff(directories: int, *, width: int = 8, height: int = 8, circle: bool = False) -> bytes:
    """A TIFF of so many directories, all with the same pixels; in a circle, the last one leads to the first."""
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 8),
    ]  # fmt: skip
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    size = len(body) + 4
    places = [16 + number * size for number in range(1, directories)] + [16 if circle else 0]
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + b"".join(body + struct.pack("<I", place) for place in places)


def tiff_of_directories_in_each_other(directories: int) -> bytes:
    """Each directory has 65,535 entries, most of which are those of the next ones: a file of 800 KB to read a gigabyte from."""
    step, entries = 14, 65_535
    content = bytearray(8 + directories * step + 2 + entries * 12 + 4)
    content[:8] = b"II*\0" + struct.pack("<I", 8)
    for number in range(directories):
        place = 8 + number * step
        struct.pack_into("<H", content, place, entries)
        struct.pack_into("<I", content, place + 2 + entries * 12, place + step if number + 1 < directories else 0)
    return bytes(content)


def jpeg(width: int, height: int) -> bytes:
    """A JPEG of 64 by 64 pixels that says it had so many."""
    return _resized(b"\xff\xc0", width, height)


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG of so many pixels that goes over all of them again and again."""
    content = _resized(b"\xff\xc2", width, height)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * scans + b"\xff\xd9"


def _resized(frame: bytes, width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (64, 64), 90).save(file, "JPEG", progressive=frame == b"\xff\xc2")
    content = bytearray(file.getvalue())
    struct.pack_into(">HH", content, content.index(frame) + 5, height, width)
    return bytes(content)
