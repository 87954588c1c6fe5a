"""Watchers that come, stay for some seconds and go, some politely and some not; each resumes where it was when it comes again."""

from __future__ import annotations

import asyncio
import random
from itertools import count

import grpc
from materials.v1 import material_pb2, status_service_pb2

from tests.faults.workload import RETRIED, Workload
from tests.local_stack import ENDED, states_sent

STAY = (0.5, 15.0)  # seconds
#: One in so many watches a course, the others a material.
COURSE_EVERY = 4


class Visitors:
    """`wrong` tells of every watcher that was sent a revision twice, a step back, or an end that is none."""

    def __init__(self, works: list[Workload], number: int) -> None:
        self._works, self._number = works, number
        self._tasks: list[asyncio.Task[None]] = []
        self.wrong: list[str] = []

    async def start(self) -> None:
        """All of them."""
        for number in range(self._number):
            visit = self._visit_courses if number % COURSE_EVERY == 0 else self._visit_materials
            self._tasks.append(asyncio.create_task(visit(), name=f"visitor-{number}"))

    async def stop(self) -> None:
        """All go; what went wrong with a visitor itself is told too."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.wrong += [
            f"a watcher ended with {task.exception()!r}"
            for task in self._tasks
            if not task.cancelled() and task.exception()
        ]

    async def _visit_materials(self) -> None:
        while True:
            work = random.choice(self._works)
            recent = work.accepted[-40:]
            if not recent:
                await asyncio.sleep(0.5)
                continue
            await self._watch_material(work, random.choice(recent).id)

    async def _watch_material(self, work: Workload, material_id: str) -> None:
        last: material_pb2.Material | None = None
        for _ in count():
            call = work.client.status.WatchMaterial(
                status_service_pb2.WatchMaterialRequest(
                    material_id=material_id, after_revision=last.revision if last is not None else 0
                ),
                metadata=work.client.metadata,
                wait_for_ready=True,
            )
            try:
                async with asyncio.timeout(random.uniform(*STAY)):
                    async for material in states_sent(call, last):
                        if last is not None and material.revision <= last.revision:
                            self.wrong.append(f"{material_id}: revision {material.revision} after {last.revision}")
                        last = material
                if last is None or last.processing_status not in ENDED:
                    self.wrong.append(f"{material_id}: the watch ended with OK before the material did")
                return
            except TimeoutError:
                return  # has seen enough
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRIED:
                    raise
            finally:
                call.cancel()
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _visit_courses(self) -> None:
        work = random.choice(self._works)
        token = ""
        newest: dict[str, int] = {}
        while True:
            call = work.client.status.WatchCourse(
                status_service_pb2.WatchCourseRequest(course_id=work.course, resume_token=token),
                metadata=work.client.metadata,
                wait_for_ready=True,
            )
            try:
                async with asyncio.timeout(random.uniform(*STAY)):
                    async for response in call:
                        token = response.resume_token or token
                        if response.WhichOneof("change") == "material":
                            material = response.material
                            if material.revision <= newest.get(material.id, 0):
                                self.wrong.append(
                                    f"course: revision {material.revision} of {material.id} after {newest[material.id]}"
                                )
                            newest[material.id] = material.revision
            except TimeoutError:
                if not token:
                    newest.clear()  # the snapshot was not complete: it begins anew
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRIED:
                    raise
                if not token:
                    newest.clear()
            finally:
                call.cancel()
            await asyncio.sleep(random.uniform(0.1, 3.0))
