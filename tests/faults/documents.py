"""What is uploaded: small, real, and told apart by a mark in the text."""

from __future__ import annotations

import io
import random
import uuid
import zlib

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


def noise(side: int) -> bytes:
    """A TIFF of one page that packs into no fewer than `side` squared bytes."""
    buffer = io.BytesIO()
    Image.frombytes("L", (side, side), random.randbytes(side * side)).save(buffer, "TIFF")
    return buffer.getvalue()


def bomb(mebibytes: int) -> bytes:
    """A PDF of a few KiB: what is to be drawn on its only page inflates, twice packed, to so many MiB."""
    content = zlib.compress(_deflated_zeros(mebibytes), 9)
    head = b"<</Filter[/FlateDecode/FlateDecode]/Length %d>>" % len(content)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R>>",
        head + b"stream\n" + content + b"\nendstream",
    ]
    pdf, offsets = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(pdf))
        pdf += b"%d 0 obj\n" % number + each + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(pdf)
    pdf += b"xref\n0 5\n0000000000 65535 f \n" + table
    return pdf + b"trailer<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % start


def _deflated_zeros(mebibytes: int) -> bytes:
    """A zlib stream of zeros, made without packing them all: after a full flush the same block follows again."""
    packer = zlib.compressobj(9)
    block = packer.compress(bytes(1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = (mebibytes * 1024 * 1024 % 65_521) << 16 | 1  # Adler-32 of zeros
    return block[:2] + block[2:] * mebibytes + b"\x03\x00" + checksum.to_bytes(4, "big")
