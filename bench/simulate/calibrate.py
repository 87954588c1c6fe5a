"""Measures the service times on a real stack: computing time of each part from the kernel, bytes from Postgres and NATS themselves. About a minute.

What is measured is computing time and not time that passes, so that a busy machine makes the figures less wrong. Only the commit and the round trip are by the
clock. The stack is the one of `make run`: every part a process, all on one machine.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from bench.bed import Bed
from bench.changes import Changes
from bench.paged_documents import picture_pdf
from bench.passage_rows import VOCABULARY
from bench.processes import machine, memory_mib, spending
from bench.simulate.rig import CALL_SECONDS, UPLOADS_AT_ONCE, Rig, Spent
from bench.simulate.service_times import ServiceTimes
from bench.watched_course import WatchedCourse
from bench.watchers import Watchers
from tests.local_stack import unique_course

UPLOADS, UPLOAD_BYTES = 320, 65_536
LARGE_UPLOADS, LARGE_BYTES = 32, 3 * 1024**2
SHORT, LONG_PAGES, LONG = 48, 13, 10
#: Texts whose words are as unequally frequent as those of real ones: what the index logs of a page depends on its words, and the Brain's script has few.
TEXT_WORDS, TEXTS, LONG_TEXT_PAGES, LONG_TEXTS = 330, 40, 9, 12
CHANGES_AT_ONCE, CHANGES = 48, 30
WATCHERS = 400
PASSAGES = "SELECT count(*) FROM processor.passages"


async def calibrate(bed: Bed) -> ServiceTimes:
    """All of it."""
    async with Rig.started(bed) as rig:
        bed.say("uploads")
        await rig.upload([picture_pdf(1) for _ in range(4)])
        await rig.read_all(4)
        await rig.pause()
        uploaded, large = UPLOADS + UPLOADS_AT_ONCE, LARGE_UPLOADS + UPLOADS_AT_ONCE
        upload = (await rig.meter.of(lambda: rig.upload_many(UPLOADS, UPLOAD_BYTES))).each(uploaded)
        of_large = (await rig.meter.of(lambda: rig.upload_many(LARGE_UPLOADS, LARGE_BYTES))).each(large)
        done = 4 + uploaded + large
        mib = (LARGE_BYTES - UPLOAD_BYTES) / 1024**2
        bed.say("materials of a page")
        await rig.read_all(done)
        await rig.pause()
        await rig.upload([picture_pdf(1) for _ in range(SHORT)])
        short = (await rig.meter.of(lambda: rig.read_all(done + SHORT))).each(SHORT)
        done += SHORT
        bed.say(f"materials of {LONG_PAGES} pages")
        await rig.pause()
        await rig.upload([picture_pdf(LONG_PAGES) for _ in range(LONG)])
        before = await rig.database.fetchval(PASSAGES, timeout=CALL_SECONDS)
        long = (await rig.meter.of(lambda: rig.read_all(done + LONG))).each(LONG)
        after = await rig.database.fetchval(PASSAGES, timeout=CALL_SECONDS)
        page = long.further(short, LONG_PAGES - 1)
        material = short.further(page)
        done += LONG
        bed.say("texts")
        texts = await _texts(rig, 1, TEXTS, done)
        long_texts = await _texts(rig, LONG_TEXT_PAGES, LONG_TEXTS, done + TEXTS)
        done += TEXTS + LONG_TEXTS
        record = await rig.sizes("status", done)
        index = await rig.sizes("processor", done + LONG * (LONG_PAGES - 1) + LONG_TEXTS * (LONG_TEXT_PAGES - 1))
        bed.say("changes")
        alone = (await _changes(rig, 1)).each(CHANGES)
        together = (await _changes(rig, CHANGES_AT_ONCE)).each(CHANGES * CHANGES_AT_ONCE)
        batch = alone.demand - together.demand
        # A page's text is a long text's share of it; each page is a change, too.
        page_wal = (long_texts - texts) / (LONG_TEXT_PAGES - 1) + together.wal
        commit, round_trip = await rig.commit_seconds()
        event_bytes = await rig.event_bytes()
        picks = await rig.picks()
    foreign, watcher, watcher_bytes = await _watching(bed)
    return ServiceTimes(
        upload.demand, of_large.further(upload).demand.ingest / mib, material.demand, page.demand, batch, together.demand, commit, round_trip, *picks,
        foreign, watcher, watcher_bytes, upload.wal, max(0.0, texts - page_wal), page_wal, record, index,
        (after - before) / (LONG * LONG_PAGES), event_bytes, machine(), datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


async def _texts(rig: Rig, pages: int, count: int, done: int) -> float:
    """Bytes of the log for each of so many texts as long as so many pages, from their claim to their completion; `done` were completed before."""
    numbers, weights = random.Random(pages), [1 / rank for rank in range(1, len(VOCABULARY) + 1)]
    await rig.pause()
    await rig.upload(
        (" ".join(numbers.choices(VOCABULARY, weights, k=TEXT_WORDS * pages)).encode() for _ in range(count)),
        "text.txt",
    )
    return (await rig.meter.of(lambda: rig.read_all(done + count))).each(count).wal


async def _changes(rig: Rig, at_once: int) -> Spent:
    """CHANGES of each of so many materials, all at once; a batch is of as many."""
    address, token = rig.stack.facts["endpoints"]["status"][0], rig.stack.facts["service_token"]
    async with AsyncExitStack() as exits:
        materials = [
            await exits.enter_async_context(Changes.of_new_material(address, token, unique_course()))
            for _ in range(at_once)
        ]

        async def make(changes: Changes) -> None:
            for _ in range(CHANGES):
                await changes.make()

        return await rig.meter.of(lambda: asyncio.gather(*(make(each) for each in materials)))


async def _watching(bed: Bed) -> tuple[float, float, float]:
    """Seconds of a replica for a change that another made; seconds and bytes of a watcher."""
    async with WatchedCourse.opened(bed) as watched, Watchers.started(bed) as crowd:
        other = watched.stack.current()["pids"]["status-2"]
        with spending([other]) as foreign:
            for _ in range(CHANGES * 10):
                await watched.changes.make()
        with spending([watched.status_pid]) as unwatched:
            for _ in range(CHANGES):
                await watched.changes.make()
        before = memory_mib([watched.status_pid])
        await watched.add_watchers(crowd, WATCHERS)
        await crowd.receive(watched.changes.make)
        with spending([watched.status_pid]) as seen:
            for _ in range(CHANGES):
                await crowd.receive(watched.changes.make)
        memory = (memory_mib([watched.status_pid]) - before) * 1024 * 1024 / WATCHERS
    watcher = (seen.seconds - unwatched.seconds) / (CHANGES * WATCHERS)
    return foreign.seconds / (CHANGES * 10), watcher, memory
