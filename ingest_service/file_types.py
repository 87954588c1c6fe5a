"""What a file is, told from its bytes, never from its name or what the client says.

    type       how it begins (source)
    ---------  -------------------------------------------------------------------------------------------
    pdf        "%PDF-1." or "%PDF-2." within the first 1,024 bytes (ISO 32000-1, Annex H, implementation note 13)
    png        89 50 4E 47 0D 0A 1A 0A (W3C PNG, 5.2)
    jpeg       FF D8 FF (ITU-T T.81, B.1.1)
    tiff       "II*\\0", "MM\\0*", and BigTIFF "II+\\0", "MM\\0+" (TIFF 6.0, section 2)
    webp       "RIFF" .... "WEBP" (RFC 9649)
    text       UTF-8 to the last byte, without control characters but tab, line ends and form feed
    markdown   as text, when the name ends in .md or .markdown: the bytes cannot tell these two apart

Text that a browser would run (HTML, SVG, XML, also behind a comment; scripts by "#!") is none of these.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class FileType:
    """Short name and media type."""

    name: str
    media_type: str


PDF = FileType("pdf", "application/pdf")
PNG = FileType("png", "image/png")
JPEG = FileType("jpeg", "image/jpeg")
TIFF = FileType("tiff", "image/tiff")
WEBP = FileType("webp", "image/webp")
TEXT = FileType("text", "text/plain")
MARKDOWN = FileType("markdown", "text/markdown")

_SIGNATURES = [
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
]
_ACTIVE_TEXT = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<svg", b"<?xml", b"<?php", b"<iframe", b"#!")
_COMMENTS = re.compile(rb"\s*(?:<!--.*?(?:-->|\Z)\s*)*", re.DOTALL)
_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\r\f") + b"\x7f"


def detect(head: bytes, name: str) -> FileType | None:
    """The type of a file that begins with `head` (its first HEAD_BYTES, or all of a shorter one); None when it is none of the table."""
    for signature, file_type in _SIGNATURES:
        if head.startswith(signature):
            return file_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if any(version in head[:HEAD_BYTES] for version in (b"%PDF-1.", b"%PDF-2.")):
        return PDF
    start = _COMMENTS.sub(b"", head.removeprefix(codecs.BOM_UTF8), count=1).lower()
    if start.startswith(_ACTIVE_TEXT) or head.translate(None, _CONTROL) != head:
        return None
    return MARKDOWN if name.lower().endswith((".md", ".markdown")) else TEXT


class TextCheck:
    """Checks that a stream of chunks is text, as it goes by."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def feed(self, chunk: bytes, *, last: bool = False) -> bool:
        """Whether all so far is text; with `last`, whether it also ends at a whole character."""
        try:
            self._decoder.decode(chunk, last)
        except UnicodeDecodeError:
            return False
        return chunk.translate(None, _CONTROL) == chunk
