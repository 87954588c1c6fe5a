"""The stack that is attacked, with low limits, and a course with materials, its owner and everybody around it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from materials.v1 import ingest_service_pb2, material_pb2

from tests.faults.peak_memory import PeakMemory
from tests.faults.scenario import Skipped
from tests.fuzz.calls import Caller, Channels, Fuzzed
from tests.local_stack import LocalStack, unique_course
from tests.security.overheard import Overheard

MIB = 1024 * 1024
MAX_UPLOAD_BYTES = 3 * MIB
IDLE_SECONDS = 1.5
LIMITS = {
    "MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
    "UPLOAD_IDLE_SECONDS": str(IDLE_SECONDS),
    "HEAD_SECONDS": str(IDLE_SECONDS),
    "BODY_IDLE_SECONDS": str(IDLE_SECONDS),
    # One attacker tries everything at once; limits per owner have tests of their own.
    "OWNER_REQUESTS_PER_SECOND": "0",
}
PARTS = ("ingest", "status", "processor")
TEXT = b"Mitosis makes two cells of one.\n"
upload_request = ingest_service_pb2.UploadMaterialRequest


class OverheardChannels(Channels):
    """Channels to the three services whose refusals are kept."""

    def __init__(self, stack: LocalStack, overheard: Overheard) -> None:
        self.by_service: dict[str, grpc.Channel] = {part: overheard.channel(stack.facts[part]) for part in PARTS}


@dataclass(frozen=True)
class Attacked:
    """The stack and what was heard of it; `pids_at_first` are the services' processes before anything was tried."""

    stack: LocalStack
    overheard: Overheard
    channels: Channels
    pids_at_first: dict[str, int]

    def caller(self, subject: str = "", courses: dict[str, str] | None = None, **claims: Any) -> Caller:
        """Somebody nobody else is, unless named."""
        return Fuzzed(self.stack, self.channels).caller(subject, courses, **claims)

    def stored_files(self) -> set[Path]:
        """Every file in the object store, complete or not."""
        return {path for path in (self.stack.data_dir / "objects").rglob("*") if path.is_file()}

    def until_purged(self, before: set[Path]) -> None:
        """Returns when nothing is stored but what was `before`: what is deleted goes a moment later, and the next test looks at the files too."""
        deadline = time.monotonic() + 20
        while self.stored_files() - before:
            assert time.monotonic() < deadline, "what was deleted is still stored"
            time.sleep(0.02)

    @contextmanager
    def leaves_no_trace(self, witness: Caller, course: str = "") -> Iterator[None]:
        """After the block there is no file that was not there before, and no record in the course or of the witness."""
        before = self.stored_files()
        yield
        deadline = time.monotonic() + 20
        while self.stored_files() != before and time.monotonic() < deadline:
            time.sleep(0.02)  # a part of a file goes a moment after the answer
        assert self.stored_files() == before
        assert not witness.page(course_id=course).materials

    @contextmanager
    def http(self, token: str | None = None, **options: Any) -> Iterator[httpx.Client]:
        """A client of the gateway with this bearer token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(
            base_url=f"http://{self.gateway}",
            headers=headers,
            timeout=30,
            event_hooks={"response": [self.overheard.heard_http]},
            **options,
        ) as client:
            yield client

    @property
    def gateway(self) -> str:
        """Its address."""
        address: str = self.stack.facts["gateway"]
        return address


class World:
    """A course with a material that was read and one that was cancelled, both its owner's; a reader, an editor, an operator; and a stranger."""

    def __init__(self, attacked: Attacked) -> None:
        self.attacked, self.course = attacked, unique_course()
        self.owner = attacked.caller(courses={self.course: "editor"})
        self.reader = attacked.caller(courses={self.course: "reader"})
        self.editor = attacked.caller(courses={self.course: "editor"})
        self.stranger = attacked.caller(courses={"another-course": "editor"})
        self.operator = attacked.caller(operator=True)
        metadata = ingest_service_pb2.UploadMetadata(course_id=self.course, name="notes.txt")
        self.material = self.owner.watch_to_end(
            self.owner.upload([upload_request(metadata=metadata), upload_request(chunk=TEXT)]).id
        )
        assert self.material.processing_status == material_pb2.PROCESSING_STATUS_COMPLETED

    @cached_property
    def everybody(self) -> dict[str, Caller]:
        """All of them, by name."""
        return {name: getattr(self, name) for name in ("owner", "reader", "editor", "stranger", "operator")}

    def still_serves(self) -> None:
        """Every service answers somebody else, and nothing that was there is changed or lost."""
        assert self.reader.get(self.material.id) == self.material
        assert self.reader.download(self.material.id) == TEXT
        assert [found.id for found in self.reader.page(course_id=self.course).materials] == [self.material.id]


def peak_memory(attacked: Attacked, part: str) -> PeakMemory:
    """The most that a service takes from now on. Skips the test where that cannot be measured."""
    try:
        return PeakMemory(attacked.pids_at_first[part])
    except Skipped as why:
        pytest.skip(str(why))


def pids(stack: LocalStack) -> dict[str, int]:
    """The services' processes as of now."""
    running = json.loads((stack.data_dir / "stack.json").read_text())["pids"]
    return {name: running[name] for name in (*PARTS, "gateway") if name in running}
