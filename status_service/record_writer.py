"""Every change of the record goes through here: one writer, many changes a commit.

Callers submit an event and await its decision. While one transaction is on its way the next batch gathers; so a lone event waits for nobody, and under load the
cost of a commit is shared (group commit). Within a batch, events are decided in the order they came, each on the outcome of the one before.
A decision is handed out only after the commit that holds it. When the database is away, every caller of the batch gets the failure and may submit
again: events are safe to repeat. When Postgres refuses a value, the batch is written again one by one, and only its sender gets the failure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import structlog
from materials.v1 import errors_pb2

from servicekit.errors import ServiceError, Unavailable
from servicekit.postgres import Connection, Postgres
from status_service import batch_store
from status_service.admission import WriteHealth
from status_service.at_hand import AtHand, DatabaseClock
from status_service.batch_store import Reading, Writing, Written
from status_service.events import Claim, Event
from status_service.metrics import StatusMetrics
from status_service.record import Record
from status_service.state_machine import TAKEN_AWAY, Decision, Policy, Transition, Verdict, decide

log = structlog.get_logger()

MAX_BATCH = 500
MAX_QUEUED = 20_000


@dataclass(frozen=True, slots=True)
class Change:
    """What watchers and workers are told of a commit: the record, and the lease it revoked, if any."""

    record: Record
    revoked_worker: str = ""
    revoked_attempt: int = 0


class UnknownMaterial(ServiceError):
    """MATERIAL_NOT_FOUND: no row has this id."""

    def __init__(self) -> None:
        super().__init__(errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, "there is no such material")


@dataclass(slots=True)
class _Submission:
    material_id: UUID
    wanted: Event | Record  # a record is to be made
    done: asyncio.Future[Decision] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


#: An answer as far as it is known before the write: of a record to be made, nothing but the record.
_Undecided = Record | Decision | ServiceError


class RecordWriter:
    """A part: the only writer of `materials`, but for the announcer's own columns."""

    def __init__(
        self,
        postgres: Postgres,
        policy: Policy,
        on_commit: Callable[[Sequence[Change]], None],
        health: WriteHealth,
        metrics: StatusMetrics,
    ) -> None:
        self._batch_changes = metrics.batch
        metrics.queued.set_function(lambda: len(self._queue))
        self._postgres, self._policy, self._on_commit, self._health = postgres, policy, on_commit, health
        self._clock = DatabaseClock()
        self._at_hand = AtHand(self._clock)
        self._queue: list[_Submission] = []
        self._waiting = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to write."""
        self._task = tasks.create_task(self._run(), name="record-writer")

    async def stop(self) -> None:
        """Writes what was submitted, then ends."""
        if self._task is None:
            return
        self._stopping = True
        self._waiting.set()
        await asyncio.wait([self._task], timeout=5.0)
        self._task.cancel()
        await asyncio.wait([self._task])

    async def submit(self, material_id: UUID, event: Event) -> Decision:
        """The decision on an event, durable. Raises UnknownMaterial, and Unavailable when the database is away or too much waits."""
        return await self._enqueue(_Submission(material_id, event)).done

    def submit_nowait(self, material_id: UUID, event: Event) -> asyncio.Future[Decision]:
        """As `submit`, for callers that keep their own order."""
        done = self._enqueue(_Submission(material_id, event)).done
        # Whoever kept it may be gone when it fails.
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        return done

    async def create(self, record: Record) -> Decision:
        """APPLIED with the new record, or REPEATED with the one that has its id or request id. Raises as `submit`, and REQUEST_ID_REUSED."""
        return await self._enqueue(_Submission(record.material_id, record)).done

    def _enqueue(self, submission: _Submission) -> _Submission:
        if len(self._queue) >= MAX_QUEUED:
            raise Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "too many changes wait to be written")
        self._queue.append(submission)
        self._waiting.set()
        return submission

    async def _run(self) -> None:
        while self._queue or not self._stopping:
            await self._waiting.wait()
            batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
            if not self._queue and not self._stopping:
                self._waiting.clear()
            # A caller that went away no longer wants it; what it began may still be wanted, so only those not begun are dropped.
            batch = [submission for submission in batch if not submission.done.cancelled()]
            if batch:
                await self._write(batch)

    async def _write(self, batch: list[_Submission]) -> None:
        try:
            book, decisions = await self._commit(batch)
        except Exception as error:
            if isinstance(error, Unavailable):
                self._health.failed()
            else:
                if len(batch) > 1:
                    # One value that Postgres cannot take must not cost all the others their changes.
                    for submission in batch:
                        await self._write([submission])
                    return
                log.exception("change failed")
            for submission in batch:
                if not submission.done.done():
                    submission.done.set_exception(error)
            return
        for submission, decision in zip(batch, decisions, strict=True):
            answer = book.final(decision)
            if submission.done.done():
                continue
            if isinstance(answer, Decision):
                submission.done.set_result(answer)
            else:
                submission.done.set_exception(answer)

    async def _commit(self, batch: list[_Submission]) -> tuple[_Book, list[_Undecided]]:
        changed = {s.material_id for s in batch if not isinstance(s.wanted, Record)}
        async with self._postgres.connection() as connection:
            # A pause is asked for where claims are decided, also that of a lease which is handed back in the same batch.
            claims = any(isinstance(s.wanted, Claim) for s in batch)
            reading = self._at_hand.take(changed) if changed and not claims else None
            committed = await self._decide_and_write(connection, batch, reading) if reading else None
            if committed is None:
                committed = await self._decide_and_write(connection, batch, await self._read(connection, changed))
            while committed is None:
                # Somebody else was between. Now with the rows locked, so that nobody can be.
                async with connection.transaction():
                    await batch_store.lock(connection, changed)
                    committed = await self._decide_and_write(connection, batch, await self._read(connection, changed))
            book, decisions = committed
            # Watchers first, before anything else: whoever hears the answer may already look.
            self._on_commit(book.changes())
            if book.changed:  # what wrote nothing tells nothing
                self._health.committed()
                self._batch_changes.observe(len(book.changed))
            self._at_hand.keep(book.records())
        return book, decisions

    async def _read(self, connection: Connection, changed: set[UUID]) -> Reading:
        sent = time.monotonic()
        reading = await batch_store.read(connection, changed) if changed else batch_store.NOTHING
        if reading.now is not None:
            self._clock.told(reading.now, sent)
        return reading

    async def _decide_and_write(
        self, connection: Connection, batch: list[_Submission], reading: Reading
    ) -> tuple[_Book, list[_Undecided]] | None:
        """None, with nothing written, when a row is another than the one that was decided on; or may be, and would not be found to be."""
        book = _Book(reading, self._policy)
        decisions = [
            book.add(s.wanted) if isinstance(s.wanted, Record) else book.apply(s.material_id, s.wanted) for s in batch
        ]
        writing = book.writing()
        if not reading.asked and len(writing.updated) < len(reading.records):
            return None
        if writing.new or writing.updated:
            sent = time.monotonic()
            written = await batch_store.write(connection, writing, reading, self._policy.announce_lease)
            if written is None:
                return None
            self._clock.told(written.clock, sent)
            missed = [record for record in writing.new if record.material_id not in written.course_revisions]
            book.settle(written, await batch_store.find_by_request(connection, missed) if missed else [])
        return book, decisions


class _Book:
    """The rows of one batch while it is decided: those known, which events change, and those that are new, unless the table has them already.

    New rows are written once, with the number that the course gives them. Where a row turns out not to be new its number is used by nobody.
    """

    def __init__(self, reading: Reading, policy: Policy) -> None:
        self._policy, self._now, self._paused = policy, reading.now, reading.paused
        self._revoked: dict[UUID, tuple[str, int]] = {}
        self._records = dict(reading.records)
        self._new: dict[UUID, Record] = {}
        self._updated: set[UUID] = set()
        self.changed: dict[UUID, None] = {}
        self._lines: list[tuple[UUID, int, Transition]] = []
        self._found: list[Record] = []

    def add(self, record: Record) -> Record:
        """A record to be made; whether it is new is known only when it is inserted."""
        if record.material_id in self._records:
            self._found.append(self._records[record.material_id])
        else:
            self._new.setdefault(record.material_id, record)
            self.changed[record.material_id] = None
        return record

    def apply(self, material_id: UUID, event: Event) -> Decision | ServiceError:
        """Decides an event on the outcome of those before."""
        record = self._records.get(material_id)
        if record is None or self._now is None:
            return UnknownMaterial()
        decision = decide(record, event, self._now, self._policy, paused=self._paused)
        if decision.record is not record:
            self._records[material_id] = decision.record
            self._updated.add(material_id)
        if decision.changed:
            self.changed[material_id] = None
            if record.lease_worker and decision.record.attempt_outcome in TAKEN_AWAY:
                self._revoked[material_id] = (record.lease_worker, record.attempt)
        if decision.transition is not None:
            self._lines.append((material_id, decision.record.revision, decision.transition))
        return decision

    def writing(self) -> Writing:
        """What has been decided."""
        changed = [self._new.get(key) or self._records[key] for key in self.changed]
        return Writing(list(self._new.values()), [self._records[key] for key in self._updated], changed, self._lines)

    def settle(self, written: Written, found: Sequence[Record]) -> None:
        """Gives each changed record its course revision. `found` are those that the table had in the place of new ones."""
        # The Ingest that asked publishes it itself, and has this long to do so.
        lease = written.now + timedelta(seconds=self._policy.announce_lease)
        for key, record in [*self._new.items()]:
            if key in written.course_revisions:
                self._records[key] = replace(
                    record, created_at=written.now, updated_at=written.now, announce_lease_expires_at=lease
                )
            else:
                del self._new[key]
                del self.changed[key]
        for key in self.changed:
            self._records[key] = replace(self._records[key], course_revision=written.course_revisions[key])
        self._found += [*found, *(self._records[key] for key in self._new)]

    def _created(self, wanted: Record) -> Decision | ServiceError:
        if self._new.pop(wanted.material_id, None) is not None:
            return Decision(Verdict.APPLIED, self._records[wanted.material_id], changed=True)
        for record in self._found:
            same_request = wanted.request_id and (record.owner_id, record.request_id) == (
                wanted.owner_id,
                wanted.request_id,
            )
            if not same_request and record.material_id != wanted.material_id:
                continue
            content = ("owner_id", "course_id", "name", "file_size", "sha256")
            if all(getattr(record, name) == getattr(wanted, name) for name in content):
                return Decision(Verdict.REPEATED, record)
            break
        return ServiceError(
            errors_pb2.ERROR_REASON_REQUEST_ID_REUSED, "this request id was used for another upload; use a new one"
        )

    def final(self, answer: _Undecided) -> Decision | ServiceError:
        """The answer with what only the whole batch knows: a record's number, and whether one to be made was new."""
        if isinstance(answer, Record):
            return self._created(answer)
        if isinstance(answer, Decision) and answer.record.material_id in self.changed:
            final = self._records[answer.record.material_id]
            return replace(answer, record=replace(answer.record, course_revision=final.course_revision))
        return answer

    def records(self) -> Collection[Record]:
        """All of them, as they are now."""
        return self._records.values()

    def changes(self) -> list[Change]:
        """What watchers and workers are told, in the order of the course revisions."""
        return [Change(self._records[key], *self._revoked.get(key, ("", 0))) for key in self.changed]
