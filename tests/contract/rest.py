"""The gateway as one caller, HTTP by hand, and the assertion that an answer is a problem in the contract's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import httpx
from materials.v1 import errors_pb2

from servicekit.errors import answer_of, reason_name
from tests.contract.refusals import eventually

SECONDS = 30.0
#: An origin whose pages may call the gateway that is alone.
FRIEND = "https://learn.example.org"
TEXT = b"Mitochondria turn sugar into ATP, which the cell uses as energy.\n"
#: The fields of a material that clients of the original interface know.
ORIGINAL_FIELDS = frozenset({
    "id", "course_id", "name", "file_path", "file_type", "file_size", "processing_status", "processed_at",
    "error_message", "has_embedding", "created_at", "updated_at",
})  # fmt: skip
STATUS_OF_REASON = {
    reason_name(value): answer_of(value).http_status for value in errors_pb2.ErrorReason.values() if value
}
Document: TypeAlias = dict[str, Any]


class Rest:
    """One caller. `http` is the client itself, for what has no method here."""

    def __init__(self, address: str, token: str | None = None, **headers: str) -> None:
        self.address = address
        identity = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self.http = httpx.AsyncClient(base_url=f"http://{address}", headers={**identity, **headers}, timeout=SECONDS)

    async def __aenter__(self) -> Rest:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.http.aclose()

    async def post_file(
        self, course: str, content: bytes = TEXT, *, name: str = "cells.md", key: str | None = None, **fields: str
    ) -> httpx.Response:
        """An upload; `fields` come before the file."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post(
            f"/courses/{course}/materials", files={"file": (name, content)}, data=fields, headers=headers
        )

    async def upload(self, course: str, content: bytes = TEXT, **named: Any) -> Document:
        """The material as answered."""
        return found(await self.post_file(course, content, **named), 201)

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path."""
        return found(await self.http.get(path, params=query))

    async def listed(self, course: str, **query: Any) -> list[str]:
        """The ids of a course's materials."""
        return [material["id"] for material in await self.get(f"/courses/{course}/materials", **query)]

    async def ended(self, material_id: str) -> Document:
        """The material, once it is completed or failed."""
        material: Document = {}

        async def has_ended() -> bool:
            nonlocal material
            material = await self.get(f"/materials/{material_id}")
            return material["processing_status"] in ("completed", "failed")

        await eventually(has_ended, f"{material_id} has ended", seconds=60)
        return material


def found(response: httpx.Response, status: int = 200) -> Any:
    """The JSON of an answer that is as it should be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def assert_problem(response: httpx.Response, reason: str, *fields: str) -> Document:
    """The answer refuses for this reason, with the contract's status and these fields at fault. Returns the problem."""
    problem: Document = response.json()
    assert problem.get("reason") == reason, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"]) == (STATUS_OF_REASON[reason], STATUS_OF_REASON[reason])
    assert problem["type"] == f"urn:materials:error:{reason}"
    assert problem["title"]
    assert problem["detail"], "a refusal says what to do"
    assert [error["field"] for error in problem.get("errors", [])] == list(fields)
    assert all(error["description"] for error in problem.get("errors", []))
    assert ("retry_after" in problem) == ("retry-after" in response.headers)
    return problem


def assert_blank_problem(response: httpx.Response, status: int) -> Document:
    """The answer is a problem that only HTTP knows: without a reason."""
    problem: Document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"], problem["type"]) == (status, status, "about:blank")
    assert "reason" not in problem
    return problem


def form_part(content: bytes, disposition: str = 'form-data; name="file"; filename="cells.md"') -> bytes:
    """One part of a form with the boundary `B`."""
    return f"--B\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=B"}
FORM_END = b"--B--\r\n"


class Connection:
    """HTTP/1.1 by hand, for what no client sends: bodies that stop, or that go on after the answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: Rest) -> None:
        self.reader, self.writer, self._rest = reader, writer, rest

    def head(self, method: str, path: str, **headers: str) -> None:
        """Line and headers, with the caller's identity."""
        given = {"Host": self._rest.address, "Authorization": self._rest.http.headers["authorization"], **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in given.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        """Sends, as fast as the other side takes it."""
        self.writer.write(data)
        async with asyncio.timeout(SECONDS):
            await self.writer.drain()

    async def answer(self) -> httpx.Response:
        """The next answer, which has a Content-Length."""
        async with asyncio.timeout(SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head.strip().split("\r\n")
            headers = httpx.Headers([tuple(each.split(": ", 1)) for each in lines])  # type: ignore[misc]
            body = await self.reader.readexactly(int(headers["content-length"]))
        return httpx.Response(int(line.split()[1]), headers=headers, content=body)


@asynccontextmanager
async def connection(rest: Rest) -> AsyncIterator[Connection]:
    """A new connection; aborted at the end."""
    host, _, port = rest.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Connection(reader, writer, rest)
    finally:
        writer.transport.abort()
