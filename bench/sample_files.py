"""Files to upload: each a page's image of the given size that every reader opens, no two the same."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

from PIL import Image

UNIQUE_BYTES = 16
#: A page at low resolution: cheap to open, so that what is around the reading is measured.
WIDTH, HEIGHT = 320, 440


def page_image(seed: int = 1) -> bytes:
    """A small PNG with one band of noise, about 3 KiB."""
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    image.paste(Image.frombytes("L", (WIDTH, 8), random.Random(seed).randbytes(WIDTH * 8)), (0, 20))
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def unique_files(size: int, seed: int | None = None) -> Callable[[], bytes]:
    """Makes a PNG of `size` bytes, another at each call: behind the image's end, where readers do not look, are random bytes, the last few ever new.

    Raises ValueError when `size` is less than the image takes."""
    numbers = random.Random(seed)
    image = page_image()
    if size < len(image) + UNIQUE_BYTES:
        raise ValueError(f"a file has {len(image) + UNIQUE_BYTES} bytes at least")
    constant = image + numbers.randbytes(size - len(image) - UNIQUE_BYTES)
    return lambda: constant + numbers.randbytes(UNIQUE_BYTES)
