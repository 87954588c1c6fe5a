"""The local Brain as a process, what it is given to read, and its two calls."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

START_SECONDS = 60
PROMPT = {"prompt": "Extract all text"}


@contextmanager
def started_brain(log: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A Brain on a free port, given as its process and a client, once it answers; killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local_brain", "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            deadline = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                try:
                    client.get("/")
                    break
                except httpx.ConnectError:
                    time.sleep(0.05)
            yield process, client
    finally:
        process.kill()
        process.wait()


def picture(*lines: str, size: tuple[int, int] = (900, 260)) -> Image.Image:
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for row, text in enumerate(lines):
        draw.text((40, 40 + 60 * row), text, fill="black", font=ImageFont.load_default(36))
    return page


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def pdf(*pages: str, password: str | None = None) -> bytes:
    document = FPDF(format="A4")
    document.set_font("Helvetica", size=16)
    for text in pages:
        document.add_page()
        document.multi_cell(0, 10, text)
    if password:
        document.set_encryption(owner_password="owner", user_password=password)
    return bytes(document.output())


def read(brain: httpx.Client, data: bytes, *, name: str = "page.png", content_type: str = "image/png") -> str:
    reply = brain.post("/router", data=PROMPT, files={"image": (name, data, content_type)})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert set(body) == {"response", "model"}
    assert isinstance(body["response"], str)
    assert isinstance(body["model"], str)
    return str(body["response"])


def embedding(brain: httpx.Client, text: str) -> list[float]:
    reply = brain.post("/utility/embed", params={"text": text})
    assert reply.status_code == 200, reply.text
    numbers = reply.json()["embedding"]
    assert isinstance(numbers, list)
    return numbers
