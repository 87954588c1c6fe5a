"""The examples of docs/api.md do what the page says: curl and Python are run as they stand, grpcurl's requests are held to the contract."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from google.protobuf import json_format, symbol_database
from materials.v1 import ingest_service_pb2, processor_service_pb2, status_service_pb2

from tests.local_stack import LocalStack, unique_course

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
COURSE, REQUEST_ID = "biology-101", "8e03978e-40d5-43dd-bc93-6894a57f9324"
SERVICES = [
    each.DESCRIPTOR.services_by_name[name]
    for each, name in (
        (ingest_service_pb2, "IngestService"),
        (status_service_pb2, "StatusService"),
        (processor_service_pb2, "ProcessorService"),
    )
]
SECONDS = 120.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def variables(stack: LocalStack) -> dict[str, str]:
    facts = stack.facts
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "GATEWAY": f"http://{facts['gateway']}",
        "INGEST": facts["ingest"],
        "STATUS": facts["status"],
        "PROCESSOR": facts["processor"],
        "TOKEN": facts["token"],
    }


async def run(command: list[str], script: str, directory: Path, stack: LocalStack) -> str:
    script = script.replace(COURSE, unique_course()).replace(REQUEST_ID, str(uuid.uuid4()))
    result = await asyncio.to_thread(
        subprocess.run, [*command, script], cwd=directory, env=variables(stack), capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


async def test_the_curl_examples_work_in_their_order(stack: LocalStack, tmp_path: Path) -> None:
    said = await run(["bash", "-euc"], "".join(blocks("sh")), tmp_path, stack)
    for sign in (
        '"processing_status":"pending"',
        "event: end",
        "event: snapshot_complete",
        "Mitochondria",
        "event: sources",
        '"outcome": "answered"',
        '"outcome":"answered"',
        '"retried":0',
    ):
        assert sign in said
    assert (tmp_path / "downloaded.md").read_bytes() == (tmp_path / "cells.md").read_bytes()


async def test_the_python_examples_work_in_their_order(stack: LocalStack, tmp_path: Path) -> None:
    (tmp_path / "cells.md").write_text("# Cells\n\nMitochondria turn sugar into ATP, which the cell uses as energy.\n")
    said = await run([sys.executable, "-c"], "".join(blocks("python")), tmp_path, stack)
    assert "Mitochondria" in said
    assert "ANSWER_OUTCOME_ANSWERED" in said
    assert "completed" in said


def grpcurl_calls() -> list[tuple[str, list[str]]]:
    """Full method names and the JSON of the requests, as the shell would give them to grpcurl."""
    calls = []
    for block in blocks("grpcurl"):
        filled = block.replace("$(base64 -w0 cells.md)", "Q2VsbHM=").replace("$ID", str(uuid.uuid4()))
        commands, _, here = filled.partition("<<JSON\n")
        for command in commands.strip().splitlines():
            words = shlex.split(command)
            requests = [words[words.index("-d") + 1]] if "-d" in words else ["{}"]
            if requests == ["@"]:
                requests = here.removesuffix("JSON\n").strip().splitlines()
            calls.append((words[-1], requests))
    return calls


@pytest.mark.parametrize(
    ("method", "requests"), grpcurl_calls(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_grpcurl_example_is_a_call_of_the_contract(method: str, requests: list[str]) -> None:
    service, _, name = method.partition("/")
    [descriptor] = [each for each in SERVICES if each.full_name == service]
    message_type = symbol_database.Default().GetSymbol(descriptor.methods_by_name[name].input_type.full_name)
    for request in requests:
        json_format.Parse(request, message_type())


@pytest.mark.parametrize("language", ["grpcurl", "python"])
def test_every_call_of_a_person_has_an_example(language: str) -> None:
    text = "".join(blocks(language))
    for service in SERVICES:
        for method in service.methods:
            assert re.search(
                rf"\b{method.name}\(" if language == "python" else rf"{service.full_name}/{method.name}\b", text
            )


def test_every_route_of_the_gateway_has_an_example() -> None:
    # Imported here: only this test looks into the gateway.
    from gateway import ask_routes, content_routes, event_routes, material_routes, reading_routes, session_routes

    text = "".join(blocks("sh"))
    for module in (ask_routes, content_routes, event_routes, material_routes, reading_routes, session_routes):
        for route in module.router.routes:
            pattern = re.sub(r"\\{material_id\\}", r"\\$ID", re.sub(r"\\{course_id\\}", COURSE, re.escape(route.path)))
            assert re.search(rf'\$GATEWAY{pattern}["?]', text), route.path
