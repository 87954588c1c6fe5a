"""From a commit to every watcher, on any replica.

The feed follows the courses that somebody watches here. A course's changes are numbered in commit order (record_store), so the feed delivers them in that
order and sees by a gap in the numbers that a message is missing:

* a change made by this replica arrives at once, one made elsewhere over NATS core, which may drop or reorder it;
* the next number is delivered, an older one is dropped, a later one means a gap: the record is asked what is newer than the last number delivered;
* every few seconds, and whenever NATS comes back, the record is asked the same for all watched courses in one query. So a lost message delays a watcher, and
  never leaves it wrong.

Each change is turned into messages once, whatever the number of its watchers. A watcher's mailbox keeps only the newest state of each material and a bounded
number of materials; past that it is marked as lagging and its owner reads from the record again. Publishers never wait for a watcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

import structlog
from materials.v1 import material_pb2, status_service_pb2
from nats.aio.client import Client
from nats.aio.msg import Msg

from servicekit.errors import ServiceError
from servicekit.nats_link import NatsAway, NatsLink
from servicekit.opaque_tokens import OpaqueTokens
from servicekit.postgres import Postgres
from status_service import record_store
from status_service.material_view import to_material
from status_service.metrics import StatusMetrics
from status_service.record import Record
from status_service.record_writer import Change

log = structlog.get_logger()

SUBJECT = "status.v1.changes"  # NATS core, between the replicas of this service only; not in any stream
RECONCILE_SECONDS = 3.0
RECONCILE_ROWS = 5_000
MAILBOX_MATERIALS = 2_000


@dataclass(frozen=True, eq=False)
class CourseChange:
    """One change of one material, shared by all its watchers; equal to itself alone."""

    material: material_pb2.Material
    course_revision: int
    deleted: bool

    @classmethod
    def of(cls, record: Record) -> CourseChange:
        """The present state of a record as a change."""
        return cls(to_material(record), record.course_revision, record.deleted_at is not None)

    @cached_property
    def watch_material_response(self) -> status_service_pb2.WatchMaterialResponse:
        """What WatchMaterial sends of it."""
        return status_service_pb2.WatchMaterialResponse(material=self.material)


@dataclass(eq=False, slots=True)
class Mailbox:
    """What a watcher has not taken yet: the newest change of each material. One watcher waits for it at a time."""

    material_id: str = ""  # "": every material of the course
    changes: dict[str, CourseChange] = field(default_factory=dict)
    lagging: bool = False
    closed: bool = False
    _waiting: asyncio.Future[None] | None = field(default=None, init=False)

    def put(self, change: CourseChange) -> None:
        """Keeps the change, in order of course revision; drops what it replaces."""
        self.changes.pop(change.material.id, None)
        if len(self.changes) >= MAILBOX_MATERIALS:
            self.changes.clear()
            self.lagging = True
        elif not self.lagging:
            self.changes[change.material.id] = change
        self._wake()

    def close(self) -> None:
        """Nothing more will be waited for."""
        self.closed = True
        self._wake()

    async def filled(self) -> None:
        """Returns when there is something to take, or the mailbox is closed."""
        while not (self.changes or self.lagging or self.closed):
            # A bare future and no asyncio.Event: a change wakes thousands of watchers, and this is most of what each costs us.
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    def take(self) -> tuple[list[CourseChange], bool]:
        """Everything kept, oldest first, and whether something was dropped since the last take."""
        changes, lagging = list(self.changes.values()), self.lagging
        self.changes, self.lagging = {}, False
        return changes, lagging

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


@dataclass(eq=False)
class _Course:
    delivered: int = -1  # -1: not known yet
    all_materials: set[Mailbox] = field(default_factory=set)
    one_material: dict[str, set[Mailbox]] = field(default_factory=dict)

    @property
    def watched(self) -> bool:
        return bool(self.all_materials or self.one_material)


Revoked = tuple[UUID, int]


class ChangeFeed:
    """A part: the watched courses of this replica."""

    def __init__(self, postgres: Postgres, nats: NatsLink, tokens: OpaqueTokens, metrics: StatusMetrics) -> None:
        self._told = metrics.told
        metrics.workers.set_function(lambda: len(self._workers))
        self._postgres, self._nats, self._tokens = postgres, nats, tokens
        self._courses: dict[str, _Course] = {}
        self._workers: dict[str, set[asyncio.Queue[Revoked]]] = {}
        self._outgoing: asyncio.Queue[tuple[CourseChange, Change]] = asyncio.Queue(maxsize=10_000)
        self._reconcile_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        nats.on_first_connect(self._subscribe)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to publish and to reconcile."""
        self._tasks = [
            tasks.create_task(self._publish(), name="change-publisher"),
            tasks.create_task(self._reconcile_for_ever(), name="change-reconciler"),
        ]

    async def stop(self) -> None:
        """Ends both."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- watchers -------------------------------------------------------------------------------------------------

    async def subscribe(self, course_id: str, material_id: str = "") -> Mailbox:
        """A mailbox for a course, or one of its materials. What is committed from now on will be in it. Release it with `unsubscribe`."""
        mailbox = Mailbox(material_id)
        course = self._courses.setdefault(course_id, _Course())
        if material_id:
            course.one_material.setdefault(material_id, set()).add(mailbox)
        else:
            course.all_materials.add(mailbox)
        if course.delivered < 0:
            try:
                row = await self._postgres.fetchrow(record_store.COURSE_REVISION, course_id)
            except BaseException:
                self.unsubscribe(course_id, mailbox)
                raise
            if course.delivered < 0:
                course.delivered = row["revision"] if row else 0
        return mailbox

    def unsubscribe(self, course_id: str, mailbox: Mailbox) -> None:
        """Forgets the mailbox; a course that nobody watches is forgotten too."""
        course = self._courses.get(course_id)
        if course is None:
            return
        course.all_materials.discard(mailbox)
        if mailbox.material_id in course.one_material:
            course.one_material[mailbox.material_id].discard(mailbox)
            if not course.one_material[mailbox.material_id]:
                del course.one_material[mailbox.material_id]
        if not course.watched:
            del self._courses[course_id]

    def subscribe_worker(self, worker_id: str) -> asyncio.Queue[Revoked]:
        """Leases taken away from a worker: (material, attempt). Bounded: a worker that does not listen finds out by its next report."""
        queue: asyncio.Queue[Revoked] = asyncio.Queue(maxsize=1_000)
        self._workers.setdefault(worker_id, set()).add(queue)
        return queue

    def unsubscribe_worker(self, worker_id: str, queue: asyncio.Queue[Revoked]) -> None:
        """Forgets the queue."""
        if worker_id in self._workers:
            self._workers[worker_id].discard(queue)
            if not self._workers[worker_id]:
                del self._workers[worker_id]

    # -- changes --------------------------------------------------------------------------------------------------

    def committed(self, changes: Sequence[Change]) -> None:
        """Takes in what this replica has just committed."""
        for change in changes:
            told = CourseChange.of(change.record)
            self._arrive(told)
            if change.revoked_worker:
                self._revoke(change.revoked_worker, change.record.material_id, change.revoked_attempt)
            if not self._outgoing.full():
                self._outgoing.put_nowait((told, change))

    def _arrive(self, change: CourseChange) -> None:
        course = self._courses.get(change.material.course_id)
        if course is None or 0 <= change.course_revision <= course.delivered:
            return
        if change.course_revision == course.delivered + 1:
            course.delivered = change.course_revision
            self._told.inc(_deliver(course, change))
        else:
            self._reconcile_now.set()

    def _revoke(self, worker_id: str, material_id: UUID, attempt: int) -> None:
        for queue in self._workers.get(worker_id, ()):
            if not queue.full():
                queue.put_nowait((material_id, attempt))

    # -- replicas -------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        while True:
            told, change = await self._outgoing.get()
            headers = {"course-revision": str(told.course_revision)}
            if told.deleted:
                headers["deleted"] = "1"
            if change.revoked_worker:
                headers |= {"revoked-worker": change.revoked_worker, "revoked-attempt": str(change.revoked_attempt)}
            body = told.material.SerializeToString()
            headers["signature"] = self._tokens.sign(_signed(body, headers))
            try:
                await self._nats.client().publish(SUBJECT, body, headers=headers)
            except NatsAway:
                continue  # the other replicas reconcile
            except Exception as error:
                log.debug("change not published", error=str(error))

    async def _subscribe(self, client: Client) -> None:
        await client.subscribe(SUBJECT, cb=self._receive)

    async def _receive(self, message: Msg) -> None:
        headers = message.headers or {}
        # Whoever may publish on NATS must not be able to show watchers what the record does not hold.
        if not self._tokens.verify(_signed(message.data, headers), headers.get("signature", "")):
            log.warning("change without a valid signature dropped")
            return
        try:
            material = material_pb2.Material.FromString(message.data)
            revision = int(headers["course-revision"])
            if material.course_id in self._courses:
                self._arrive(CourseChange(material, revision, "deleted" in headers))
            if "revoked-worker" in headers:
                self._revoke(headers["revoked-worker"], UUID(material.id), int(headers["revoked-attempt"]))
        except Exception as error:
            log.warning("change from another replica not understood", error=type(error).__name__)

    # -- reconciliation -------------------------------------------------------------------------------------------

    async def _reconcile_for_ever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RECONCILE_SECONDS):
                    await self._reconcile_now.wait()
            self._reconcile_now.clear()
            try:
                while await self._reconcile():
                    pass
            except ServiceError:
                log.info("watches not reconciled: the record is away")

    async def _reconcile(self) -> bool:
        """Delivers what the record has beyond what was delivered; returns whether there may be more."""
        seen = {course_id: course.delivered for course_id, course in self._courses.items() if course.delivered >= 0}
        if not seen:
            return False
        rows = await self._postgres.fetch(record_store.COURSES_SINCE, list(seen), list(seen.values()), RECONCILE_ROWS)
        for record in map(record_store.to_record, rows):
            course = self._courses.get(record.course_id)
            if course is not None and record.course_revision > course.delivered:
                course.delivered = record.course_revision
                self._told.inc(_deliver(course, CourseChange.of(record)))
        return len(rows) == RECONCILE_ROWS


def _deliver(course: _Course, change: CourseChange) -> int:
    """Returns how many were told."""
    told = [*course.all_materials, *course.one_material.get(change.material.id, ())]
    for mailbox in told:
        mailbox.put(change)
    return len(told)


def _signed(body: bytes, headers: Mapping[str, str]) -> bytes:
    names = ("course-revision", "deleted", "revoked-worker", "revoked-attempt")
    return "\0".join(headers.get(name, "") for name in names).encode() + b"\0" + body
