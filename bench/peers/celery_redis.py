"""FastAPI and Celery with Redis: one process per core, jobs acknowledged when they have been done, Redis' append-only file synchronised every second.

Up to a second of jobs is lost when the machine fails, though their records are there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown
from fastapi import BackgroundTasks, FastAPI
from starlette.concurrency import run_in_threadpool

from bench.peers.deployment import Deployment
from bench.peers.job import BlockingJob
from bench.peers.launching import Peer, main
from bench.peers.web import Enqueue, create_web


class ReadTask:
    """The job as a Celery task. Each process of the worker's pool has its own connections."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._exits = deployment, ExitStack()
        self._job: BlockingJob | None = None

    def open(self, **_: Any) -> None:
        """In a new process."""
        self._job = self._exits.enter_context(BlockingJob.open(self._deployment))

    def close(self, **_: Any) -> None:
        """Before a process ends."""
        self._exits.close()

    def run(self, material_id: str) -> None:
        """Does a job."""
        assert self._job is not None
        self._job.run(material_id)


def app_and_task(deployment: Deployment, read: ReadTask) -> tuple[Celery, Task[[str], None]]:
    """The application, set up as its guides advise: late acknowledgement for jobs that may run twice, no results where none are wanted."""
    app = Celery("peer", broker=deployment.redis)
    app.conf.update(task_acks_late=True, task_ignore_result=True, broker_connection_retry_on_startup=True)

    def run(material_id: str) -> None:
        read.run(material_id)  # A bound method would lose its object.

    task: Task[[str], None] = app.task(name="read")(run)
    return app, task


def worker() -> None:
    """The worker, until SIGTERM."""
    deployment = Deployment.from_environment()
    read = ReadTask(deployment)
    app, _ = app_and_task(deployment, read)
    worker_process_init.connect(read.open, weak=False)
    worker_process_shutdown.connect(read.close, weak=False)
    cores = len(os.sched_getaffinity(0))
    app.worker_main(["worker", "--pool", "prefork", "--concurrency", str(cores), "--loglevel", "WARNING"])


def web() -> FastAPI:
    """The application."""
    deployment = Deployment.from_environment()
    app, task = app_and_task(deployment, ReadTask(deployment))

    def put(material_ids: Sequence[str]) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for material_id in material_ids:
                task.apply_async((material_id,), producer=producer)

    @asynccontextmanager
    async def queue() -> AsyncIterator[Enqueue]:
        async def enqueue(material_ids: Sequence[str], _: BackgroundTasks) -> None:
            await run_in_threadpool(put, material_ids)

        yield enqueue

    return create_web(deployment, queue)


PEER = Peer(
    "bench.peers.celery_redis",
    worker=("-c", "from bench.peers.celery_redis import worker; worker()"),
    redis=True,
)

if __name__ == "__main__":
    main(PEER)
