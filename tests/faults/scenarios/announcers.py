"""Two announcers at once, and one that dies with announcements in hand."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

from materials.v1 import events_pb2
from nats.js import JetStreamContext

from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import PAIR, scenario
from tests.faults.scenarios.broker_amnesia import STREAM
from tests.faults.tcp_proxy import Direction
from tests.faults.workload import Upload, Workload

BACKLOG = 40


async def _times_announced(jetstream: JetStreamContext, uploads: list[Upload], after: int) -> Counter[str]:
    """How often the stream holds each material's event, looked up by sequence."""
    wanted = {upload.id for upload in uploads}
    found: Counter[str] = Counter()
    for sequence in range(after + 1, (await jetstream.stream_info(STREAM)).state.last_seq + 1):
        message = await jetstream.get_msg(STREAM, sequence)
        material_id = events_pb2.MaterialUploaded.FromString(message.data or b"").material_id
        found.update({material_id} & wanted)
    return found


@scenario("28a", "announcers: two at once, with forty materials to announce", layout=PAIR, recovery=30)
async def two_at_once(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    async with stack.jetstream() as jetstream:
        before = (await jetstream.stream_info(STREAM)).state.last_seq
        with stack.proxies["ingest", "nats"].refusing():
            uploads = await work.notes(BACKLOG)
        work.fault_over()
        await work.settled(30)
        announced = await _times_announced(jetstream, uploads, before)
    assert len(announced) == BACKLOG, f"{BACKLOG - len(announced)} were never announced"
    again = announced.total() - BACKLOG
    assert again <= BACKLOG // 10, f"{again} of {BACKLOG} were announced again"


@scenario("28b", "announcers: killed with announcements in hand", recovery=15)
async def killed_with_announcements(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:
        before = (await jetstream.stream_info(STREAM)).state.last_seq
        nats, status = stack.proxies["ingest", "nats"], stack.proxies["ingest", "status"]
        with ExitStack() as held:
            with nats.refusing():
                uploads = await work.notes(8)
                # Nobody holds them any more: their Ingest has had its time, and an announcer without a broker asks for none.
                due = await stack.until_row(
                    "SELECT max(announcement) AS number FROM status.materials WHERE owner_id = $1 AND announced_at IS NULL"
                    " HAVING count(*) = $2 AND max(announce_lease_expires_at) < clock_timestamp()",
                    work.owner,
                    len(uploads),
                )
                held.enter_context(status.holding(Direction.TO_CLIENT))
            # The record hands them out, and the answer never arrives.
            await stack.until_row(
                "SELECT 1 FROM status.materials WHERE owner_id = $1 AND announcement > $2", work.owner, due["number"]
            )
            pids = stack.kill("ingest")
        await stack.restarted(pids)
        work.fault_over()
        await work.settled(15)
        announced = await _times_announced(jetstream, uploads, before)
    assert set(announced) == {upload.id for upload in uploads}, "some were never announced"
    assert max(announced.values()) <= 2, f"announced again and again: {announced}"
