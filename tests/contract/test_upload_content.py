"""The type of an upload is told from its bytes; its name is text and nothing else."""

from __future__ import annotations

import pytest

from tests.contract.refusals import refused
from tests.contract.uploads import MIB, TEXT, Ingest, chunk, metadata


class TestContent:
    @pytest.mark.parametrize(
        "content",
        [
            b"MZ\x90\x00" + b"\0" * 100,
            b"\x7fELF" + b"\0" * 100,
            b"PK\x03\x04" + b"\0" * 100,
            b"\x1f\x8b\x08" + b"\0" * 100,
            b"GIF89a" + b"\0" * 100,
            b"<!DOCTYPE html><script>alert(1)</script>",
            b"\xef\xbb\xbf  <HTML><body>",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"<?xml version='1.0'?><a/>",
            b"<?php system('id');",
            b"#!/bin/sh\nid\n",
            b"\xff\xfea\0b\0",
            b"caf\xe9 in Latin-1",
            b"x" * 2_000 + b"%PDF-1.7\n\x00",
            b"a" * 1_500_000 + b"\x00",
            b"a" * 1_500_000 + b"\xc3",
            b"\xc3" * 10,
            b"RIFF\0\0\0\0AVI LIST",
        ],
        ids=lambda content: repr(content[:24]),
    )
    async def test_unsupported_content_whatever_its_name_says(
        self, ingest: Ingest, course: str, content: bytes
    ) -> None:
        chunks = [chunk(content[start : start + MIB]) for start in range(0, len(content), MIB)]
        async with ingest.leaves_no_trace(course):
            for name in ("notes.txt", "scan.pdf"):
                with refused("INVALID_ARGUMENT", "UNSUPPORTED_FILE_TYPE"):
                    await ingest.upload(metadata(course, name=name), *chunks)

    @pytest.mark.parametrize(
        ("content", "name", "file_type", "media_type"),
        [
            (b"%PDF-1.7\n\x00binary", "a.txt", "pdf", "application/pdf"),
            (b"junk\n" * 100 + b"%PDF-1.4\n", "a", "pdf", "application/pdf"),
            (b"\x89PNG\r\n\x1a\n\0", "a.pdf", "png", "image/png"),
            (b"\xff\xd8\xff\xe0\0", "a.png", "jpeg", "image/jpeg"),
            (b"II*\0\x08", "a.tif", "tiff", "image/tiff"),
            (b"MM\0*\0", "a.tif", "tiff", "image/tiff"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a", "webp", "image/webp"),
            ("Grüße, 世界\n".encode(), "a.pdf", "text", "text/plain"),
            (b"# Title\n", "a.MD", "markdown", "text/markdown"),
            (b"\xef\xbb\xbftext with a mark", "a.txt", "text", "text/plain"),
        ],
        ids=lambda value: repr(value)[:24],
    )
    async def test_type_is_told_from_content(
        self, ingest: Ingest, course: str, content: bytes, name: str, file_type: str, media_type: str
    ) -> None:
        for chunk_bytes in (1, len(content)):
            chunks = [chunk(content[start : start + chunk_bytes]) for start in range(0, len(content), chunk_bytes)]
            material = await ingest.upload(metadata(course, name=name), *chunks)
            assert (material.file_type, material.media_type) == (file_type, media_type)

    @pytest.mark.parametrize(
        "name",
        [
            "../../etc/passwd",
            "C:\\windows\\system32\\x",
            "<img src=x onerror=alert(1)>",
            "a" * 255,
            "世" * 255,
            "-rf",
            "'; --",
        ],
    )
    async def test_odd_names_are_kept_as_text_and_never_are_a_path(
        self, ingest: Ingest, course: str, name: str
    ) -> None:
        material = await ingest.upload(metadata(course, name=name), chunk(TEXT))
        assert material.name == name
        assert material.file_path == f"objects/{material.id[:2]}/{material.id}"
        assert (ingest.bare.objects / material.file_path).read_bytes() == TEXT
