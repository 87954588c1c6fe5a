"""What clients do while the system is broken, and what they were told: uploads with the documented retries, watchers that resume."""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import grpc
from materials.v1 import material_pb2, status_service_pb2

from tests.faults.documents import new_mark, note, scan
from tests.faults.fault_stack import FaultStack
from tests.local_stack import Client, states_sent, unique_course

#: What docs/api.md tells clients to try again.
RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


@dataclass
class Upload:
    """One upload as its client knows it. `material` once a reply has come; `pages` for a scan."""

    mark: str
    content: bytes
    request_id: str
    pages: int = 1
    read_by_brain: bool = False
    material: material_pb2.Material | None = None
    deleted: bool = False
    #: Its bytes were damaged on purpose: they are not looked at.
    spoilt: bool = False
    refusals: list[grpc.aio.AioRpcError] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The material's."""
        assert self.material is not None, "no reply has come"
        return self.material.id

    @property
    def sha256(self) -> str:
        """Of the bytes."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Watcher:
    """One watcher: what it saw, in order, over however many streams."""

    material_id: str
    states: list[material_pb2.Material] = field(default_factory=list)
    streams: int = 0
    task: asyncio.Task[None] | None = None

    @property
    def revisions(self) -> list[int]:
        """As seen."""
        return [state.revision for state in self.states]


@dataclass
class CourseWatcher:
    """Watches the whole course, resuming by token: (material, revision) in the order seen, with no revision where it was told deleted."""

    seen: list[tuple[str, int | None]] = field(default_factory=list)
    streams: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Workload:
    """One owner and one course that nobody else has. Everything done through here is checked at the end of the scenario."""

    def __init__(self, stack: FaultStack, client: Client, owner: str) -> None:
        self.stack, self.client, self.owner = stack, client, owner
        self.course = unique_course()
        self.uploads: list[Upload] = []
        self.watchers: list[Watcher] = []
        self.course_watchers: list[CourseWatcher] = []
        #: Reasons that a material of this scenario may FAIL with, by name without prefix.
        self.true_reasons: set[str] = set()
        #: What the fault explains beyond the undisturbed run: of one material, and of all together.
        self.extra_attempts = 0
        self.extra_reads = 0
        self.extra_embeddings = 0
        self.calls_before = len(stack.brain.calls)
        self.fault_over_at: float | None = None

    @property
    def accepted(self) -> list[Upload]:
        """Those with a reply."""
        return [upload for upload in self.uploads if upload.material is not None]

    def fault_over(self) -> None:
        """The cause has gone: from here on the time to recover is measured. Called at the end of a scenario where it does not say itself."""
        if self.fault_over_at is None:
            self.fault_over_at = asyncio.get_running_loop().time()

    # Uploads

    def note(self) -> Upload:
        """A text of one passage, to be uploaded."""
        mark = new_mark()
        return self._planned(Upload(mark, note(mark), str(uuid.uuid4())))

    def scan(self, pages: int = 3) -> Upload:
        """A scan to be uploaded."""
        mark = new_mark()
        return self._planned(Upload(mark, scan(mark, pages), str(uuid.uuid4()), pages, read_by_brain=True))

    def of(self, content: bytes, pages: int = 1, *, read_by_brain: bool = False) -> Upload:
        """Any other document."""
        return self._planned(Upload(new_mark(), content, str(uuid.uuid4()), pages, read_by_brain))

    def _planned(self, upload: Upload) -> Upload:
        self.uploads.append(upload)
        return upload

    async def send_once(self, upload: Upload, *, client: Client | None = None) -> material_pb2.Material:
        """One call. Raises AioRpcError."""
        try:
            material = await (client or self.client).upload(
                upload.content, course=self.course, name=f"{upload.mark}.bin", request_id=upload.request_id
            )
        except grpc.aio.AioRpcError as error:
            upload.refusals.append(error)
            raise
        upload.material = material
        return material

    async def send(self, upload: Upload, *, seconds: float = 90.0) -> material_pb2.Material:
        """As a client with the documented retries: the same request id until a reply has come. Raises the last error after `seconds`."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        wait = 0.1
        while True:
            try:
                return await self.send_once(upload)
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRIED or clock() > until:
                    raise
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2.0, wait * 2)

    async def send_all(self, uploads: Iterable[Upload], *, at_once: int = 8, seconds: float = 90.0) -> None:
        """Several, some at once, each with retries."""
        places = asyncio.Semaphore(at_once)

        async def one(upload: Upload) -> None:
            async with places:
                await self.send(upload, seconds=seconds)

        async with asyncio.TaskGroup() as tasks:
            for upload in uploads:
                tasks.create_task(one(upload))

    async def notes(self, count: int, *, at_once: int = 8) -> list[Upload]:
        """Uploads so many notes."""
        uploads = [self.note() for _ in range(count)]
        await self.send_all(uploads, at_once=at_once)
        return uploads

    async def repeat_unanswered(self) -> None:
        """Sends what has had no reply once more, as its client would."""
        await self.send_all([upload for upload in self.uploads if upload.material is None and not upload.deleted])

    # Watches

    def watch(self, upload: Upload) -> Watcher:
        """Watches to the end in the background, resuming where cut. Checked at the end of the scenario."""
        return self.watch_id(upload.id)

    def watch_id(self, material_id: str, *, client: Client | None = None) -> Watcher:
        """As `watch`; over the workload's own connection or another client's."""
        watcher = Watcher(material_id)
        watching = self._watch(watcher, client or self.client)
        watcher.task = asyncio.create_task(watching, name=f"watch-{material_id}")
        self.watchers.append(watcher)
        return watcher

    async def _watch(self, watcher: Watcher, client: Client) -> None:
        while True:
            call = client.status.WatchMaterial(
                status_service_pb2.WatchMaterialRequest(
                    material_id=watcher.material_id,
                    after_revision=watcher.states[-1].revision if watcher.states else 0,
                ),
                metadata=client.metadata,
                wait_for_ready=True,
            )
            watcher.streams += 1
            try:
                async for material in states_sent(call, watcher.states[-1] if watcher.states else None):
                    watcher.states.append(material)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return
                if error.code() not in RETRIED:
                    raise
            finally:
                call.cancel()
            await asyncio.sleep(random.uniform(0.05, 0.2))

    async def watch_course(self) -> CourseWatcher:
        """Watches the course until the end of the scenario; returns when the snapshot is there."""
        watcher = CourseWatcher()
        watcher.task = asyncio.create_task(self._watch_course(watcher), name="watch-course")
        self.course_watchers.append(watcher)
        async with asyncio.timeout(60):
            await watcher.complete.wait()
        return watcher

    async def _watch_course(self, watcher: CourseWatcher) -> None:
        token = ""
        while True:
            call = self.client.status.WatchCourse(
                status_service_pb2.WatchCourseRequest(course_id=self.course, resume_token=token),
                metadata=self.client.metadata,
                wait_for_ready=True,
            )
            watcher.streams += 1
            try:
                async for response in call:
                    token = response.resume_token or token
                    match response.WhichOneof("change"):
                        case "material":
                            watcher.seen.append((response.material.id, response.material.revision))
                        case "deleted_material_id":
                            watcher.seen.append((response.deleted_material_id, None))
                        case "snapshot_complete":
                            watcher.complete.set()
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRIED:
                    raise
            finally:
                call.cancel()
            await asyncio.sleep(random.uniform(0.05, 0.2))

    # The end

    async def until(
        self, reached: Callable[[material_pb2.Material], bool], upload: Upload, seconds: float = 60.0
    ) -> None:
        """Returns when a watched material has reached a state."""
        async with asyncio.timeout(seconds):
            call = self.client.status.WatchMaterial(
                status_service_pb2.WatchMaterialRequest(material_id=upload.id), metadata=self.client.metadata
            )
            try:
                async for response in call:
                    if reached(response.material):
                        return
            finally:
                call.cancel()
        raise AssertionError(f"{upload.id} ended before it was in the state waited for")

    async def settled(self, seconds: float) -> float:
        """Waits until all that was accepted has ended, at most `seconds` from the end of the fault. Returns how long that took, in seconds."""
        self.fault_over()
        assert self.fault_over_at is not None
        clock = asyncio.get_running_loop().time
        sql = "SELECT 1 FROM status.materials WHERE owner_id = $1 AND status IN (1, 2) AND deleted_at IS NULL LIMIT 1"
        while await self.stack.fetch(sql, self.owner) and clock() - self.fault_over_at < seconds:
            await asyncio.sleep(0.2)
        took = clock() - self.fault_over_at
        tasks = [watcher.task for watcher in self.watchers if watcher.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=max(5.0, seconds - took))
        return took

    async def close(self) -> None:
        """Ends the watchers."""
        tasks = [each.task for each in (*self.watchers, *self.course_watchers) if each.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
