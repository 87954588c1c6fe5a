"""The signs in TeX's mathematical fonts, which many PDFs hold without a map to Unicode.

PDFium gives the code of such a character as if it were a letter: a sum is an "X", "≤" is a "6", a bracket a control character. The fonts are few
and fixed since 1979 (Computer Modern, its successor Latin Modern, and the AMS's), and their names say which they are, so what their codes mean is known.

Pieces of which a large bracket or brace is built, and wide accents, are nothing: the text beside them says enough. A slash that strikes the next sign through
is U+0338 before that sign; `text_mending` puts it behind, where Unicode has it.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"(?:[A-Z]{6}\+)?(CMEX|CMB?SY|CMMIB?|MSAM|LMMath(?:Extension|Symbols|Italic))\d*(?:-\w+)?\Z")

_EXTENSION: dict[int, str] = {
    **dict.fromkeys(range(0x80), ""),
    **dict.fromkeys((0x00, 0x10, 0x12, 0x20), "("),
    **dict.fromkeys((0x01, 0x11, 0x13, 0x21), ")"),
    **dict.fromkeys((0x02, 0x14, 0x22, 0x68), "["),
    **dict.fromkeys((0x03, 0x15, 0x23, 0x69), "]"),
    **dict.fromkeys((0x08, 0x1A, 0x28, 0x6E), "{"),
    **dict.fromkeys((0x09, 0x1B, 0x29, 0x6F), "}"),
    **dict.fromkeys((0x0A, 0x1C, 0x2A), "⟨"),
    **dict.fromkeys((0x0B, 0x1D, 0x2B), "⟩"),
    0x0C: "|", 0x0D: "‖",
    0x50: "∑", 0x58: "∑", 0x51: "∏", 0x59: "∏", 0x52: "∫", 0x5A: "∫", 0x48: "∮", 0x49: "∮",
    0x53: "⋃", 0x5B: "⋃", 0x54: "⋂", 0x5C: "⋂", 0x56: "⋀", 0x5E: "⋀", 0x57: "⋁", 0x5F: "⋁",
    0x4C: "⨁", 0x4D: "⨁", 0x4E: "⨂", 0x4F: "⨂", 0x60: "∐", 0x61: "∐",
    **dict.fromkeys(range(0x70, 0x75), "√"),
}  # fmt: skip
_SYMBOLS = {
    0x00: "−", 0x01: "·", 0x02: "×", 0x03: "*", 0x06: "±", 0x07: "∓", 0x08: "⊕", 0x0A: "⊗", 0x0E: "◦", 0x0F: "•",
    0x11: "≡", 0x12: "⊆", 0x13: "⊇", 0x14: "≤", 0x15: "≥", 0x16: "⪯", 0x17: "⪰", 0x18: "∼", 0x19: "≈", 0x1A: "⊂", 0x1B: "⊃", 0x1C: "≪", 0x1D: "≫",
    0x1E: "≺", 0x1F: "≻",
    0x20: "←", 0x21: "→", 0x22: "↑", 0x23: "↓", 0x24: "↔", 0x28: "⇐", 0x29: "⇒", 0x2C: "⇔", 0x2F: "∝", 0x30: "′", 0x31: "∞",
    0x32: "∈", 0x33: "∋", 0x36: "\u0338", 0x37: "", 0x38: "∀", 0x39: "∃", 0x3A: "¬", 0x3B: "∅", 0x3C: "ℜ", 0x3D: "ℑ", 0x3E: "⊤",
    0x3F: "⊥", 0x5B: "∪", 0x5C: "∩", 0x5E: "∧", 0x5F: "∨", 0x60: "⊢", 0x66: "{", 0x67: "}", 0x68: "⟨", 0x69: "⟩", 0x6A: "|", 0x6B: "‖",
    0x6E: "\\", 0x70: "√", 0x72: "∇", 0x73: "∫",
}  # fmt: skip
_LETTERS = {
    **dict(enumerate("ΓΔΘΛΞΠΣΥΦΨΩαβγδϵζηθικλμνξπρστυϕχψωεϑϖϱςφ")),
    0x40: "∂", 0x60: "ℓ", 0x7B: "ı", 0x7D: "℘",
}  # fmt: skip
_AMS_A = {
    0x03: "□", 0x2C: "≜", 0x34: "≦", 0x35: "≦", 0x36: "⩽", 0x3D: "≧", 0x3E: "⩾", 0x2E: "≲", 0x26: "≳", 0x46: "∴", 0x4E: "∵",
}  # fmt: skip
_FONTS = {
    "CMEX": _EXTENSION, "LMMathExtension": _EXTENSION,
    "CMSY": _SYMBOLS, "CMBSY": _SYMBOLS, "LMMathSymbols": _SYMBOLS,
    "CMMI": _LETTERS, "CMMIB": _LETTERS, "LMMathItalic": _LETTERS,
    "MSAM": _AMS_A,
}  # fmt: skip


def symbols_of(font: str) -> dict[int, str]:
    """What the codes of a font mean, by its name in the PDF; empty for any other font."""
    match = _NAME.match(font)
    return _FONTS[match.group(1)] if match else {}
