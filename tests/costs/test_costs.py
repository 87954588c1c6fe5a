"""What each path costs: round trips to Postgres, commits, messages between services and over NATS, calls of the Brain.

Who changes a number changes it here, knowingly. Each statement is a round trip, BEGIN and COMMIT too. A connection's way back to its pool costs none.

one material    GET.
a list's page   one LIST_*.
a search        the generation in use; one read-only transaction of seven statements; the Brain embeds the query; Status is asked for the materials: GET.
a watch opens   of a course, through the gateway: COURSE_REVISION for the feed, where nobody watches it yet; COURSE_REVISION and COURSE_SINCE for the snapshot.
an upload       AdmitUploads: ADMISSION. CreateMaterials: one statement. The event, on JetStream; the change, to other replicas. MarkAnnounced: one statement.
  over HTTP     and the gateway's call, which takes the metadata in one message and the bytes of a small file in another.
a change        GET, then READ and one statement that writes; one message on NATS; one to each watcher, and no query for any.
a material      as it is read: ClaimMaterial, which looks whose turn it is with two queries; reports that it has begun and that it is done, each a message on
                one long stream; each of the three is a write and a change, the claim READ as well. Of the processor: the document opened (three
                statements) and sealed (four), each a transaction; whether its bytes were read before; the generation in use. One acknowledgement. One less: no
                text is before its first page.
a report        one statement that writes, of what Status has at hand, and a change; a renewal that statement alone.
a page          a report, fewer where pages are faster than reports. Of the processor: the text before it, the generation in use, one transaction of page and
                passages. The Brain embeds it,
  a picture     and has read it before.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from materials.v1 import record_service_pb2 as pb

from tests.costs.background import BACKGROUND
from tests.costs.ledger import Bill, Cost
from tests.costs.paths import TEXT, Paths

MATERIAL_READ, LIST_PAGE, SEARCH = "one material", "a list's page", "a search"
COSTS = {
    #                          of Status         of Processor
    #                          trips  commits    trips  commits    messages  watched  published  Brain
    MATERIAL_READ:         Cost(   1,       0,       0,       0,          0,       0,         0,     0),
    LIST_PAGE:             Cost(   1,       0,       0,       0,          0,       0,         0,     0),
    SEARCH:                Cost(   1,       0,       8,       0,          1,       0,         0,     1),
    "a watch opens":       Cost(   3,       0,       0,       0,          1,       1,         0,     0),
    "another watch opens": Cost(   2,       0,       0,       0,          1,       1,         0,     0),
    "an upload":           Cost(   3,       2,       0,       0,          3,       0,         2,     0),
    "an upload over HTTP": Cost(   3,       2,       0,       0,          5,       0,         2,     0),
    "a change":            Cost(   3,       1,       0,       0,          0,       0,         1,     0),
    "its watcher":         Cost(   0,       0,       0,       0,          0,       1,         0,     0),
    "a report":            Cost(   1,       1,       0,       0,          0,       0,         1,     0),
    "a renewal":           Cost(   1,       1,       0,       0,          0,       0,         0,     0),
    "a material":          Cost(   6,       3,       8,       2,          3,       0,         4,     0),
    "a page":              Cost(   1,       1,       8,       1,          1,       0,         1,     1),
    "a picture":           Cost(   0,       0,       0,       0,          0,       0,         0,     1),
}  # fmt: skip
AT_ONCE, WATCHERS, PAGES = 20, 20, 12
#: Those that wait are written together, and so are the marks of those announced: in how few commits depends on when they come, but one for each they are not.
COMMITS_AT_ONCE = AT_ONCE
IDLE_SECONDS = 5.0
#: Each text has words that most of its course does not have: words in most passages are not looked for.
TEXTS = (TEXT, "Treaties are signed after three years of negotiations.", "Supply and demand meet at a price.")
QUERIES = ("entropy", "signed treaties", "the price at which supply and demand meet", "isolated demand of treaties")


def assert_costs(bill: Bill, exactly: Cost) -> None:
    """With all that was seen in the words of the failure."""
    _assert(bill, bill.cost == exactly, f"{bill.cost}, not {exactly}")


def assert_costs_at_most(bill: Bill, most: Cost) -> None:
    """The same where the number of commits or reports depends on how they meet."""
    _assert(bill, bill.cost.within(most), f"{bill.cost}, more than {most}")


def _assert(bill: Bill, right: bool, words: str) -> None:
    if not right:
        pytest.fail(f"costs {words}. Seen:\n{bill}")
    if bill.prepared_again:
        pytest.fail(f"prepared again, as with each call: {bill.prepared_again}")


async def test_nothing_but_the_background_is_asked_while_watchers_wait(paths: Paths) -> None:
    clock = asyncio.get_running_loop().time
    async with paths.watchers(WATCHERS), paths.stack.billed() as bill:
        began = clock()
        await asyncio.sleep(IDLE_SECONDS)  # what is counted is what happens when nothing happens
        seconds = clock() - began
    assert_costs(bill, Cost())
    seen = Counter(entry.background for entry in bill.entries if not entry.gives_back)
    for each in BACKGROUND:
        most = each.most(seconds)
        assert seen[each] <= most, f"{each.edge}: {seen[each]} in {seconds:.1f} s, not {most:.1f} of {each.what}"


@pytest.fixture
async def read_material(paths: Paths) -> str:
    """One of a few materials of the course, all of which have been read."""
    materials = [await paths.upload(text) for text in TEXTS]
    await paths.stack.read(*materials)
    return materials[0]


@pytest.mark.parametrize("path", [MATERIAL_READ, LIST_PAGE, SEARCH])
async def test_a_look_costs(paths: Paths, read_material: str, path: str) -> None:
    async def look() -> None:
        match path:
            case "one material":
                await paths.get(read_material)
            case "a list's page":
                await paths.list_course()
            case _:
                await paths.search(QUERIES[0])

    await look()
    async with paths.stack.billed() as bill:
        await look()
    assert_costs(bill, COSTS[path])


async def test_statements_are_the_same_whatever_is_searched_for(paths: Paths, read_material: str) -> None:
    await paths.search(QUERIES[0])
    known = set(paths.stack.ledger.statements)
    async with paths.stack.billed() as bill:
        for query in QUERIES:
            await paths.search(query)
    assert paths.stack.ledger.statements == known
    assert_costs(bill, COSTS[SEARCH] * len(QUERIES))


async def test_a_watch_opens(paths: Paths) -> None:
    async with paths.stack.billed() as first, paths.watchers(1):
        pass
    async with paths.watchers(1), paths.stack.billed() as another, paths.watchers(1):
        pass
    assert_costs(first, COSTS["a watch opens"])
    assert_costs(another, COSTS["another watch opens"])


class TestWhileNothingIsRead:
    """Uploads alone."""

    async def test_an_upload(self, paused: Paths) -> None:
        async with paused.stack.billed() as bill:
            await paused.stack.announced(await paused.upload())
        assert_costs(bill, COSTS["an upload"])

    async def test_an_upload_over_http(self, paused: Paths) -> None:
        async with paused.stack.billed() as bill:
            await paused.stack.announced(await paused.upload_over_http())
        assert_costs(bill, COSTS["an upload over HTTP"])

    async def test_uploads_at_once_share_commits(self, paused: Paths) -> None:
        async with paused.stack.billed() as bill:
            async with paused.stack.writes_held():
                uploads = [asyncio.create_task(paused.upload()) for _ in range(AT_ONCE)]
                await paused.stack.stored(more=AT_ONCE)
            await paused.stack.announced(*await asyncio.gather(*uploads))
        assert_costs_at_most(bill, COSTS["an upload"] * AT_ONCE)
        _assert(bill, bill.cost.status_commits <= COMMITS_AT_ONCE, f"{bill.cost}, more than {COMMITS_AT_ONCE} commits")

    async def test_a_change_costs_each_watcher_a_message(self, paused: Paths) -> None:
        material_id = await paused.upload()
        await paused.stack.announced(material_id)
        published = paused.stack.seen("status → nats", "status.v1.changes")
        async with paused.watchers(WATCHERS) as streams, paused.stack.billed() as bill, published:
            await paused.cancel(material_id)
            for stream in streams:
                assert (await stream.next()).data["id"] == material_id
        assert_costs(bill, COSTS["a change"] + COSTS["its watcher"] * WATCHERS)


async def test_reports(paths: Paths) -> None:
    async with paths.leased() as (material_id, reports):
        async with paths.stack.billed() as bill, paths.stack.seen("status → nats", "status.v1.changes", PAGES):
            for page in range(1, PAGES + 1):
                await reports.ask(material_id, 1, progress=pb.Progress(pages_done=page, pages_total=PAGES + 1))
        assert_costs(bill, COSTS["a report"] * PAGES)
        async with paths.stack.billed() as bill:
            await reports.ask(material_id, 1, renewal=pb.Renewal())
        assert_costs(bill, COSTS["a renewal"])
        await reports.ask(material_id, 1, completion=pb.Completion(pages_total=PAGES + 1))


async def test_a_text_is_read(paths: Paths) -> None:
    async with paths.stack.billed() as bill:
        await paths.stack.read(await paths.upload())
    _assert_read(bill, COSTS["an upload"] + COSTS["a material"] + COSTS["a page"])


async def test_pages_of_pictures_are_read(paths: Paths) -> None:
    async with paths.stack.billed() as bill:
        await paths.stack.read(await paths.upload_pictures(PAGES))
    _assert_read(bill, COSTS["an upload"] + COSTS["a material"] + (COSTS["a page"] + COSTS["a picture"]) * PAGES)


async def test_a_backlog_costs_the_processor_no_more_than_one_by_one(paths: Paths) -> None:
    async with paths.stack.billed() as bill:
        await paths.stack.read(*await asyncio.gather(*[paths.upload() for _ in range(AT_ONCE)]))
    each = COSTS["a material"] + COSTS["a page"]
    asked = sum(entry.what == "RecordService.ClaimMaterial" for entry in bill.path)
    _assert(bill, _of_processor(bill.cost) == _of_processor(each * AT_ONCE), f"{bill.cost}, not of {AT_ONCE} × {each}")
    # A delivery that finds another material's turn gives that one a lease, and comes again.
    _assert(bill, asked <= 3 * AT_ONCE, f"{asked} claims of {AT_ONCE} materials")


def _assert_read(bill: Bill, most: Cost) -> None:
    assert_costs_at_most(bill, most)
    _assert(bill, _of_processor(bill.cost) == _of_processor(most), f"{bill.cost}, not the processor's part of {most}")


def _of_processor(cost: Cost) -> Cost:
    """The part that does not depend on how reports meet."""
    return Cost(processor_trips=cost.processor_trips, processor_commits=cost.processor_commits, brain=cost.brain)
