"""What an upload must be, whatever way it is cut into chunks, and what a file is by its content."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from itertools import count, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from materials.v1 import errors_pb2
from PIL import Image

from ingest_service.file_types import (
    HEAD_BYTES,
    JPEG,
    MARKDOWN,
    PDF,
    PNG,
    TEXT,
    TIFF,
    WEBP,
    FileType,
    TextCheck,
    detect,
)
from ingest_service.upload_check import MAX_CHUNK_BYTES, Checked, Declared, UploadCheck
from servicekit.errors import FieldInvalid, ServiceError

LIMIT = 8 * 1024


def image(kind: str) -> bytes:
    """A real picture as its library writes it."""
    target = io.BytesIO()
    Image.new("RGB", (9, 7), "orange").save(target, kind)
    return target.getvalue()


def run(
    chunks: list[bytes], *, name: str = "notes", file_size: int = 0, sha256: str = "", limit: int = LIMIT
) -> tuple[bytes, Checked]:
    """Feeds the chunks; returns what would have been stored, and the verdict. Raises ServiceError."""
    check = UploadCheck(Declared("course", name, file_size=file_size, sha256=sha256), limit)
    stored = b"".join([check.feed(chunk) for chunk in chunks])
    rest, checked = check.finish()
    return stored + rest, checked


def refusal(chunks: list[bytes], **declared: object) -> str:
    with pytest.raises(ServiceError) as refused:
        run(chunks, **declared)  # type: ignore[arg-type]
    return errors_pb2.ErrorReason.Name(refused.value.reason).removeprefix("ERROR_REASON_")


def cut(content: bytes, places: list[int]) -> list[bytes]:
    """`content` in chunks that end at the given places (taken within its length); some may be empty."""
    edges = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return [content[start:end] for start, end in pairwise(edges)]


PLACES = st.lists(st.integers(0, 100_000), max_size=12)
#: Contents on both sides of every border: kinds, scripts after much white space, broken and whole UTF-8, control characters.
CONTENTS = st.one_of(
    st.binary(min_size=1, max_size=3_000),
    st.text(min_size=1, max_size=1_500).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(
        lambda head, middle, tail: head + middle + tail,
        st.sampled_from([b"", b"\xef\xbb\xbf", b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", b"II*\0", b"RIFF1234WEBP", b"<ht"]),
        st.one_of(st.integers(0, 1_100), st.integers(1_010, 1_030)).map(lambda count: b" " * count),
        st.sampled_from([b"", b"text", b"<html>", b"<script>x", b"%PDF-1.4", "é".encode(), "é".encode()[:1], b"a\0b"]),
    ),
)


def verdict(chunks: list[bytes]) -> object:
    try:
        return run(chunks)
    except ServiceError as refused:
        return errors_pb2.ErrorReason.Name(refused.reason)


@given(content=CONTENTS, places=PLACES)
@example(content=b" " * HEAD_BYTES + b"<script>alert(1)</script>", places=[HEAD_BYTES])
@example(content="é".encode() * 600, places=[1_023])
def test_verdict_digest_and_bytes_are_the_same_however_the_file_is_cut(content: bytes, places: list[int]) -> None:
    whole = verdict([content])
    assert verdict(cut(content, places)) == whole
    if isinstance(whole, tuple):
        stored, checked = whole
        assert stored == content
        assert checked.file_size == len(content)
        assert checked.sha256 == hashlib.sha256(content).hexdigest()


@given(content=CONTENTS, places=PLACES)
def test_nothing_may_be_stored_before_the_type_is_known(content: bytes, places: list[int]) -> None:
    check = UploadCheck(Declared("course", "notes"), LIMIT)
    fed = 0
    with suppress(ServiceError):
        for chunk in cut(content, places):
            fed += len(chunk)
            assert check.feed(chunk) == b"" or fed >= HEAD_BYTES


def test_one_byte_is_a_file() -> None:
    assert run([b"a"]) == (b"a", Checked(TEXT, 1, hashlib.sha256(b"a").hexdigest()))


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b"", b""]])
def test_no_byte_is_not_a_file(chunks: list[bytes]) -> None:
    assert refusal(chunks) == "FILE_EMPTY"


def test_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_refused_at_that_byte() -> None:
    assert run([b"x" * LIMIT])[1].file_size == LIMIT
    check = UploadCheck(Declared("course", "notes"), LIMIT)
    for _ in range(LIMIT // 1024):
        check.feed(b"x" * 1024)
    with pytest.raises(ServiceError) as refused:
        check.feed(b"x")
    assert refused.value.reason == errors_pb2.ERROR_REASON_FILE_TOO_LARGE
    assert str(LIMIT) in refused.value.message


def test_endless_stream_is_ended_at_the_limit() -> None:
    check = UploadCheck(Declared("course", "notes"), LIMIT)
    taken: list[bytes] = []
    with pytest.raises(ServiceError) as refused:
        taken.extend(check.feed(b"x" * 1000) for _ in count())
    assert refused.value.reason == errors_pb2.ERROR_REASON_FILE_TOO_LARGE
    assert len(b"".join(taken)) <= LIMIT


def test_chunk_over_the_limit_is_refused_and_one_of_exactly_the_limit_taken() -> None:
    limit = 2 * MAX_CHUNK_BYTES
    assert run([b"x" * MAX_CHUNK_BYTES], limit=limit)[1].file_size == MAX_CHUNK_BYTES
    assert refusal([b"x" * (MAX_CHUNK_BYTES + 1)], limit=limit) == "CHUNK_TOO_LARGE"


def test_declared_size_is_held_to_both_sides() -> None:
    assert run([b"abc"], file_size=3)[1].file_size == 3
    assert refusal([b"abc"], file_size=4) == "FILE_SIZE_MISMATCH"
    check = UploadCheck(Declared("course", "notes", file_size=2), LIMIT)
    with pytest.raises(ServiceError) as refused:
        check.feed(b"abc")
    assert refused.value.reason == errors_pb2.ERROR_REASON_FILE_SIZE_MISMATCH, "too many bytes are refused as they come"


def test_declared_digest_is_held() -> None:
    digest = hashlib.sha256(b"abc").hexdigest()
    assert run([b"a", b"bc"], sha256=digest)[1].sha256 == digest
    assert refusal([b"abd"], sha256=digest) == "FILE_SHA256_MISMATCH"


@pytest.mark.parametrize(
    ("kind", "expected"), [("PDF", PDF), ("PNG", PNG), ("JPEG", JPEG), ("TIFF", TIFF), ("WEBP", WEBP)]
)
@pytest.mark.parametrize("name", ["photo.txt", "page.html", "x.md"])
def test_documents_are_told_from_their_content_not_their_name(kind: str, expected: FileType, name: str) -> None:
    content = image(kind)
    assert run([content], name=name) == (content, Checked(expected, len(content), hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"MM\0*\0\0\0\x08", TIFF),
        (b"II+\0\x08\0\0\0", TIFF),
        (b"MM\0+\0\x08\0\0", TIFF),
        (b"\xff\xd8\xff\xe0", JPEG),
        (b"junk before\n%PDF-1.4\n", PDF),
        (b"\0" * (HEAD_BYTES - 7) + b"%PDF-1.", PDF),
        (b"A PDF file begins with %PDF- and its version.", TEXT),
        (b"MZ\x90\0 %PDF-1.7", PDF),
        (b"<html>%PDF-1.7", PDF),
        (b"\x89PNG\r\n\x1a\n %PDF-1.7", PNG),
        (b"\0" * (HEAD_BYTES - 6) + b"%PDF-1.", None),
        (b"RIFF\x24\0\0\0WAVE", None),
        (b"RIFF", TEXT),
        (b"GIF89a\x01\0", None),
        (b"PK\x03\x04\x14\0", None),
        (b"MZ\x90\0\x03\0", None),
        (b"\x7fELF\x02\x01", None),
        (b"%!PS-Adobe-3.0\x04", None),
    ],
)
def test_kind_of_a_head(head: bytes, expected: FileType | None) -> None:
    assert detect(head, "paper.pdf") == expected


@pytest.mark.parametrize(
    "text",
    [
        "plain words",
        "tabs\tand\r\nline ends\nand a page\fbreak",
        "Grüße, 日本語, עברית, 🎓",
        "\ufeffwith a byte order mark",
        "a < b and <3",
        "# heading",
        "see <html> in the middle",
    ],
)
def test_text_is_text_and_markdown_by_its_name(text: str) -> None:
    content = text.encode()
    assert run([content], name="notes.pdf")[1].file_type == TEXT
    for name in ("notes.md", "NOTES.MD", "a.markdown"):
        assert run([content], name=name)[1].file_type == MARKDOWN
    assert run([content], name="notes.md.txt")[1].file_type == TEXT


@pytest.mark.parametrize(
    "start",
    [
        "<!DOCTYPE html>",
        "<html>",
        "<HTML lang=en>",
        "<head>",
        "<body onload=x()>",
        "<script>",
        "<svg xmlns=x>",
        "<?xml version='1.0'?>",
        "<?php",
        "<iframe src=x>",
        "#!/bin/sh",
    ],
)
@pytest.mark.parametrize("before", ["", "\ufeff", " \t\r\n", "\ufeff\n\n  ", " " * 900])
@pytest.mark.parametrize("name", ["notes.txt", "notes.md", "notes.pdf"])
def test_text_that_would_run_is_refused_under_any_name(start: str, before: str, name: str) -> None:
    assert refusal([f"{before}{start} something".encode()], name=name) == "UNSUPPORTED_FILE_TYPE"


@pytest.mark.parametrize(
    "content",
    [
        "café".encode("latin-1"),
        "words".encode("utf-16"),
        "語".encode("shift-jis"),
        b"zero \0 byte",
        b"escape \x1b[31m",
        b"backspace \x08",
        b"delete \x7f",
        b"vertical tab \x0b",
        b"\xc0\xaf overlong",
        b"\xed\xa0\x80 surrogate",
        b"\xf5\x80\x80\x80 beyond unicode",
    ],
)
@pytest.mark.parametrize("where", [0, 10, HEAD_BYTES - 1, HEAD_BYTES, 3 * HEAD_BYTES])
def test_what_is_not_clean_utf8_is_refused_wherever_it_comes(content: bytes, where: int) -> None:
    assert refusal([b"x" * where, content, b"x" * 10]) == "UNSUPPORTED_FILE_TYPE"


@pytest.mark.parametrize("character", ["é", "語", "🎓"])
@pytest.mark.parametrize("before", [0, 5, HEAD_BYTES - 1, HEAD_BYTES, 2 * HEAD_BYTES])
def test_text_that_ends_within_a_character_is_refused(character: str, before: int) -> None:
    whole = b"x" * before + character.encode()
    assert run([whole])[0] == whole
    for missing in range(1, len(character.encode())):
        assert refusal([whole[:-missing]]) == "UNSUPPORTED_FILE_TYPE"


def test_binary_documents_may_hold_any_byte_after_their_head() -> None:
    content = b"%PDF-1.7\n" + bytes(range(256)) * 8
    assert run(cut(content, [3, 9, 1_030]))[0] == content


@given(text=st.text(), places=PLACES)
def test_text_check_agrees_with_decoding_the_whole(text: str, places: list[int]) -> None:
    content = text.encode("utf-8", "surrogatepass")
    try:
        decoded = content.decode()
        clean = not any((ord(char) < 32 and char not in "\t\n\r\f") or ord(char) == 127 for char in decoded)
    except UnicodeDecodeError:
        clean = False
    check = TextCheck()
    fine = all(check.feed(chunk) for chunk in cut(content, places))
    assert (fine and check.feed(b"", last=True)) == clean


def test_declared_fields_are_checked_each_by_its_name() -> None:
    good = Declared("course", "notes.pdf", "request-1", LIMIT, "AB" * 32)
    assert good.validated(LIMIT) == Declared("course", "notes.pdf", "request-1", LIMIT, "ab" * 32)
    bad: list[tuple[Declared, str]] = [
        (Declared("", "n"), "course_id"),
        (Declared("a/b", "n"), "course_id"),
        (Declared("c", ""), "name"),
        (Declared("c", "n" * 256), "name"),
        (Declared("c", "a\nb"), "name"),
        (Declared("c", "n", "r" * 65), "request_id"),
        (Declared("c", "n", "two words"), "request_id"),
        (Declared("c", "n", "line\n"), "request_id"),
        (Declared("c", "n", "é"), "request_id"),
        (Declared("c", "n", file_size=-1), "file_size"),
        (Declared("c", "n", sha256="ab"), "sha256"),
        (Declared("c", "n", sha256="g" * 64), "sha256"),
        (Declared("c", "n", sha256="a" * 64 + "\n"), "sha256"),
    ]
    for declared, field in bad:
        with pytest.raises(FieldInvalid) as refused:
            declared.validated(LIMIT)
        assert refused.value.field == field


def test_declared_size_over_the_limit_is_refused_before_any_byte() -> None:
    with pytest.raises(ServiceError) as refused:
        Declared("c", "n", file_size=LIMIT + 1).validated(LIMIT)
    assert refused.value.reason == errors_pb2.ERROR_REASON_FILE_TOO_LARGE


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\windows\\x.pdf", "<b>.pdf", "a%00.pdf", '"; rm -rf /'])
def test_names_are_only_names(name: str) -> None:
    assert Declared("c", name).validated(LIMIT).name == name
