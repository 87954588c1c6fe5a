"""Messages on the stream that nobody of ours has sent."""

from __future__ import annotations

import asyncio
import json
import random
import uuid

import nats
from materials.v1 import events_pb2
from nats.aio.msg import Msg

from tests.faults.debris import CONSUMERS
from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import scenario
from tests.faults.scenarios.broker_amnesia import STREAM
from tests.faults.workload import Workload

UPLOADED, DELETED = "materials.v1.uploaded", "materials.v1.deleted"
TERMINATED = f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.{STREAM}.>"
#: The broker takes messages of 1 MiB, headers included.
LARGEST = 1024 * 1024


def _of_the_future(material_id: str) -> bytes:
    """An event with a field, number 1000, that nobody knows yet."""
    return events_pb2.MaterialUploaded(material_id=material_id).SerializeToString() + b"\xc2\x3e\x06future"


def _junk() -> dict[str, bytes]:
    """What can never be read, whatever the subject."""
    return {
        "empty": b"",
        "random bytes": random.Random(25).randbytes(200),
        "text": b"not protobuf at all",
        "cut short": events_pb2.MaterialUploaded(material_id=str(uuid.uuid4())).SerializeToString()[:-5],
        "no uuid": events_pb2.MaterialUploaded(material_id="../../etc/passwd").SerializeToString(),
        "1 MiB": bytes([255]) * LARGEST,
    }


def _unwanted(ours: str) -> dict[str, bytes]:
    """What can be read and means nothing: materials that do not exist, and one that exists and is done."""
    return {
        "unknown id": events_pb2.MaterialUploaded(material_id=str(uuid.uuid4())).SerializeToString(),
        "unknown id, of the future": _of_the_future(str(uuid.uuid4())),
        "ours, of the future": _of_the_future(ours),
    }


WRONG_HEADERS = {"ce-specversion": "99.9", "ce-type": "somebody.elses.type", "ce-id": "\t", "traceparent": "junk"}


@scenario("25", "junk on the stream, on both subjects, among real events", quick=True, recovery=15)
async def junk_on_the_stream(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    [ours] = await work.notes(1)
    await work.settled(30)
    terminated: asyncio.Queue[Msg] = asyncio.Queue()
    watching = await nats.connect(stack.local.facts["nats"])
    try:
        await watching.subscribe(TERMINATED, cb=terminated.put)
        await watching.flush()
        async with stack.jetstream() as jetstream:
            for subject in (UPLOADED, DELETED):
                for data in (*_junk().values(), *_unwanted(ours.id).values()):
                    await jetstream.publish(subject, data)
                await jetstream.publish(subject, _junk()["text"], headers=WRONG_HEADERS)
                for upload in await work.notes(2):
                    work.watch(upload)
            work.fault_over_at = None
            work.fault_over()
            # The processor meets the junk on one subject, both purgers that on the other; these also refuse to purge what is not deleted.
            expected = (len(_junk()) + 1) * len(CONSUMERS) + 1 * 2
            async with asyncio.timeout(30):
                advisories = [json.loads((await terminated.get()).data) for _ in range(expected)]
            # Real events may come again: their material was not the one whose turn it was.
            for advisory in advisories:
                assert advisory["deliveries"] == 1, f"{advisory['consumer']} was given junk again and again"
    finally:
        await watching.close()
