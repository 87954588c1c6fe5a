"""A page as a picture, and what scanners and cameras do to it.

A picture is a grey array of shape (height, width), 8 bits, with paper 255 and ink 0 before it is spoiled. What is random
follows from a seed.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
import pypdfium2
from PIL import Image

Picture = npt.NDArray[np.uint8]


def drawn(pdf: bytes, dpi: int) -> Picture:
    """The first page of a PDF."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        bitmap = document[0].render(scale=dpi / 72, grayscale=True)
        return np.array(bitmap.to_pil().convert("L"))
    finally:
        document.close()


def skewed(picture: Picture, degrees: float) -> Picture:
    """Turned counter-clockwise on white; the paper grows, so that nothing is cut off."""
    turned = Image.fromarray(picture).rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    return np.array(turned)


def turned(picture: Picture, quarters: int) -> Picture:
    """Turned counter-clockwise by so many times 90 degrees."""
    return np.ascontiguousarray(np.rot90(picture, quarters))


def noisy(picture: Picture, seed: int, *, spread: float, specks: float = 0.0) -> Picture:
    """Grey noise of a standard deviation, and a share of pixels that are dust, black or white."""
    random = np.random.default_rng(seed)
    grey = picture.astype(np.float32) * 0.85 + 20 + random.normal(0, spread, picture.shape).astype(np.float32)
    dust = random.random(picture.shape)
    grey[dust < specks / 2] = 0
    grey[dust > 1 - specks / 2] = 255
    return np.clip(grey, 0, 255).astype(np.uint8)


def unevenly_lit(picture: Picture) -> Picture:
    """Lit from the upper left, down to two fifths of the light at the lower right."""
    height, width = picture.shape
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    light = 1 - 0.6 * (0.6 * across + 0.4 * down) ** 1.3
    return (picture * light).astype(np.uint8)


def faded(picture: Picture, *, ink: int, paper: int) -> Picture:
    """With ink and paper of these greys; ink may be the lighter of the two."""
    return (ink + picture.astype(np.float32) / 255 * (paper - ink)).astype(np.uint8)


def blurred(picture: Picture, radius: float) -> Picture:
    """Out of focus by a Gaussian of `radius` pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), radius), dtype=np.uint8)


def two_tone(picture: Picture) -> Picture:
    """As a fax has it: black or white."""
    return np.where(picture < 150, 0, 255).astype(np.uint8)


def png_bytes(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def jpeg_bytes(picture: Picture, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
