"""The local Brain as a process: how it starts and stops, what waits for what, and what it logs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.contract.started_brain import PROMPT, START_SECONDS, embedding, encoded, pdf, picture, read, started_brain


def test_the_status_page_says_active_in_the_contracts_form(brain: httpx.Client) -> None:
    body = brain.get("/").json()
    assert body["status"] == "Active"
    assert body["mode"] == "local"
    assert isinstance(body["core_model"], str)
    assert body["models"] in {"loading", "ready"}


def test_calls_that_come_while_the_models_load_wait_for_them(tmp_path: Path) -> None:
    with started_brain(tmp_path / "log") as (_, http):
        assert "photosynthesis" in read(http, encoded(picture("photosynthesis"), "PNG"))
        assert http.get("/").json()["models"] == "ready"


def test_embeddings_do_not_wait_for_pages_that_are_being_read(brain: httpx.Client) -> None:
    long_document = pdf(*["the quick brown fox jumps over the lazy dog " * 12] * 2)
    finished: list[str] = []

    def read_long_document() -> None:
        read(brain, long_document, content_type="application/pdf")
        finished.append("reading")

    reader = threading.Thread(target=read_long_document)
    reader.start()
    for number in range(10):
        embedding(brain, f"passage {number}")
    finished.append("embedding")
    reader.join()
    assert finished == ["embedding", "reading"]


async def test_callers_beyond_the_queue_are_told_when_to_come_back(brain: httpx.Client) -> None:
    page = encoded(picture("chloroplast"), "PNG")
    async with httpx.AsyncClient(base_url=brain.base_url, timeout=120, trust_env=False) as http:

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


def test_work_of_a_caller_that_hung_up_is_dropped(brain: httpx.Client, brain_log: Path) -> None:
    document = pdf(*["the quick brown fox jumps over the lazy dog " * 12] * 200)
    files = {"image": ("long.pdf", document, "application/pdf")}
    with pytest.raises(httpx.ReadTimeout):
        brain.post("/router", data=PROMPT, files=files, timeout=httpx.Timeout(60, read=0.5))
    # The lane takes one document at a time: this answer within the brain's time-out means that the other was left.
    assert read(brain, encoded(picture("glucose"), "PNG")) == "glucose"
    assert "has gone" in brain_log.read_text()


def test_no_text_of_a_caller_reaches_the_log(brain: httpx.Client, brain_log: Path) -> None:
    embedding(brain, "heliotropism of the sunflower")
    read(brain, encoded(picture("heliotropism"), "PNG"), name="heliotropism.png")
    assert "heliotropism" not in brain_log.read_text()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_a_page_is_clean(tmp_path: Path, signum: signal.Signals) -> None:
    log = tmp_path / "log"
    with started_brain(log) as (process, http):
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
    with started_brain(tmp_path / "log", EMBEDDING_DIMENSIONS="384") as (_, http):
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
