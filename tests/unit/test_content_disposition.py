"""Promises of the Content-Disposition header: whatever a material is called, it is one header of ASCII that names the file and nothing else."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.content_routes import content_disposition

SHAPE = re.compile(r"""attachment; filename="([^"\\/%\r\n]*)"; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]*)""")


@given(st.text())
@example('say "hi".txt')
@example("a\r\nSet-Cookie: b=c")
@example("../../etc/passwd")
@example("..\\..\\boot.ini")
@example("Zellen 🦠.pdf")
@example('a"; filename="b.exe')
@example("100%25.txt")
@example("\u202egnp.exe")
def test_any_name_is_one_line_of_ascii_that_says_the_name(name: str) -> None:
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable(), "no line breaks, nothing that ends a header"
    match = SHAPE.fullmatch(header)
    assert match is not None
    assert unquote(match[2], errors="strict") == name, "RFC 8187 gives the name back"
    assert len(match[1]) == len(name), "old clients get a likeness"


@pytest.mark.parametrize("name", ["notes.txt", "Cells and tissues (1).pdf", "a;b=c,d.md"])
def test_a_plain_name_is_told_to_old_clients_as_it_is(name: str) -> None:
    assert f'filename="{name}";' in content_disposition(name)
