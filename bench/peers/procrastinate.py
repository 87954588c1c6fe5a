"""FastAPI and procrastinate: the queue is a table in the same Postgres database, and jobs are committed there before the reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvloop
from fastapi import BackgroundTasks, FastAPI
from procrastinate import App, PsycopgConnector
from procrastinate.types import JSONDict

from bench.peers.deployment import Deployment
from bench.peers.job import Job
from bench.peers.launching import Peer, main
from bench.peers.web import Enqueue, create_web

CONNECTIONS = 6
AT_ONCE = 32


def app_of(deployment: Deployment) -> App:
    """The application, with a pool of connections."""
    return App(connector=PsycopgConnector(conninfo=deployment.database, min_size=1, max_size=CONNECTIONS))


async def work(deployment: Deployment) -> None:
    """The worker, until SIGTERM."""
    app = app_of(deployment)
    async with Job.open(deployment) as job, app.open_async():

        @app.task(name="read")
        async def read(material_id: str) -> None:
            await job.run(material_id)

        await app.run_worker_async(concurrency=AT_ONCE)


def worker() -> None:
    """In the worker's process."""
    uvloop.run(work(Deployment.from_environment()))


def web() -> FastAPI:
    """The application."""
    deployment = Deployment.from_environment()
    app = app_of(deployment)

    @app.task(name="read")
    async def read(material_id: str) -> None:
        raise NotImplementedError("the worker's")

    @asynccontextmanager
    async def queue() -> AsyncIterator[Enqueue]:
        async def enqueue(material_ids: Sequence[str], _: BackgroundTasks) -> None:
            if len(material_ids) == 1:
                await read.defer_async(material_id=material_ids[0])
            else:
                jobs: list[JSONDict] = [{"material_id": material_id} for material_id in material_ids]
                await read.batch_defer_async(*jobs)

        async with app.open_async():
            yield enqueue

    return create_web(deployment, queue)


async def apply_schema(deployment: Deployment) -> None:
    """Makes the queue's tables and functions."""
    async with app_of(deployment).open_async() as app:
        await app.schema_manager.apply_schema_async()


PEER = Peer(
    "bench.peers.procrastinate",
    worker=("-c", "from bench.peers.procrastinate import worker; worker()"),
    prepare=apply_schema,
)

if __name__ == "__main__":
    main(PEER)
