"""A course that is watched: a stack with two replicas of Status, and one material that changes by way of the first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from materials.v1 import status_service_pb2 as pb

from bench.bed import Bed
from bench.changes import Changes
from bench.watchers import Watchers
from tests.local_stack import LocalStack, unique_course

WATCH_MATERIAL = "/materials.v1.StatusService/WatchMaterial"
WATCH_COURSE = "/materials.v1.StatusService/WatchCourse"
#: What a watch of a course begins with when there is one material: it, and that there are no more.
COURSE_OPENING = 2
WATCHES_PER_STUDENT = 10
WATCHERS_PER_CHANNEL = 250
#: The lease lasts for all that is measured.
SETTINGS = {"LEASE_SECONDS": "3600"}


@dataclass(frozen=True)
class WatchedCourse:
    """`changes` are those of its one material."""

    stack: LocalStack
    course: str
    changes: Changes

    @classmethod
    @asynccontextmanager
    async def opened(cls, bed: Bed) -> AsyncIterator[WatchedCourse]:
        """On a stack of its own."""
        async with bed.stack("--replicas", "status=2", environment=SETTINGS) as stack:
            course = unique_course()
            address = stack.facts["endpoints"]["status"][0]
            async with Changes.of_new_material(address, stack.facts["service_token"], course) as changes:
                yield cls(stack, course, changes)

    @property
    def addresses(self) -> list[str]:
        """Of the replicas of Status."""
        return list(self.stack.facts["endpoints"]["status"])

    @property
    def status_pid(self) -> int:
        """Of the replica that serves the watchers."""
        return int(self.stack.current()["pids"]["status"])

    def students(self, watches: int) -> list[str]:
        """Tokens of readers of the course, enough for so many watches."""
        count = -(-watches // WATCHES_PER_STUDENT)
        return [self.stack.user_token(f"student-{number}", {self.course: "reader"}) for number in range(count)]

    async def add_watchers(self, watchers: Watchers, count: int, *, of_course: bool = False) -> None:
        """So many more at the first replica, of the material or of the course."""
        request: Any = pb.WatchMaterialRequest(material_id=self.changes.material.id)
        if of_course:
            request = pb.WatchCourseRequest(course_id=self.course)
        await watchers.open_grpc(
            self.addresses[0],
            WATCH_COURSE if of_course else WATCH_MATERIAL,
            request.SerializeToString(),
            tokens=self.students(count),
            count=count,
            channels=-(-count // WATCHERS_PER_CHANNEL),
            opening=COURSE_OPENING if of_course else 1,
        )
