"""Watches: subscribe, read the snapshot, then send what is newer.

A watch is a context manager: to enter it is to be admitted, which is refused with a status and nothing else; what it gives are the responses. Its place is free
again when it is left.

The order matters: what is committed between the two first steps is in the snapshot, in the mailbox, or in both, never in neither. What is in both is told by
its number and sent once. A watch of a course is a walk along the course's revisions: the snapshot, a resumed watch and a lagging watcher are the same
read from where it stands. A resume token names the course and that number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from google.protobuf.message import Message
from materials.v1 import errors_pb2
from materials.v1 import status_service_pb2 as pb

from servicekit.errors import ServiceError, Unavailable
from servicekit.identity import Caller
from servicekit.opaque_tokens import OpaqueTokens
from servicekit.owner_limits import OwnerPlaces
from servicekit.postgres import Postgres
from status_service import record_store
from status_service.change_feed import ChangeFeed, CourseChange, Mailbox
from status_service.material_view import to_material
from status_service.metrics import StatusMetrics
from status_service.record import COMPLETED, FAILED, Record

WATCH_METHODS = ("/materials.v1.StatusService/WatchMaterial", "/materials.v1.StatusService/WatchCourse")
SNAPSHOT_ROWS = 500
SHARED_RESPONSES = 512


@dataclass
class _Walk:
    """One caller's way along a course's revisions."""

    caller: Caller
    course_id: str
    position: int
    fresh_snapshot: bool

    def steps_to(self, change: CourseChange) -> bool:
        """Moves on to the change; whether it is news to the caller."""
        if change.course_revision <= self.position:
            return False
        self.position = change.course_revision
        if change.deleted and self.fresh_snapshot:
            return False
        return self.caller.may_read(owner_id=change.material.owner_id, course_id=self.course_id)


class Watching:
    """Serves watches from the feed and the record; ends them all at once when the service drains."""

    def __init__(
        self,
        postgres: Postgres,
        feed: ChangeFeed,
        tokens: OpaqueTokens,
        metrics: StatusMetrics,
        *,
        max_watches: int,
        max_per_owner: int,
    ) -> None:
        self._postgres, self._feed, self._tokens = postgres, feed, tokens
        self._max_watches = max_watches
        self._of_owners = OwnerPlaces(
            max_per_owner,
            errors_pb2.ERROR_REASON_OWNER_WATCH_LIMIT,
            "you have as many watches open as one owner may; close some, or watch the course in place of each material",
        )
        self._open: set[Mailbox] = set()
        self._draining = False
        metrics.watches_most.set(max_watches)
        metrics.watches.set_function(lambda: len(self._open))
        #: The response that tells of a change, made once for all watchers of its course.
        self._resumable_response = lru_cache(maxsize=SHARED_RESPONSES)(self._seal_response)

    def drain(self) -> None:
        """Ends every watch with SHUTTING_DOWN: its client resumes at another replica."""
        self._draining = True
        for mailbox in self._open:
            mailbox.close()

    @asynccontextmanager
    async def material(
        self, caller: Caller, record: Record, after_revision: int
    ) -> AsyncIterator[AsyncIterator[pb.WatchMaterialResponse]]:
        """The states of a material visible to the caller, newer than `after_revision`; they end after a terminal one."""
        async with self._mailbox(caller, record.course_id, str(record.material_id)) as mailbox:
            rows = await self._postgres.fetch(record_store.GET, [record.material_id])
            if not rows:
                raise not_found()
            yield self._states(mailbox, record_store.to_record(rows[0]), after_revision)

    async def _states(
        self, mailbox: Mailbox, current: Record, after_revision: int
    ) -> AsyncIterator[pb.WatchMaterialResponse]:
        # Also when `after_revision` is from a future that did not happen: the watcher then learns what is.
        if current.revision != after_revision or current.ended:
            yield pb.WatchMaterialResponse(material=to_material(current))
        seen, ended = current.revision, current.ended
        while not ended:
            changes, _ = await self._next(mailbox)
            for change in changes:
                if change.deleted:
                    raise not_found()
                if change.material.revision > seen:
                    seen = change.material.revision
                    yield change.watch_material_response
                    ended = change.material.processing_status in (COMPLETED, FAILED)

    @asynccontextmanager
    async def course(
        self, caller: Caller, course_id: str, resume_token: str
    ) -> AsyncIterator[AsyncIterator[pb.WatchCourseResponse]]:
        """A course's snapshot, or what is newer than the token, then every change that the caller may see."""
        walk = _Walk(caller, course_id, self._resume(course_id, resume_token), fresh_snapshot=not resume_token)
        async with self._mailbox(caller, course_id) as mailbox:
            row = await self._postgres.fetchrow(record_store.COURSE_REVISION, course_id)
            if walk.position > (row["revision"] if row else 0):
                raise invalid_resume_token()
            yield self._changes(mailbox, walk)

    async def _changes(self, mailbox: Mailbox, walk: _Walk) -> AsyncIterator[pb.WatchCourseResponse]:
        async for change in self._newer(walk):
            yield self._course_response(walk, change)
        walk.fresh_snapshot = False
        yield pb.WatchCourseResponse(
            snapshot_complete=pb.SnapshotComplete(), resume_token=self._token(walk.course_id, walk.position)
        )
        while True:
            changes, lagging = await self._next(mailbox)
            if lagging:
                async for change in self._newer(walk):
                    yield self._course_response(walk, change)
            for change in changes:
                if walk.steps_to(change):
                    yield self._course_response(walk, change)

    async def _newer(self, walk: _Walk) -> AsyncIterator[CourseChange]:
        """What the record holds beyond the walk's position, as far as the caller may see it, a page at a time."""
        more = True
        while more:
            rows = await self._postgres.fetch(record_store.COURSE_SINCE, walk.course_id, walk.position, SNAPSHOT_ROWS)
            for record in map(record_store.to_record, rows):
                change = CourseChange.of(record)
                if walk.steps_to(change):
                    yield change
            more = len(rows) == SNAPSHOT_ROWS

    def _course_response(self, walk: _Walk, change: CourseChange) -> pb.WatchCourseResponse:
        if walk.fresh_snapshot:
            # A snapshot that is cut begins again, as the contract says: deletions are not told in it.
            return pb.WatchCourseResponse(material=change.material)
        return self._resumable_response(change)

    def _seal_response(self, change: CourseChange) -> pb.WatchCourseResponse:
        token = self._token(change.material.course_id, change.course_revision)
        if change.deleted:
            return pb.WatchCourseResponse(deleted_material_id=change.material.id, resume_token=token)
        return pb.WatchCourseResponse(material=change.material, resume_token=token)

    def _token(self, course_id: str, revision: int) -> str:
        return self._tokens.seal({"course": course_id, "revision": revision})

    def _resume(self, course_id: str, token: str) -> int:
        if not token:
            return 0
        content = self._tokens.open(token)
        if content is None or content.get("course") != course_id or not isinstance(content.get("revision"), int):
            raise invalid_resume_token()
        return int(content["revision"])

    async def _next(self, mailbox: Mailbox) -> tuple[list[CourseChange], bool]:
        await mailbox.filled()
        if mailbox.closed:
            raise Unavailable(
                errors_pb2.ERROR_REASON_SHUTTING_DOWN, "this replica is stopping; resume the watch", retry_after=0.1
            )
        return mailbox.take()

    @asynccontextmanager
    async def _mailbox(self, caller: Caller, course_id: str, material_id: str = "") -> AsyncIterator[Mailbox]:
        if len(self._open) >= self._max_watches:
            raise Unavailable(
                errors_pb2.ERROR_REASON_TOO_MANY_WATCHES, "this replica serves as many watches as it can", retry_after=5
            )
        with self._of_owners.place(caller):
            async with asyncio.timeout(10.0):
                mailbox = await self._feed.subscribe(course_id, material_id)
            self._open.add(mailbox)
            try:
                if self._draining:
                    mailbox.close()
                yield mailbox
            finally:
                self._open.discard(mailbox)
                self._feed.unsubscribe(course_id, mailbox)


