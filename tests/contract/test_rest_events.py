"""Live status over HTTP: a material's states as server-sent events, whole and resumed; and what all event streams have in common."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.contract.event_client import Event, StreamEnded
from tests.contract.event_reader import CHANGES, Reader, expected, read_pages, told
from tests.contract.people import People
from tests.contract.record_calls import RecordCalls

GARBAGE = ["x", "-1", "+1", "1.5", "0x1", "1 2", "\u00b2", "9" * 19, "9" * 400, "true", '"1"']


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
        changes, made, heard = read_pages(record, claimed), list[int](), list[int]()
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
