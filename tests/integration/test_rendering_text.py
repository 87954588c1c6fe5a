"""Small text files are read without a child process, larger ones in one; the pages are the same either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from processor_service.documents.rendering import (
    MAX_OWN_TEXT_BYTES,
    DocumentError,
    DocumentReason,
    DocumentRenderer,
    RenderedPage,
    RenderLimits,
)

File = Callable[[bytes], Path]
PARAGRAPH = "Gletscher formen Täler. " * 20 + "\n\n"


async def pages_of(path: Path, media_type: str = "text/plain") -> tuple[list[RenderedPage], bool]:
    """All pages, and whether a child was started for them."""
    async with DocumentRenderer() as renderer:
        info = await renderer.open(path, media_type)
        pages = [await renderer.render(number) for number in range(info.pages)]
        return pages, renderer.child_pid is not None


@pytest.mark.parametrize("media_type", ["text/plain", "text/markdown"])
async def test_a_small_text_file_starts_no_child(file: File, media_type: str) -> None:
    text = PARAGRAPH * 20
    pages, child = await pages_of(file(text.encode()), media_type)
    assert not child
    assert len(pages) > 1
    assert "".join(page.text or "" for page in pages) == text


async def test_a_larger_text_file_is_read_in_a_child_and_its_pages_are_the_same(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = PARAGRAPH.encode() * (MAX_OWN_TEXT_BYTES // len(PARAGRAPH.encode()) + 1)
    pages, child = await pages_of(file(content))
    assert child
    monkeypatch.setattr("processor_service.documents.rendering.MAX_OWN_TEXT_BYTES", len(content))
    assert await pages_of(file(content)) == (pages, False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"caf\xe9", DocumentReason.FILE_CORRUPT, id="not UTF-8"),
        pytest.param(b"\f" * 100, DocumentReason.TOO_MANY_PAGES, id="many blank pages"),
    ],
)
@pytest.mark.parametrize("own_bytes", [MAX_OWN_TEXT_BYTES, 0], ids=["own", "child"])
async def test_a_bad_text_file_is_refused_alike_with_and_without_a_child(
    file: File, content: bytes, reason: DocumentReason, own_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor_service.documents.rendering.MAX_OWN_TEXT_BYTES", own_bytes)
    async with DocumentRenderer(RenderLimits(max_pages=50)) as renderer:
        with pytest.raises(DocumentError) as refused:
            await renderer.open(file(content), "text/plain")
    assert (refused.value.reason, refused.value.permanent) == (reason, True)