class LastEncoded:
    """The bytes of a message, remembered of the last one: a change is told to thousands of watchers by one and the same message, which nobody changes."""

    def __init__(self) -> None:
        self._last: Message | None = None
        self._bytes = b""

    def __call__(self, message: Message) -> bytes:
        if message is not self._last:
            self._last, self._bytes = message, message.SerializeToString()
        return self._bytes


def not_found() -> ServiceError:
    """The one answer for what is not there and what the caller may not see."""
    return ServiceError(errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, "there is no such material")


def invalid_resume_token() -> ServiceError:
    """The token is not ours, of another course, or from a future that did not happen."""
    return ServiceError(
        errors_pb2.ERROR_REASON_RESUME_TOKEN_INVALID, "this resume token is not valid here; start again without one"
    )


def visible(record: Record | None, caller: Caller) -> Record:
    """The record if the caller may see it. Raises MATERIAL_NOT_FOUND, in the same words as for an unknown id."""
    if record is None or not caller.may_read(owner_id=record.owner_id, course_id=record.course_id):
        raise not_found()
    return record


async def find(postgres: Postgres, material_id: UUID | None) -> Record | None:
    """The record of an id, if it is there and not deleted."""
    rows = await postgres.fetch(record_store.GET, [material_id]) if material_id is not None else []
    return record_store.to_record(rows[0]) if rows else None
