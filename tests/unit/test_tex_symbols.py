"""Codes of TeX's mathematical fonts are the signs that they draw, and codes of other fonts are not touched."""

from __future__ import annotations

import pytest

from processor_service.documents.tex_symbols import symbols_of


@pytest.mark.parametrize(
    ("font", "code", "sign"),
    [
        ("CMEX10", ord("X"), "∑"),
        ("ABCDEF+CMEX10", ord("Z"), "∫"),
        ("LMMathExtension10-Regular", 0x10, "("),
        ("LMMathSymbols8-Regular", ord("6"), "\u0338"),
        ("CMSY7", 0x14, "≤"),
        ("CMMI10", ord("`"), "ℓ"),
        ("LMMathItalic8-Regular", 0x0F, "ϵ"),
        ("MSAM10", ord("6"), "⩽"),
    ],
)
def test_a_code_is_the_sign_it_draws(font: str, code: int, sign: str) -> None:
    assert symbols_of(font)[code] == sign


@pytest.mark.parametrize(
    "font", ["", "Helvetica", "CMR10", "LMRoman10-Regular", "MyCMEX10", "CMEX10Bold Extra", "Symbol"]
)
def test_other_fonts_are_left_alone(font: str) -> None:
    assert symbols_of(font) == {}
