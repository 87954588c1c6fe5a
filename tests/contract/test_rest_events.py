"""Live status over HTTP: the watches of the contract as server-sent events, whole and resumed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from materials.v1 import material_pb2, record_service_pb2

from tests.contract.bare_services import BareServices
from tests.contract.event_client import Event, StreamEnded, opened
from tests.contract.gateway_process import GatewayProcess, started_gateway
from tests.contract.people import People
from tests.contract.record_calls import RecordCalls
from tests.local_stack import LocalStack

PAGES = 6
CHANGES = PAGES + 1
GARBAGE = ["x", "-1", "+1", "1.5", "0x1", "1 2", "\u00b2", "9" * 19, "9" * 400, "true", '"1"']


@pytest.fixture(scope="module")
async def gateway(bare: BareServices, stack: LocalStack) -> AsyncIterator[GatewayProcess]:
    """In front of `status`: a material stays where a test puts it."""
    endpoints = {"status": bare.endpoints["status"]}
    async with started_gateway(stack, endpoints, EVENT_KEEPALIVE_SECONDS="0.2") as running:
        yield running


class Reader:
    """A reader of the course, in front of the gateway."""

    def __init__(self, gateway: GatewayProcess, token: str, course: str) -> None:
        self.gateway, self.token, self.course = gateway, token, course

    def material(self, material_id: str, last_event_id: str | None = None, query: str = "") -> Any:
        """An answer to GET /materials/{id}/events."""
        path = f"/materials/{material_id}/events{query}"
        return opened(self.gateway.address, path, token=self.token, last_event_id=last_event_id)

    def watch_course(self, last_event_id: str | None = None, query: str = "") -> Any:
        """An answer to GET /courses/{id}/events."""
        path = f"/courses/{self.course}/events{query}"
        return opened(self.gateway.address, path, token=self.token, last_event_id=last_event_id)


@pytest.fixture
def reader(gateway: GatewayProcess, stack: LocalStack, course: str) -> Reader:
    return Reader(gateway, stack.user_token("reader", {course: "reader"}), course)


async def expected(people: People, material_id: str) -> dict[str, Any]:
    """What an event tells of the material as it is now, as far as these tests look."""
    material = await people.admin.get(material_id)
    return {
        "id": material_id,
        "revision": material.revision,
        "pages_done": material.pages_done,
        "processing_status": material_pb2.ProcessingStatus.Name(material.processing_status)[18:].lower(),
    }


def told(event: Event) -> dict[str, Any]:
    assert event.name == "material"
    return {name: event.data[name] for name in ("id", "revision", "pages_done", "processing_status")}


async def read_pages(record: RecordCalls, claimed: material_pb2.Material) -> AsyncIterator[int]:
    """Reports a page, yields its revision, and so on; then the end."""
    revision = claimed.revision
    async with record.reports() as reports:
        for done in range(1, PAGES + 1):
            progress = record_service_pb2.Progress(pages_done=done, pages_total=PAGES + 1)
            await reports.ask(claimed.id, claimed.attempt, progress=progress)
            yield (revision := revision + 1)
        await reports.ask(claimed.id, claimed.attempt, completion=record_service_pb2.Completion(pages_total=PAGES + 1))
        yield revision + 1


class TestMaterial:
    async def test_present_state_first_then_each_newer_one_to_the_end(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        material = await record.create("owner", reader.course)
        async with reader.material(material.id) as stream:
            first = await stream.next()
            assert (first.id, told(first)) == ("1", await expected(people, material.id))
            claimed = await record.claimed(material.id)
            assert (await stream.next()).id == "2"
            async for revision in read_pages(record, claimed):
                event = await stream.next()
                assert (event.id, told(event)) == (str(revision), await expected(people, material.id))
            assert event.data["processing_status"] == "completed"
            assert await stream.next() == Event("end", {})
            with pytest.raises(StreamEnded):
                await stream.next()

    async def test_data_is_the_material_as_get_answers_it(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        name = '"quoted" back\\slash \u00e9 \U0001f600 <b> data: x'
        material = await record.create("owner", reader.course, name=name)
        await record.fail(material.id)
        async with (
            httpx.AsyncClient(base_url=f"http://{reader.gateway.address}") as http,
            reader.material(material.id) as stream,
        ):
            headers = {"Authorization": f"Bearer {reader.token}"}
            answer = (await http.get(f"/materials/{material.id}", headers=headers)).json()
            events = await stream.rest()
        assert [event.name for event in events] == ["material", "end"]
        assert events[0].data == answer
        assert (answer["name"], answer["processing_status"]) == (name, "failed")

    @pytest.mark.parametrize("end", [RecordCalls.complete, RecordCalls.fail], ids=["completed", "failed"])
    async def test_client_that_has_seen_the_end_is_told_not_to_come_back(
        self, reader: Reader, record: RecordCalls, end: Any
    ) -> None:
        material = await record.create("owner", reader.course)
        await end(record, material.id)
        async with reader.material(material.id) as stream:
            last = (await stream.rest())[-2]
        for header, query in ((last.id, ""), (None, f"?last_event_id={last.id}")):
            async with reader.material(material.id, header, query) as stream:
                assert stream.status == 204

    async def test_end_that_was_retried_is_an_end_no_more(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        material = await record.create("owner", reader.course)
        await people.owner.cancel(material.id)
        async with reader.material(material.id) as stream:
            [last, _] = await stream.rest()
        await people.owner.retry(material.id)
        async with reader.material(material.id, last.id) as stream:
            assert told(await stream.next()) == await expected(people, material.id)

    async def test_client_that_comes_back_gets_what_is_newer_and_nothing_twice(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        """Cut after each event; by turns the next change comes while the client is away, and while it listens."""
        claimed = await record.claimed((await record.create("owner", reader.course)).id)
        changes, made, heard = read_pages(record, claimed), [], list[int]()
        while len(made) < CHANGES:
            made.append(await anext(changes))
            async with reader.material(claimed.id, str(made[-1] - 1)) as stream:
                heard.append(int((await stream.next()).id))
                if len(made) < CHANGES:
                    made.append(await anext(changes))
                    heard.append(int((await stream.next()).id))
        assert heard == made

    async def test_client_that_knows_the_present_state_hears_of_the_next_one_first(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        material = await record.create("owner", reader.course)
        async with reader.material(material.id, "1") as stream:
            await stream.comment()
            await record.claimed(material.id)
            assert (await stream.next()).id == "2"

    @pytest.mark.parametrize("last_event_id", GARBAGE, ids=lambda value: value[:5])
    async def test_what_is_no_revision_of_the_material_gets_the_newest_state(
        self, reader: Reader, people: People, record: RecordCalls, last_event_id: str
    ) -> None:
        ended, waiting = await record.create("owner", reader.course), await record.create("owner", reader.course)
        await people.owner.cancel(ended.id)
        if last_event_id.isascii():  # what cannot be in a header cannot be sent in one
            async with reader.material(waiting.id, last_event_id) as stream:
                assert told(await stream.next()) == await expected(people, waiting.id)
        query = "?" + str(httpx.QueryParams({"last_event_id": last_event_id}))
        async with reader.material(ended.id, query=query) as stream:
            assert [event.name for event in await stream.rest()] == ["material", "end"]

    @pytest.mark.parametrize("seen", [False, True], ids=["fresh", "resumed"])
    async def test_material_that_is_deleted_meanwhile_ends_the_stream(
        self, reader: Reader, people: People, record: RecordCalls, seen: bool
    ) -> None:
        material = await record.create("owner", reader.course)
        async with reader.material(material.id, "1" if seen else None) as stream:
            if not seen:
                await stream.next()
            await people.owner.delete(material.id)
            assert await stream.rest() == [Event("deleted", {"id": material.id})]
        async with reader.material(material.id, "1") as stream:
            assert (stream.status, (await stream.problem())["reason"]) == (404, "MATERIAL_NOT_FOUND")

    async def test_unknown_material_and_anothers_are_refused_before_any_event(
        self, reader: Reader, record: RecordCalls, course: str
    ) -> None:
        others = await record.create("owner", f"{course}-2")
        problems = []
        for material_id in (others.id, str(uuid.uuid4()), "no-id"):
            for last_event_id in (None, "1"):
                async with reader.material(material_id, last_event_id) as stream:
                    assert stream.status == 404
                    problems.append(await stream.problem())
        assert problems == [problems[0]] * 6
        assert problems[0]["reason"] == "MATERIAL_NOT_FOUND"


class TestCourse:
    async def test_snapshot_without_ids_then_its_end_then_changes_with_ids(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        made = [await record.create("owner", reader.course) for _ in range(3)]
        async with reader.watch_course() as stream:
            *snapshot, complete = await stream.until(is_complete)
            assert sorted(event.data["id"] for event in snapshot) == sorted(material.id for material in made)
            assert {event.id for event in snapshot} == {""}
            assert complete.data == {}
            assert complete.id
            await people.owner.cancel(made[1].id)
            change = await stream.next()
            assert told(change) == await expected(people, made[1].id)
            await people.owner.delete(made[0].id)
            deletion = await stream.next()
            assert (deletion.name, deletion.data) == ("deleted", {"id": made[0].id})
            assert len({complete.id, change.id, deletion.id}) == 3

    async def test_each_id_resumes_with_all_that_came_later_once(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        first = await record.create("owner", reader.course)
        async with reader.watch_course() as stream:
            heard = [(await stream.until(is_complete))[-1]]
            second = await record.create("owner", reader.course)
            heard.append(await stream.next())
            claimed = await record.claimed(second.id)
            heard.append(await stream.next())
            await people.owner.delete(first.id)
            heard.append(await stream.next())
            async for _ in read_pages(record, claimed):
                heard.append(await stream.next())
        for number, event in enumerate(heard):
            newest = {each.data["id"]: each for each in heard[number + 1 :]}
            wanted = sorted(newest.values(), key=heard.index)
            for header, query in ((event.id, ""), (None, "?" + str(httpx.QueryParams({"last_event_id": event.id})))):
                async with reader.watch_course(header, query) as stream:
                    *missed, complete = await stream.until(is_complete)
                    assert missed == wanted
                    assert complete.id == heard[-1].id

    async def test_stream_cut_after_each_event_tells_every_change_once(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        """By turns the next change comes while the client is away, and while it listens."""
        claimed = await record.claimed((await record.create("owner", reader.course)).id)
        async with reader.watch_course() as stream:
            last = (await stream.until(is_complete))[-1].id
        changes, made, heard = read_pages(record, claimed), [], list[int]()
        while len(made) < CHANGES:
            made.append(await anext(changes))
            async with reader.watch_course(last) as stream:
                events = await stream.until(is_complete)
                if len(made) < CHANGES:
                    made.append(await anext(changes))
                    events.append(await stream.next())
            heard += [event.data["revision"] for event in events if event.name == "material"]
            last = events[-1].id
        assert heard == made

    @pytest.mark.parametrize("in_header", [True, False], ids=["header", "query"])
    async def test_id_that_is_none_of_the_courses_is_refused(
        self, reader: Reader, record: RecordCalls, in_header: bool
    ) -> None:
        another = Reader(reader.gateway, reader.token, f"{reader.course}-2")
        await record.create("owner", another.course)
        async with another.watch_course() as stream:
            others = (await stream.until(is_complete))[-1].id
        for last_event_id in ("x", "1", others, others[:-4], "a" * 9_000):
            query = "" if in_header else f"?last_event_id={last_event_id}"
            async with reader.watch_course(last_event_id if in_header else None, query) as stream:
                problem = await stream.problem()
                assert (stream.status, problem["reason"]) == (400, "RESUME_TOKEN_INVALID")

    async def test_only_what_the_caller_may_see_is_told(
        self, gateway: GatewayProcess, reader: Reader, people: People, record: RecordCalls, stack: LocalStack
    ) -> None:
        """Somebody who is no member of the course sees their own materials in it."""
        guest = Reader(gateway, stack.user_token("guest", {"another-course": "reader"}), reader.course)
        hidden, own = await record.create("owner", reader.course), await record.create("guest", reader.course)
        async with guest.watch_course() as stream:
            *snapshot, complete = await stream.until(is_complete)
            assert [event.data["id"] for event in snapshot] == [own.id]
            await people.owner.cancel(hidden.id)
            await people.owner.delete(hidden.id)
            await record.claimed(own.id)
            assert told(await stream.next()) == await expected(people, own.id)
        async with guest.watch_course(complete.id) as stream:
            assert [event.name for event in await stream.until(is_complete)] == ["material", "snapshot_complete"]

    async def test_course_without_materials_is_complete_at_once(self, reader: Reader) -> None:
        async with reader.watch_course() as stream:
            assert (await stream.next()).name == "snapshot_complete"

    async def test_course_that_cannot_be_is_refused(self, reader: Reader) -> None:
        async with Reader(reader.gateway, reader.token, "x" * 300).watch_course() as stream:
            assert (stream.status, (await stream.problem())["reason"]) == (422, "FIELD_INVALID")


class TestStream:
    async def test_headers_keep_proxies_and_caches_away(self, reader: Reader, record: RecordCalls) -> None:
        material = await record.create("owner", reader.course)
        for answer in (reader.material(material.id), reader.watch_course()):
            async with answer as stream:
                assert stream.status == 200
                assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
                assert stream.headers["cache-control"] == "no-cache, no-transform"
                assert stream.headers["x-accel-buffering"] == "no"
                assert stream.headers["x-content-type-options"] == "nosniff"
                assert "content-length" not in stream.headers

    async def test_browsers_are_told_when_to_come_back(self, reader: Reader) -> None:
        async with reader.watch_course() as stream:
            await stream.next()
            assert stream.retry == 1000

    async def test_quiet_stream_is_kept_alive(self, reader: Reader) -> None:
        async with reader.watch_course() as stream:
            await stream.next()
            assert [await stream.comment() for _ in range(3)] == ["keep-alive"] * 3


def is_complete(event: Event) -> bool:
    return event.name == "snapshot_complete"


class TestTicket:
    @pytest.fixture
    async def http(self, reader: Reader) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(
            base_url=f"http://{reader.gateway.address}", headers={"Authorization": f"Bearer {reader.token}"}
        ) as client:
            yield client

    async def ticket(self, http: httpx.AsyncClient, **wanted: str) -> str:
        """The URL that a ticket opens."""
        response = await http.post("/tickets", json=wanted)
        assert response.status_code == 201
        return str(response.json()["url"])

    async def test_ticket_opens_a_stream_once(
        self, reader: Reader, record: RecordCalls, http: httpx.AsyncClient
    ) -> None:
        material = await record.create("owner", reader.course)
        for wanted in ({"material_id": material.id}, {"course_id": reader.course}):
            url = await self.ticket(http, purpose="events", **wanted)
            async with opened(reader.gateway.address, url) as stream:
                assert stream.status == 200
                assert (await stream.next()).data["id"] == material.id
                async with opened(reader.gateway.address, url) as again:
                    assert again.status == 401
                    assert (await again.problem())["reason"] == "TICKET_INVALID"

    async def test_ticket_resumes_where_the_url_says(
        self, reader: Reader, people: People, record: RecordCalls, http: httpx.AsyncClient
    ) -> None:
        """A page that makes a new EventSource with a new ticket cannot send the header."""
        material = await record.create("owner", reader.course)
        async with reader.watch_course() as stream:
            last = (await stream.until(is_complete))[-1]
        await people.owner.cancel(material.id)
        url = await self.ticket(http, purpose="events", course_id=reader.course)
        async with opened(reader.gateway.address, f"{url}&{httpx.QueryParams({'last_event_id': last.id})}") as stream:
            assert told(await stream.next()) == await expected(people, material.id)

    async def test_ticket_for_something_else_opens_no_stream_and_is_not_used_up(
        self, reader: Reader, record: RecordCalls, http: httpx.AsyncClient
    ) -> None:
        first, second = await record.create("owner", reader.course), await record.create("owner", reader.course)
        url = await self.ticket(http, purpose="events", material_id=first.id)
        of_content = await self.ticket(http, purpose="content", material_id=first.id)
        ticket = url.partition("?")[2]
        for path in (
            f"/materials/{second.id}/events?{ticket}",
            f"/courses/{reader.course}/events?{ticket}",
            f"/materials/{first.id}/content?{ticket}",
            f"/materials/{first.id}/events?{of_content.partition('?')[2]}",
            f"{url}x",
            f"/materials/{first.id}/events?ticket=",
        ):
            async with opened(reader.gateway.address, path) as stream:
                assert (stream.status, (await stream.problem())["reason"]) == (401, "TICKET_INVALID"), path
        async with opened(reader.gateway.address, url) as stream:
            assert stream.status == 200
