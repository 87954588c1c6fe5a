"""Promises of Range headers: every one of them gives the bytes that RFC 9110 says, the whole file, or 416."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.byte_ranges import ByteRange, NotSatisfiable, parse_range

sizes = st.integers(1, 2**63 - 1) | st.integers(1, 30)
ends = st.integers(0, 40) | st.integers(0, 10**19 - 1)


def reference(first: int | None, last: int | None, size: int) -> ByteRange | str:
    """Section 14.1.2 by its words: byte positions, of the few that a small file has."""
    positions = range(size)
    if first is None:
        assert last is not None
        chosen = positions[max(0, size - last) :]
    else:
        chosen = positions[first : size if last is None else last + 1]
    return ByteRange(chosen[0], len(chosen)) if len(chosen) else "416"


def answer(header: str | None, size: int) -> ByteRange | str | None:
    try:
        return parse_range(header, size)
    except NotSatisfiable:
        return "416"


@given(st.none() | ends, st.none() | ends, st.integers(1, 30) | st.integers(1, 10**6))
def test_a_range_is_that_of_the_specification(first: int | None, last: int | None, size: int) -> None:
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if (first is None and last is None) or (first is not None and last is not None and last < first):
        assert answer(header, size) is None, "what is no range is left alone"
    else:
        assert answer(header, size) == reference(first, last, size)


@given(st.text(string.digits + "bytes=-, \t*x") | st.text() | ends.map(lambda n: f"bytes={n}-"), sizes)
@example("bytes=" + "9" * 5_000 + "-", 10)
@example("bytes=-" + "9" * 5_000, 10)
@example("bytes=²-", 10)
def test_no_header_reaches_outside_the_file(header: str, size: int) -> None:
    found = answer(header, size)
    if isinstance(found, ByteRange):
        assert 0 <= found.offset < found.offset + found.length <= size


@pytest.mark.parametrize(
    "header", [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "0-1"]
)
def test_what_is_no_single_range_of_bytes_means_the_whole_file(header: str | None) -> None:
    assert answer(header, 10) is None


@pytest.mark.parametrize("header", ["bytes=0-4", "BYTES=0-4", " bytes=0-4".strip(), "bytes= 0-4 "])
def test_unit_and_spaces_are_read_as_clients_write_them(header: str) -> None:
    assert answer(header, 10) == ByteRange(0, 5)
