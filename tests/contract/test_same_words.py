"""What the gateway says in `detail`, the `materials` command says in its line: people hear the same whichever way they came."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract.command_line import Cli
from tests.contract.conftest import PROJECT
from tests.contract.rest import TEXT, Rest, assert_problem
from tests.local_stack import LocalStack

UNKNOWN = "9b0a1c62-5d3e-4f8a-8a57-2f1f6c0d7e34"
UPLOAD = "/courses/{course}/materials"
FILES = {
    "empty.md": b"",
    "zeros.bin": b"\x00" * 10_000,
    "cells.md": TEXT,
}


@dataclass(frozen=True)
class Failing:
    """The same operation both ways. `{course}`, `{material}` and `{broken}` are filled in; `who` has the token."""

    command: str
    method: str
    path: str
    reason: str
    file: str = ""
    who: str = "editor"
    fields: tuple[str, ...] = ()
    sent: dict[str, Any] = field(default_factory=dict)


FAILING = [
    Failing(f"show {UNKNOWN}", "GET", f"/materials/{UNKNOWN}", "MATERIAL_NOT_FOUND"),
    Failing("show {material}", "GET", "/materials/{material}", "MATERIAL_NOT_FOUND", who="stranger"),
    Failing(f"delete {UNKNOWN} --yes", "DELETE", f"/materials/{UNKNOWN}", "MATERIAL_NOT_FOUND"),
    Failing("delete {material} --yes", "DELETE", "/materials/{material}", "COURSE_WRITE_DENIED", who="reader"),
    Failing("cancel {material}", "POST", "/materials/{material}:cancel", "COURSE_WRITE_DENIED", who="reader"),
    Failing("retry {broken}", "POST", "/materials/{broken}:retry", "MATERIAL_NOT_RETRYABLE"),
    Failing(f"text {UNKNOWN}", "GET", f"/materials/{UNKNOWN}/text", "MATERIAL_NOT_FOUND"),
    Failing(f"download {UNKNOWN}", "GET", f"/materials/{UNKNOWN}/content", "MATERIAL_NOT_FOUND"),
    Failing("upload empty.md -c {course}", "POST", UPLOAD, "FILE_EMPTY", file="empty.md"),
    Failing("upload zeros.bin -c {course}", "POST", UPLOAD, "UNSUPPORTED_FILE_TYPE", file="zeros.bin"),
    Failing("upload cells.md -c {course}", "POST", UPLOAD, "COURSE_WRITE_DENIED", file="cells.md", who="reader"),
    Failing("list -c {long}", "GET", "/courses/{long}/materials", "FIELD_INVALID", fields=("course_id",)),
    Failing(
        "search {long}{long}{long}{long} -c {course}", "POST", "/courses/{course}/search", "FIELD_INVALID",
        fields=("query",), sent={"json": {"query": "x" * 600}},
    ),
    Failing(
        "ask {long}{long}{long}{long} -c {course}", "POST", "/courses/{course}/ask", "FIELD_INVALID",
        fields=("question",), sent={"json": {"question": "x" * 600}},
    ),
    Failing("list", "GET", "/materials", "TOKEN_INVALID", who="nobody"),
    Failing("list", "GET", "/materials", "TOKEN_EXPIRED", who="late"),
]  # fmt: skip


@pytest.fixture(scope="session")
async def names(stack: LocalStack) -> dict[str, str]:
    """What the operations are about, in a course of their own."""
    course = f"words-{uuid.uuid4().hex[:12]}"
    async with Rest(stack.facts["gateway"], stack.facts["token"]) as rest:
        material, broken = await asyncio.gather(
            rest.upload(course, TEXT), rest.upload(course, b"%PDF-1.7\nthis is no PDF\n", name="broken.pdf")
        )
        await asyncio.gather(rest.ended(material["id"]), rest.ended(broken["id"]))
    return {"course": course, "material": material["id"], "broken": broken["id"], "long": "x" * 150}


def token(stack: LocalStack, who: str, course: str) -> str:
    return {
        "editor": stack.user_token("editor", {course: "editor"}),
        "reader": stack.user_token("reader", {course: "reader"}),
        "stranger": stack.user_token("stranger"),
        "nobody": "no-token",
        "late": stack.user_token("late", exp=int(time.time()) - 60),
    }[who]


@pytest.mark.parametrize("failing", FAILING, ids=lambda failing: f"{failing.reason}: {failing.command[:20]}")
async def test_command_and_gateway_say_the_same(
    stack: LocalStack, names: dict[str, str], tmp_path: Path, failing: Failing
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    who = token(stack, failing.who, names["course"])
    services = {f"MATERIALS_{name.upper()}": stack.facts[name] for name in ("ingest", "status", "processor")}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MATERIALS_")}
    cli = Cli(tmp_path, {**kept, **services, "MATERIALS_TOKEN": who, "PYTHONPATH": str(PROJECT)})
    sent = dict(failing.sent)
    if failing.file:
        sent["files"] = {"file": (failing.file, FILES[failing.file])}
    async with Rest(stack.facts["gateway"], who) as rest:
        result, response = await asyncio.gather(
            cli.run(*failing.command.format(**names).split()),
            rest.http.request(failing.method, failing.path.format(**names), **sent),
        )
    problem = assert_problem(response, failing.reason, *failing.fields)
    assert result.code != 0
    [line] = result.err.splitlines()
    assert problem["detail"] in line
