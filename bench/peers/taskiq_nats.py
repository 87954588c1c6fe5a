"""FastAPI and taskiq, with taskiq-nats' pull-based JetStream broker: the stream is in files, a job is acknowledged when it has been done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import nats
from fastapi import BackgroundTasks, FastAPI
from nats.js.api import StorageType, StreamConfig
from taskiq import AsyncBroker, TaskiqEvents, TaskiqState
from taskiq_nats import PullBasedJetStreamBroker

from bench.peers.deployment import Deployment
from bench.peers.job import Job
from bench.peers.launching import Peer, main
from bench.peers.web import Enqueue, create_web

#: Jobs that a worker fetches at once, and puts into the queue at once.
FETCHED, PUBLISHED = 16, 200
#: By default a hundred jobs run at once in each of two processes: slower here, as they hold each other up at the connections.
OPTIONS = ("--workers", "2", "--max-async-tasks", "16", "--log-level", "WARNING")


def broker_and_task(deployment: Deployment) -> tuple[AsyncBroker, Callable[[str], Awaitable[object]]]:
    """The broker, and what puts a material's job into its queue."""
    broker = PullBasedJetStreamBroker(
        [deployment.nats],
        subject=f"{deployment.queue}.jobs",
        stream_name=deployment.queue,
        durable=deployment.queue,
        stream_config=StreamConfig(storage=StorageType.FILE),
        pull_consume_batch=FETCHED,
    )
    exits = AsyncExitStack()

    @broker.on_event(TaskiqEvents.WORKER_STARTUP)
    async def open_job(state: TaskiqState) -> None:
        state.job = await exits.enter_async_context(Job.open(deployment))

    @broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
    async def close_job(_: TaskiqState) -> None:
        await exits.aclose()

    @broker.task(task_name="read")
    async def read(material_id: str) -> None:
        await broker.state.job.run(material_id)

    return broker, read.kiq


def worker() -> AsyncBroker:
    """The broker as `taskiq worker` wants it."""
    return broker_and_task(Deployment.from_environment())[0]


def web() -> FastAPI:
    """The application."""
    deployment = Deployment.from_environment()
    broker, put = broker_and_task(deployment)

    @asynccontextmanager
    async def queue() -> AsyncIterator[Enqueue]:
        async def enqueue(material_ids: Sequence[str], _: BackgroundTasks) -> None:
            for start in range(0, len(material_ids), PUBLISHED):
                await asyncio.gather(*map(put, material_ids[start : start + PUBLISHED]))

        await broker.startup()
        yield enqueue
        await broker.shutdown()

    return create_web(deployment, queue)


async def delete_stream(deployment: Deployment) -> None:
    """Leaves nothing in the nats-server."""
    client = await nats.connect(deployment.nats)
    await client.jetstream().delete_stream(deployment.queue)
    await client.close()


PEER = Peer(
    "bench.peers.taskiq_nats",
    worker=("-m", "taskiq", "worker", "bench.peers.taskiq_nats:worker", *OPTIONS),
    clean=delete_stream,
)

if __name__ == "__main__":
    main(PEER)
