"""An upload's size is no service's memory, and none of it is the gateway's disk."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

import httpx
import psutil
import pytest

from tests.local_stack import LocalStack

MIB = 1024 * 1024


class PeakMemory:
    """The largest resident memory of a process while it is watched, over what it had before."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._base = self.peak = self._process.memory_info().rss
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self.peak - self._base

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, self._process.memory_info().rss)


@pytest.mark.parametrize("chunk_kib", [64, 256, 1024])
async def test_a_file_of_90_mib_costs_ingest_less_than_32_mib(stack: LocalStack, course: str, chunk_kib: int) -> None:
    content = b"%PDF-1.7\n" + os.urandom(90 * MIB)
    async with stack.client() as client:
        # What the first upload of a process costs once (code, buffers) is not what a large one costs.
        await asyncio.gather(*[client.upload(b"%PDF-1.7\n" + os.urandom(MIB), course=course) for _ in range(2)])
        with PeakMemory(stack.current()["pids"]["ingest"]) as memory:
            material = await client.upload(content, course=course, name="large.pdf", chunk_bytes=chunk_kib * 1024)
    assert material.file_size == len(content)
    assert memory.growth < 32 * MIB


async def form(content: bytes) -> AsyncIterator[bytes]:
    """A multipart form as browsers send it, in pieces as sockets bring them."""
    yield b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="large.pdf"\r\n\r\n'
    for start in range(0, len(content), 64 * 1024):
        yield content[start : start + 64 * 1024]
    yield b"\r\n--boundary--\r\n"


async def test_a_file_of_90_mib_over_http_costs_gateway_and_ingest_less_than_32_mib_and_no_disk(
    stack: LocalStack, course: str
) -> None:
    pids = stack.current()["pids"]
    headers = {
        "Authorization": f"Bearer {stack.facts['token']}",
        "Content-Type": "multipart/form-data; boundary=boundary",
    }
    url = f"http://{stack.facts['gateway']}/courses/{course}/materials"
    content = b"%PDF-1.7\n" + os.urandom(90 * MIB)
    async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
        for _ in range(2):
            (await http.post(url, content=form(content[: MIB + 1]), headers=headers)).raise_for_status()
        written = psutil.Process(pids["gateway"]).io_counters().write_bytes
        with PeakMemory(pids["gateway"]) as gateway, PeakMemory(pids["ingest"]) as ingest:
            answer = await http.post(url, content=form(content), headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["file_size"] == len(content)
    assert gateway.growth < 32 * MIB
    assert ingest.growth < 32 * MIB
    assert psutil.Process(pids["gateway"]).io_counters().write_bytes - written < MIB  # its log
