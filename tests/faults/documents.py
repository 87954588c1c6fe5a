"""What is uploaded: small, real, and told apart by a mark in the text."""

from __future__ import annotations

import io
import uuid

from PIL import Image, ImageDraw, ImageFont

SUBJECTS = [
    "osmosis through cell walls",
    "the water cycle",
    "prime numbers",
    "the French revolution",
    "plate tectonics",
]


def new_mark() -> str:
    """A word no other document holds."""
    return f"mark{uuid.uuid4().hex[:10]}"


def note(mark: str) -> bytes:
    """A text file of one short passage."""
    subject = SUBJECTS[int(mark[-1], 16) % len(SUBJECTS)]
    return f"Notes on {subject} ({mark}).\n\nWhat was said in the lecture about {subject} is kept here.\n".encode()


def long_note(mark: str, passages: int) -> bytes:
    """A text file of about so many passages: one page, several embeddings."""
    sentences = [
        f"Sentence {n} of {mark} speaks of {SUBJECTS[n % len(SUBJECTS)]} at some length, so that it fills its place. "
        for n in range(passages * 12)
    ]
    return "\n\n".join("".join(sentences[n : n + 12]) for n in range(0, len(sentences), 12)).encode()


def scan(mark: str, pages: int = 3) -> bytes:
    """A TIFF of small pages, each a picture of two lines of text: the Brain has to read it."""
    font = ImageFont.load_default(40)
    frames = []
    for number in range(1, pages + 1):
        page = Image.new("L", (900, 260), 250)
        draw = ImageDraw.Draw(page)
        draw.text((40, 40), f"Page {number} of {mark}", fill=20, font=font)
        draw.text((40, 130), f"about {SUBJECTS[number % len(SUBJECTS)]}", fill=20, font=font)
        frames.append(page)
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw")
    return buffer.getvalue()


def padded_image(mark: str, size: int) -> bytes:
    """A PNG of one line of text and of `size` bytes: what follows its end means nothing."""
    page = Image.new("L", (700, 140), 250)
    ImageDraw.Draw(page).text((40, 40), f"Page of {mark}", fill=20, font=ImageFont.load_default(40))
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue().ljust(size, b"\x00")
