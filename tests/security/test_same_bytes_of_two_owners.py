"""Whether somebody else has uploaded the same bytes: no reply and no state tells, since nothing is shared between owners."""

from __future__ import annotations

from materials.v1 import material_pb2

from tests.contract.person import Person
from tests.local_stack import Client, LocalStack, unique_course

TEXT = b"The marks of the exam: everybody has passed."
#: What is each material's own. A revision counts the reports of progress too, and those that come close together are one.
OWN = {"id", "course_id", "file_path", "owner_id", "created_at", "updated_at", "processed_at", "revision"}


def shape(material: material_pb2.Material) -> dict[str, object]:
    """All fields but those of its own, and which of those are filled in."""
    fields = {field.name: value for field, value in material.ListFields()}
    return {name: "filled in" if name in OWN else value for name, value in fields.items()}


async def test_reply_states_and_history_are_as_if_nobody_else_had_the_bytes(stack: LocalStack) -> None:
    courses = {"first": unique_course(), "second": unique_course()}
    replies, ends, histories = [], [], []
    for owner in ("first", "second"):
        async with stack.client(stack.user_token(owner, {courses[owner]: "editor"})) as client:
            # The same request id, too: it is the owner's own.
            reply = await client.upload(TEXT, course=courses[owner], name="marks.txt", request_id="one-and-the-same")
            replies.append(reply)
            ends.append((await client.watch_to_end(reply.id))[-1])
            transitions = (await Person(client).history(reply.id)).transitions
            histories.append([(each.event, each.from_status, each.to_status, each.attempt) for each in transitions])
    assert shape(replies[0]) == shape(replies[1])
    assert [reply.revision for reply in replies] == [1, 1]
    assert shape(ends[0]) == shape(ends[1])
    assert histories[0] == histories[1]
    assert [event for event, *_ in histories[1]] == ["created", "claimed", "completed"], "it was not read again"
    for field in ("id", "file_path"):
        assert getattr(ends[0], field) != getattr(ends[1], field)
    assert all((stack.data_dir / "objects" / material.file_path).read_bytes() == TEXT for material in ends)


async def test_deleting_one_leaves_the_other_whole(stack: LocalStack, client: Client) -> None:
    course = unique_course()
    async with stack.client(stack.user_token("classmate", {course: "editor"})) as classmate:
        theirs = await classmate.upload(TEXT, course=course, name="marks.txt")
        ours = await client.upload(TEXT, course=course, name="marks.txt")
        await classmate.watch_to_end(theirs.id)
        ended = (await client.watch_to_end(ours.id))[-1]
        await Person(classmate).delete(theirs.id)
    assert await client.get(ours.id) == ended
    assert (stack.data_dir / "objects" / ours.file_path).read_bytes() == TEXT


async def test_another_owners_upload_says_nothing_to_who_may_not_see_it(client: Client, stack: LocalStack) -> None:
    theirs = await client.upload(TEXT, course=unique_course(), name="marks.txt", request_id="theirs")
    course = unique_course()
    async with stack.client(stack.user_token("curious", {course: "editor"})) as curious:
        ours = await curious.upload(TEXT, course=course, name="marks.txt", request_id="theirs")
        assert ours.id != theirs.id
        assert (ours.revision, ours.attempt) == (1, 0)
        assert await Person(curious).listed() == [ours.id]
