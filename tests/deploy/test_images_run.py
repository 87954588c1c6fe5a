"""The images run as they do in a pod of the restricted profile, and together take an upload from the browser's call to a search result."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from deploy.images.sources import SERVICES
from single_node.samples import Sample, write_samples
from tests.deploy.built_images import BuiltImage
from tests.deploy.image_stack import ImageStack, image_stack
from tests.local_stack import LocalStack, unique_course

READING_SECONDS = 90.0
# Prints who it is, what it may not gain, and what it could write to.
_TRIES = """
import json, os, pathlib
written = []
for place in ("/", "/app", "/opt/venv", "/etc", "/home", "/root", "/usr", "/var", "/var/tmp", "/run", "/tmp"):
    try:
        pathlib.Path(place, "tried").write_text("x")
    except OSError:
        continue
    written.append(place)
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps({
    "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *os.getgroups()], "written": written,
    "capabilities": int(status["CapEff"], 16), "no_new_privileges": int(status["NoNewPrivs"]),
}))
"""


@pytest.fixture(scope="module")
async def running(stack: LocalStack, images: Mapping[str, BuiltImage]) -> AsyncIterator[ImageStack]:
    """All four, once for the tests of this module."""
    async with image_stack(stack, images) as started:
        yield started


@pytest.fixture(scope="module")
def samples_made(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """A PDF with text of its own and a page like a scan."""
    return write_samples(tmp_path_factory.mktemp("samples"))


@pytest.mark.parametrize("service", SERVICES)
def test_writes_nowhere_but_tmp(images: Mapping[str, BuiltImage], service: str) -> None:
    result = images[service].run("python", "-c", _TRIES)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found["ids"]) == {10001}
    assert found["written"] == ["/tmp"]
    assert found["capabilities"] == 0
    assert found["no_new_privileges"] == 1


@pytest.mark.parametrize("service", SERVICES)
def test_says_what_it_needs_when_it_is_given_nothing(images: Mapping[str, BuiltImage], service: str) -> None:
    result = images[service].run(*images[service].configuration["Entrypoint"])
    assert result.returncode == 2
    assert "settings: SERVICE_TOKEN_SECRET" in result.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_runs_as_its_own_user_as_the_first_process(running: ImageStack, service: str) -> None:
    process = running.process(service)
    assert (process.uids().effective, process.gids().effective) == (10001, 10001)
    assert process.cmdline() == ["python", "-m", SERVICES[service]]


@pytest.mark.parametrize("service", SERVICES)
async def test_tells_its_metrics(running: ImageStack, service: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{running.metrics[service]}/metrics", timeout=10)
    assert answer.status_code == 200
    assert "# TYPE" in answer.text


@pytest.mark.parametrize("number", [0, 1], ids=["pdf", "scan"])
async def test_an_upload_from_end_to_end(
    running: ImageStack, stack: LocalStack, samples_made: list[Sample], number: int
) -> None:
    sample, course = samples_made[number], unique_course()
    token = stack.user_token("reader", {course: "editor"})
    async with httpx.AsyncClient(
        base_url=f"http://{running.endpoints['gateway']}", headers={"Authorization": f"Bearer {token}"}, timeout=20
    ) as client:
        content = await asyncio.to_thread(sample.path.read_bytes)
        uploaded = await client.post(f"/courses/{course}/materials", files={"file": (sample.path.name, content)})
        assert uploaded.status_code == 201, uploaded.text
        material = uploaded.json()
        await _until_read(client, course, material["id"])
        shown = (await client.get(f"/materials/{material['id']}")).json()
        assert shown["processing_status"] == "completed", (shown, running.log("processor"))
        found = (await client.get(f"/courses/{course}/search", params={"query": sample.question})).json()
        assert found["results"][0]["page_number"] == sample.expected_page
        downloaded = await client.get(f"/materials/{material['id']}/content")
        assert downloaded.content == content


async def _until_read(client: httpx.AsyncClient, course: str, material_id: str) -> None:
    """By the course's event stream."""
    async with (
        asyncio.timeout(READING_SECONDS),
        client.stream("GET", f"/courses/{course}/events", timeout=READING_SECONDS) as events,
    ):
        async for line in events.aiter_lines():
            if line.startswith("data:") and material_id in line and ('"completed"' in line or '"failed"' in line):
                return


async def test_goes_in_peace_on_sigterm(running: ImageStack, stack: LocalStack) -> None:
    """The last test of the module: afterwards nothing runs."""
    for service in ("gateway", "ingest", "processor", "status"):
        status = await asyncio.to_thread(running.stop, service)
        assert status in (0, 128 + signal.SIGTERM), running.log(service)
        assert "Traceback" not in running.log(service)
        assert status == 0
