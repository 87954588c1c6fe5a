"""Live status over HTTP: a course's snapshot and changes as server-sent events, whole and resumed; and tickets in place of the header."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.contract.event_client import opened
from tests.contract.event_reader import CHANGES, Reader, expected, is_complete, read_pages, told
from tests.contract.gateway_process import GatewayProcess
from tests.contract.people import People
from tests.contract.record_calls import RecordCalls
from tests.local_stack import LocalStack


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
            wanted = [(each.name, each.data) for each in sorted(newest.values(), key=heard.index)]
            for header, query in ((event.id, ""), (None, "?" + str(httpx.QueryParams({"last_event_id": event.id})))):
                async with reader.watch_course(header, query) as stream:
                    *missed, complete = await stream.until(is_complete)
                    assert [(each.name, each.data) for each in missed] == wanted
                    assert all(each.id for each in missed)
                async with reader.watch_course(complete.id) as stream:
                    assert (await stream.next()).name == "snapshot_complete"

    async def test_stream_cut_after_each_event_tells_every_change_once(
        self, reader: Reader, people: People, record: RecordCalls
    ) -> None:
        """By turns the next change comes while the client is away, and while it listens."""
        claimed = await record.claimed((await record.create("owner", reader.course)).id)
        async with reader.watch_course() as stream:
            last = (await stream.until(is_complete))[-1].id
        changes, made, heard = read_pages(record, claimed), list[int](), list[int]()
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
        self, watching_gateway: GatewayProcess, reader: Reader, people: People, record: RecordCalls, stack: LocalStack
    ) -> None:
        """Somebody who is no member of the course sees their own materials in it."""
        guest = Reader(watching_gateway, stack.user_token("guest", {"another-course": "reader"}), reader.course)
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
