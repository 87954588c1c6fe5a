"""Ligatures, cut words and accents of a text layer are put right, and nothing else is changed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor_service.documents.text_mending import join_cut_words, mend


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("an exam-\nple of it", "an example\nof it"),
        ("an exam-\nple", "an example"),
        ("con-\ntra-\ndiction here", "contradiction\nhere"),
        ("at the column's exam-\n\nple of it", "at the column's example\n\nof it"),
        ("a soft hy\u00ad\nphen", "a soft hyphen"),
        ("a soft hy\u00ad\nPhen", "a soft hyPhen"),
        ("the Glet-\nscher", "the Gletscher"),
        ("Grö-\nße", "Größe"),
        # The hyphen is real.
        ("a well-\nknown one", "a well-known\none"),
        ("the self-\ntest", "the self-test"),
        ("state-of-the-\nart text", "state-of-the-art\ntext"),
        ("by e-\nmail", "by e-mail"),
        ("Jean-\nPaul", "Jean-Paul"),
        ("COVID-\n19", "COVID-19"),
        ("a large-scale study, at large-\nscale", "a large-scale study, at large-scale"),
        ("a line, a number, its line-\nnumber", "a line, a number, its line-number"),
        ("a line, a linenumber, a number, line-\nnumber", "a line, a linenumber, a number, linenumber"),
        ("it can begin, the begin-\nning", "it can begin, the beginning"),
        # Not a cut word at all.
        ("Haupt-\nund Nebensatz", "Haupt-\nund Nebensatz"),
        ("short-\nand long-term", "short-\nand long-term"),
        ("from 1990-\n1995", "from 1990-\n1995"),
        ("x -\ny", "x -\ny"),
        ("- one\n- two", "- one\n- two"),
        ("ends with-", "ends with-"),
        ("a dash –\nand on", "a dash –\nand on"),
    ],
)
def test_a_word_cut_at_a_line_end_is_joined_where_that_is_certain(cut: str, whole: str) -> None:
    assert mend(cut) == whole


@pytest.mark.parametrize(
    ("given_", "mended"),
    [
        ("ﬁrst oﬃcer, oﬀ, ﬂew, waﬄe", "first officer, off, flew, waffle"),
        ("x² + H₂O, ½, №, Ⅳ, Ａ", "x² + H₂O, ½, №, Ⅳ, Ａ"),
        ("e\u0301a\u0308", "éä"),
        ("a\u00a0b\u2009c", "a b c"),
        ("\ufeffa\u200bb\x07c\x00", "abc"),
        ("\uf0b7 first", "• first"),
        ("a \u0338= b, c \u0338∈ D", "a ≠ b, c ∉ D"),
        ("hy\u00adphen", "hyphen"),
    ],
)
def test_letters_are_what_the_reader_sees(given_: str, mended: str) -> None:
    assert mend(given_) == mended


@given(st.text(alphabet="abAB1 -\u00ad\n", max_size=80))
@settings(derandomize=True, database=None, deadline=None)
def test_joining_moves_no_letter(text: str) -> None:
    def letters(of: str) -> str:
        return "".join(char for char in of if char.isalnum())

    assert letters(join_cut_words(text)) == letters(text)
    assert join_cut_words(text).count("\n") <= text.count("\n")


@pytest.mark.parametrize(
    "text", ["a" * 200_000 + "-\nb", "-" * 200_000 + "\na", "a-\n" * 6_000, ("a" * 50 + "-\n") * 4_000]
)
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    begun = time.process_time()
    mend(text)
    assert time.process_time() - begun < 20, "it takes the square of its length"
