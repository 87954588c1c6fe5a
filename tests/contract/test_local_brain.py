"""The local Brain keeps the AI Brain's contract: the real server as a process, over HTTP, with its real models."""

from __future__ import annotations

import asyncio
import io
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from single_node.samples import Sample, write_samples

START_SECONDS = 60
PROMPT = {"prompt": "Extract all text"}


@contextmanager
def brain(log: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
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


@pytest.fixture(scope="session")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("brain") / "brain.log"


@pytest.fixture(scope="session")
def client(log_file: Path) -> Iterator[httpx.Client]:
    with brain(log_file) as (_, http):
        yield http


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def readings(client: httpx.Client, samples: list[Sample]) -> list[str]:
    """What the Brain reads in each sample."""
    kinds = {".pdf": "application/pdf", ".png": "image/png"}
    return [
        read(client, sample.path.read_bytes(), name=sample.path.name, content_type=kinds[sample.path.suffix])
        for sample in samples
    ]


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


def read(client: httpx.Client, data: bytes, *, name: str = "page.png", content_type: str = "image/png") -> str:
    reply = client.post("/router", data=PROMPT, files={"image": (name, data, content_type)})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert set(body) == {"response", "model"}
    assert isinstance(body["response"], str)
    assert isinstance(body["model"], str)
    return str(body["response"])


def embedding(client: httpx.Client, text: str) -> list[float]:
    reply = client.post("/utility/embed", params={"text": text})
    assert reply.status_code == 200, reply.text
    numbers = reply.json()["embedding"]
    assert isinstance(numbers, list)
    return numbers


def cosine(one: list[float], other: list[float]) -> float:
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_the_status_page_says_active_in_the_contracts_form(client: httpx.Client) -> None:
    body = client.get("/").json()
    assert body["status"] == "Active"
    assert body["mode"] == "local"
    assert isinstance(body["core_model"], str)
    assert body["models"] in {"loading", "ready"}


def test_calls_that_come_while_the_models_load_wait_for_them(tmp_path: Path) -> None:
    with brain(tmp_path / "log") as (_, http):
        assert "photosynthesis" in read(http, encoded(picture("photosynthesis"), "PNG"))
        assert http.get("/").json()["models"] == "ready"


def test_a_born_digital_pdf_is_read_page_by_page_and_joined(readings: list[str]) -> None:
    found = re.fullmatch(r"--- Page 1 ---\n(.+)\n\n--- Page 2 ---\n(.+)", readings[0], re.DOTALL)
    assert found is not None, readings[0]
    first, second = (" ".join(page.split()) for page in found.groups())
    assert "The oxygen that is released comes from the water, not from the carbon dioxide." in first
    assert "yeast turns it into ethanol and carbon dioxide, which is what makes bread rise." in second


def test_a_scanned_page_is_read_with_its_paragraphs(readings: list[str]) -> None:
    paragraphs = [" ".join(part.split()) for part in readings[1].split("\n\n")]
    assert paragraphs[0] == "Bayes' theorem"
    assert (
        "A disease affects one person in a hundred. A test finds 90 percent of those who have it, and gives a false "
        "alarm for 9 percent of those who are healthy. A randomly chosen person tests positive. How likely is it that "
        "this person is ill?"
    ) in paragraphs


def test_a_pdf_is_known_by_its_name_alone_and_by_its_type_alone(client: httpx.Client) -> None:
    data = pdf("osmosis moves water")
    assert (
        read(client, data, name="a.PDF", content_type="application/octet-stream")
        == "--- Page 1 ---\nosmosis moves water"
    )
    assert read(client, data, name="a", content_type="application/pdf") == "--- Page 1 ---\nosmosis moves water"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_pictures_of_every_usual_format_are_read(client: httpx.Client, file_format: str) -> None:
    data = encoded(picture("mitochondria"), file_format)
    content_type = f"image/{file_format.lower()}"
    assert read(client, data, name=f"x.{file_format.lower()}", content_type=content_type) == "mitochondria"


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_usual_colour_mode_are_read(client: httpx.Client, mode: str) -> None:
    if mode == "I;16":
        grey = np.asarray(picture("membrane").convert("L")).astype(np.uint16) * 257
        data = encoded(Image.fromarray(grey), "TIFF")
    else:
        data = encoded(picture("membrane").convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    assert read(client, data) == "membrane"


def test_black_text_on_a_transparent_ground_is_read(client: httpx.Client) -> None:
    opaque = picture("stroma").convert("L")
    data = encoded(Image.merge("LA", (Image.new("L", opaque.size, 0), opaque.point(lambda value: 255 - value))), "PNG")
    assert read(client, data) == "stroma"


def test_a_photo_is_turned_upright_as_its_exif_data_says(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise for display
    sideways = picture("thylakoid").transpose(Image.Transpose.ROTATE_90)
    assert read(client, encoded(sideways, "JPEG", exif=exif.tobytes())) == "thylakoid"


def test_a_page_scanned_upside_down_is_read_in_order(client: httpx.Client) -> None:
    page = picture("first the light reactions", "then the Calvin cycle", "and last the sugar").rotate(180)
    assert read(client, encoded(page, "PNG")).split("\n") == [
        "first the light reactions",
        "then the Calvin cycle",
        "and last the sugar",
    ]


def test_every_frame_of_a_tiff_is_a_page(client: httpx.Client) -> None:
    frames = [picture("one page"), picture("another page")]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert read(client, data) == "--- Page 1 ---\none page\n\n--- Page 2 ---\nanother page"


def test_a_blank_page_is_a_success_with_empty_text(client: httpx.Client) -> None:
    assert read(client, encoded(Image.new("RGB", (1240, 1754), "white"), "PNG")) == ""
    assert read(client, pdf("lysosomes digest waste", ""), content_type="application/pdf") == (
        "--- Page 1 ---\nlysosomes digest waste\n\n--- Page 2 ---\n"
    )


@pytest.mark.parametrize(
    ("data", "content_type", "why"),
    [
        (b"not a picture", "image/png", "not a picture"),
        (b"", "image/png", "not a picture"),
        (encoded(picture("cut"), "PNG")[:400], "image/png", "damaged"),
        (b"%PDF-1.7\nbroken", "application/pdf", "not a PDF or is damaged"),
        (b"", "application/pdf", "not a PDF or is damaged"),
        (pdf("secret", password="pass"), "application/pdf", "encrypted"),
        (encoded(Image.new("1", (20_000, 8_000)), "PNG"), "image/png", "20000 x 8000 pixels"),
    ],
    ids=["text", "nothing", "cut picture", "broken pdf", "empty pdf", "encrypted pdf", "too many pixels"],
)
def test_a_file_that_cannot_be_read_is_a_200_that_says_why(
    client: httpx.Client, data: bytes, content_type: str, why: str
) -> None:
    response = read(client, data, name="file", content_type=content_type)
    assert response.startswith("Error processing file: ")
    assert why in response


def test_a_missing_field_is_a_422_that_names_it(client: httpx.Client) -> None:
    image = {"image": ("page.png", encoded(picture("x"), "PNG"), "image/png")}
    for reply, field in [
        (client.post("/router", files=image), "prompt"),
        (client.post("/router"), "prompt"),
        (client.post("/router", data={**PROMPT, "image": "no file"}), "image"),
        (client.post("/utility/embed"), "text"),
        (client.post("/utility/embed", json={"text": "in the body"}), "text"),
        (client.post("/utility/embed", params={"text": " "}), "text"),
    ]:
        assert reply.status_code == 422
        assert reply.json()["detail"][0]["loc"][-1] == field


def test_unknown_paths_and_methods_are_refused(client: httpx.Client) -> None:
    assert client.get("/nowhere").status_code == 404
    assert client.get("/router").status_code == 405


def test_a_request_over_the_size_limit_is_a_413_declared_or_not(client: httpx.Client) -> None:
    megabyte = b"0" * 2**20

    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(80):
            yield megabyte

    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    # A server may close before it has read all that is sent; the answer may then be lost, which is as good.
    for content in (megabyte * 65, endless()):
        try:
            assert client.post("/router", content=content, headers=multipart).status_code == 413
        except (httpx.WriteError, httpx.RemoteProtocolError):
            continue
    assert client.get("/").status_code == 200


def test_embeddings_are_unit_vectors_padded_with_zeros(client: httpx.Client) -> None:
    numbers = embedding(client, "Photosynthesis stores light as sugar.")
    assert len(numbers) == 1024
    assert math.isclose(math.fsum(number * number for number in numbers), 1.0, rel_tol=1e-4)
    assert any(numbers[:384])
    assert not any(numbers[384:])


def test_paraphrases_lie_nearer_than_other_subjects(client: httpx.Client) -> None:
    one = embedding(client, "Plants turn sunlight into chemical energy by photosynthesis.")
    same = embedding(client, "In photosynthesis, the energy of light is stored by green leaves.")
    other = embedding(client, "The parliament passed a law on the taxation of companies.")
    assert cosine(one, same) > 0.5
    assert cosine(one, other) < 0.2
    assert cosine(one, embedding(client, "Plants turn sunlight into chemical energy by photosynthesis.")) > 0.9999


def test_a_text_longer_than_the_model_reads_is_embedded(client: httpx.Client) -> None:
    assert len(embedding(client, "light and sugar " * 1000)) == 1024
    assert len(embedding(client, "光合作用" * 400)) == 1024


def test_the_demos_questions_find_their_pages(client: httpx.Client, samples: list[Sample], readings: list[str]) -> None:
    passages = [
        (sample.path, number, passage)
        for sample, reading in zip(samples, readings, strict=True)
        for number, page in enumerate(
            re.split(r"--- Page \d+ ---\n", reading.removeprefix("--- Page 1 ---\n")), start=1
        )
        for passage in page.split("\n\n")
        if passage.strip()
    ]
    vectors = [embedding(client, passage) for _, _, passage in passages]
    for sample in samples:
        asked = embedding(client, sample.question)
        path, page, text = max(zip(passages, vectors, strict=True), key=lambda pair: cosine(asked, pair[1]))[0]
        assert (path, page) == (sample.path, sample.expected_page)
        assert any(word in text.lower() for word in sample.expected_words)
        assert not any(word in sample.question.lower() for word in sample.expected_words)


def test_a_prompt_alone_is_answered_from_its_context_and_says_how(client: httpx.Client) -> None:
    prompt = (
        "Answer from the context only.\n\nContext:\n[1] The Calvin cycle takes place in the stroma.\n"
        "[2] Yeast turns pyruvate into ethanol.\n\nQuestion: Where does the Calvin cycle happen?"
    )
    body = client.post("/router", data={"prompt": prompt}).json()
    assert body["response"] == "The Calvin cycle takes place in the stroma. [1]"
    assert body["model"].startswith("extractive/")


def test_embeddings_do_not_wait_for_pages_that_are_being_read(client: httpx.Client) -> None:
    long_document = pdf(*["the quick brown fox jumps over the lazy dog " * 12] * 2)
    finished: list[str] = []

    def read_long_document() -> None:
        read(client, long_document, content_type="application/pdf")
        finished.append("reading")

    reader = threading.Thread(target=read_long_document)
    reader.start()
    for number in range(10):
        embedding(client, f"passage {number}")
    finished.append("embedding")
    reader.join()
    assert finished == ["embedding", "reading"]


async def test_callers_beyond_the_queue_are_told_when_to_come_back(client: httpx.Client) -> None:
    page = encoded(picture("chloroplast"), "PNG")
    async with httpx.AsyncClient(base_url=client.base_url, timeout=120, trust_env=False) as http:

        async def call() -> httpx.Response:
            return await http.post("/router", data=PROMPT, files={"image": ("page.png", page, "image/png")})

        calls = [asyncio.create_task(call()) for _ in range(80)]
        try:
            async for reply in _as_they_come(calls):
                if reply.status_code == 429:
                    break
                assert reply.status_code == 200
            else:
                pytest.fail("no call was refused")
        finally:
            for waiting in calls:
                waiting.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    assert int(reply.headers["Retry-After"]) > 0
    assert isinstance(reply.json()["detail"], str)


async def _as_they_come(calls: list[asyncio.Task[httpx.Response]]) -> AsyncIterator[httpx.Response]:
    for call in asyncio.as_completed(calls):
        yield await call


def test_work_of_a_caller_that_hung_up_is_dropped(client: httpx.Client, log_file: Path) -> None:
    document = pdf(*["the quick brown fox jumps over the lazy dog " * 12] * 200)
    files = {"image": ("long.pdf", document, "application/pdf")}
    with pytest.raises(httpx.ReadTimeout):
        client.post("/router", data=PROMPT, files=files, timeout=httpx.Timeout(60, read=0.5))
    # The lane takes one document at a time: this answer within the client's time-out means that the other was left.
    assert read(client, encoded(picture("glucose"), "PNG")) == "glucose"
    assert "has gone" in log_file.read_text()


def test_no_text_of_a_caller_reaches_the_log(client: httpx.Client, log_file: Path) -> None:
    embedding(client, "heliotropism of the sunflower")
    read(client, encoded(picture("heliotropism"), "PNG"), name="heliotropism.png")
    assert "heliotropism" not in log_file.read_text()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_a_page_is_clean(tmp_path: Path, signum: signal.Signals) -> None:
    log = tmp_path / "log"
    with brain(log) as (process, http):
        embedding(http, "ready")
        document = pdf(*["the quick brown fox jumps over the lazy dog " * 12] * 200)
        files = {"image": ("long.pdf", document, "application/pdf")}
        with pytest.raises(httpx.ReadTimeout):
            http.post("/router", data=PROMPT, files=files, timeout=httpx.Timeout(60, read=1))
        call = threading.Thread(target=lambda: _ignore_cut(http, files))
        call.start()
        process.send_signal(signum)
        assert process.wait(timeout=30) == 0
        call.join()
    assert "Traceback" not in log.read_text()


def _ignore_cut(http: httpx.Client, files: dict[str, tuple[str, bytes, str]]) -> None:
    try:
        http.post("/router", data=PROMPT, files=files)
    except httpx.TransportError:
        return


def test_a_size_other_than_the_default_is_honoured(tmp_path: Path) -> None:
    with brain(tmp_path / "log", EMBEDDING_DIMENSIONS="384") as (_, http):
        numbers = embedding(http, "no room for zeros")
        assert len(numbers) == 384
        assert all(numbers)
        assert http.get("/").json()["embedding_dimensions"] == 384


@pytest.mark.parametrize("dimensions", ["100", "-1", "many", "99999999"])
def test_a_size_the_model_cannot_give_stops_the_start_with_both_numbers(dimensions: str) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "local_brain", "--port", "0"],
        env={**os.environ, "EMBEDDING_DIMENSIONS": dimensions},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert started.returncode == 2
    assert dimensions in started.stderr
    assert "384" in started.stderr
    assert "Traceback" not in started.stderr


def test_a_port_in_use_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        started = subprocess.run(
            [sys.executable, "-m", "local_brain", "--port", port],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    assert started.returncode == 1
    assert f"127.0.0.1:{port}" in started.stderr
    assert "Traceback" not in started.stderr
