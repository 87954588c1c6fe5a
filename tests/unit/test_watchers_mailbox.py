"""A slow watcher gets the newest states, costs bounded memory, and knows when it has missed something."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import material_pb2

from status_service.change_feed import MAILBOX_MATERIALS, CourseChange, Mailbox


def change(material_id: str, course_revision: int) -> CourseChange:
    material = material_pb2.Material(id=material_id, revision=course_revision)
    return CourseChange(material, course_revision, deleted=False)


@given(st.lists(st.sampled_from("abcde"), max_size=60))
def test_only_the_newest_state_of_each_material_waits_in_the_order_of_the_changes(ids: list[str]) -> None:
    mailbox = Mailbox()
    for revision, material_id in enumerate(ids, 1):
        mailbox.put(change(material_id, revision))
    taken, lagging = mailbox.take()
    newest = {material_id: revision for revision, material_id in enumerate(ids, 1)}
    assert [item.course_revision for item in taken] == sorted(newest.values())
    assert not lagging


def test_a_watcher_that_never_reads_costs_no_more_than_its_bound_and_is_told_that_it_lags() -> None:
    mailbox = Mailbox()
    for revision in range(1, 3 * MAILBOX_MATERIALS):
        mailbox.put(change(f"material-{revision}", revision))
        assert len(mailbox.changes) <= MAILBOX_MATERIALS
    taken, lagging = mailbox.take()
    assert lagging
    assert taken == [], "what is left of a dropped queue has gaps: it is read from the record again"
    mailbox.put(change("next", 10**6))
    taken, lagging = mailbox.take()
    assert ([item.material.id for item in taken], lagging) == (["next"], False)


async def test_a_mailbox_wakes_its_watcher_and_sleeps_when_it_is_empty() -> None:
    mailbox = Mailbox()
    for revision in (1, 2):
        waiting = asyncio.create_task(mailbox.filled())
        await asyncio.sleep(0)
        assert not waiting.done()
        mailbox.put(change("a", revision))
        await waiting
        await mailbox.filled()  # at once: it was not taken yet
        mailbox.take()


async def test_a_mailbox_that_is_closed_wakes_its_watcher_also_when_the_watcher_comes_later() -> None:
    mailbox = Mailbox()
    waiting = asyncio.create_task(mailbox.filled())
    await asyncio.sleep(0)
    mailbox.close()
    await waiting
    await mailbox.filled()
    assert mailbox.closed


async def test_a_watcher_that_went_while_it_waited_hinders_no_change() -> None:
    mailbox = Mailbox()
    waiting = asyncio.create_task(mailbox.filled())
    await asyncio.sleep(0)
    waiting.cancel()
    mailbox.put(change("a", 1))
    assert [item.material.id for item in mailbox.take()[0]] == ["a"]


def test_a_change_is_turned_into_a_message_once_for_all_its_watchers() -> None:
    shared = change("a", 1)
    assert shared.watch_material_response is shared.watch_material_response
