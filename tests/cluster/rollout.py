"""What is done to a cluster while clients go on: every replica restarted in turn, then a NATS server and a replica lost without warning."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from materials.v1 import status_service_pb2

from tests.cluster.nats_cluster import NatsCluster
from tests.faults.fault_stack import SERVICES, FaultStack
from tests.faults.workload import Workload

STREAM = "MATERIALS"
COPIES = 3
UPLOADERS, READERS = 3, 2
BETWEEN_UPLOADS, BETWEEN_READS = 0.2, 0.05
READ_SECONDS = 20.0
UPLOADS_BETWEEN = 5
CAUGHT_UP_SECONDS = 60.0


@dataclass
class Load:
    """Uploads with the documented retries, and reads with none but the channel's own. A failure of either ends the run."""

    work: Workload
    reads: int = 0
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def uploads(self) -> int:
        """Answered so far."""
        return len(self.work.accepted)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Within the block."""
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(UPLOADERS):
                tasks.create_task(self._upload(ending))
            for _ in range(READERS):
                tasks.create_task(self._read(ending))
            yield
            ending.set()

    async def more(self, count: int = UPLOADS_BETWEEN) -> None:
        """Returns when so many more uploads have been answered."""
        wanted = self.uploads + count
        async with self._more:
            await self._more.wait_for(lambda: self.uploads >= wanted)

    async def _upload(self, ending: asyncio.Event) -> None:
        while not ending.is_set():
            material = await self.work.send(self.work.note())
            self.work.watch_id(material.id)
            async with self._more:
                self._more.notify_all()
            await asyncio.sleep(BETWEEN_UPLOADS)

    async def _read(self, ending: asyncio.Event) -> None:
        client = self.work.client
        request = status_service_pb2.ListMaterialsRequest(course_id=self.work.course, page_size=5)
        while not ending.is_set():
            await client.status.ListMaterials(request, metadata=client.metadata, timeout=READ_SECONDS)
            self.reads += 1
            await asyncio.sleep(BETWEEN_READS)


async def disturb(stack: FaultStack, nats: NatsCluster, load: Load, say: Callable[[str], None]) -> None:
    """All of it, one after another, each time going on only when clients have been answered since."""
    await load.more()
    for service in SERVICES:
        for replica in (service, f"{service}-2"):
            say(f"SIGTERM to {replica}")
            await stack.restarted(stack.terminate(replica))
            await load.more()
    leader = await nats.leader_of(STREAM)
    say(f"kill -9 of {leader.name}, which leads the stream")
    await leader.stop(signal.SIGKILL)
    await load.more()
    for replica in ("processor-2", "status-2", "ingest-2"):
        say(f"kill -9 of {replica}, with a NATS server missing")
        await stack.restarted(stack.kill(replica))
        await load.more()
    say(f"{leader.name} comes back")
    await leader.start()
    await nats.until_ready([leader])
    await load.more()
    async with asyncio.timeout(CAUGHT_UP_SECONDS):
        while await nats.copies_of(STREAM) != (COPIES, COPIES):
            await asyncio.sleep(0.2)
