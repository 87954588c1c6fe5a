"""FastAPI and its BackgroundTasks: no queue and no worker; the web server does the jobs itself, after the replies.

Not durable: what has not been done when the process ends is never done, though its record is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import BackgroundTasks, FastAPI

from bench.peers.deployment import Deployment
from bench.peers.job import Job
from bench.peers.launching import Peer, main
from bench.peers.web import Enqueue, create_web

PEER = Peer("bench.peers.fastapi_background")


async def not_done(_: str) -> None:
    """The job where only the taking of uploads is looked at."""


def web() -> FastAPI:
    """The application."""
    deployment = Deployment.from_environment()

    @asynccontextmanager
    async def queue() -> AsyncIterator[Enqueue]:
        async with AsyncExitStack() as exits:
            run: Callable[[str], Awaitable[None]] = not_done
            if deployment.works:
                run = (await exits.enter_async_context(Job.open(deployment))).run

            async def enqueue(material_ids: Sequence[str], background: BackgroundTasks) -> None:
                for material_id in material_ids:
                    background.add_task(run, material_id)

            yield enqueue

    return create_web(deployment, queue)


if __name__ == "__main__":
    main(PEER)
