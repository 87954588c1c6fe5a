"""What is handed on of a PNG: the same picture, and nothing else that was in the file."""

from __future__ import annotations

import io

import pytest
from PIL import Image, PngImagePlugin

from processor_service.documents.png_chunks import SIGNATURE, bare_png


def stored(mode: str) -> bytes:
    told = PngImagePlugin.PngInfo()
    told.add_text("Author", "somebody", zip=False)
    file = io.BytesIO()
    Image.effect_noise((40, 30), 90).convert(mode).save(file, "PNG", pnginfo=told, dpi=(300, 300))
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_picture_is_the_same_and_what_is_told_about_it_is_gone(mode: str) -> None:
    content = stored(mode)
    bare = bare_png(content + b"what stands behind the end")
    assert bare is not None
    assert b"somebody" in content
    assert b"somebody" not in bare
    assert b"behind" not in bare
    picture = Image.open(io.BytesIO(bare))
    assert picture.tobytes() == Image.open(io.BytesIO(content)).tobytes()
    assert "dpi" not in picture.info


def test_what_is_damaged_cut_off_or_no_png_is_not_handed_on() -> None:
    content = stored("L")
    pixels = content.index(b"IDAT") + 20
    assert bare_png(content[:pixels] + bytes([content[pixels] ^ 1]) + content[pixels + 1 :]) is None
    for length in (len(SIGNATURE), pixels, len(content) - 1):
        assert bare_png(content[:length]) is None
    assert bare_png(b"GIF89a" + content) is None
