"""The web face of every peer, in FastAPI: takes a file, records it, puts its job into the queue, answers."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated

import asyncpg
from fastapi import BackgroundTasks, FastAPI, Form, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from bench.peers import statements
from bench.peers.deployment import Deployment
from bench.straight_line.records import INSERT as INSERT_MANY

OWNER = "peer"
#: Several peers share a Postgres of sixty.
CONNECTIONS = 6
PIECE_BYTES = 1024 * 1024

#: Puts the jobs of these materials into the queue; returns when they are there.
Enqueue = Callable[[Sequence[str], BackgroundTasks], Awaitable[None]]


class Backlog(BaseModel):
    """`count` materials that are all of one file."""

    count: int
    file: Path


def create_web(deployment: Deployment, open_queue: Callable[[], AbstractAsyncContextManager[Enqueue]]) -> FastAPI:
    """POST /upload (a form with `file` and `course_id`) → 202 {"id"}; POST /enqueue {"count", "file"} → 202 {"enqueued"}; GET /done →
    {"completed", "failed"}."""
    pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
        deployment.database, min_size=CONNECTIONS, max_size=CONNECTIONS, command_timeout=statements.DEADLINE_SECONDS
    )
    enqueue: Enqueue

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal enqueue
        async with pool, open_queue() as enqueue:
            yield

    web = FastAPI(lifespan=lifespan, openapi_url=None)

    @web.post("/upload")
    async def upload(file: UploadFile, course_id: Annotated[str, Form()], background: BackgroundTasks) -> JSONResponse:
        material_id = uuid.uuid4()
        path, digest, size = deployment.file_path(material_id), hashlib.sha256(), 0
        with path.open("wb", buffering=0) as copy:
            while piece := await file.read(PIECE_BYTES):
                digest.update(piece)
                copy.write(piece)
                size += len(piece)
        await pool.execute(
            statements.INSERT_MATERIAL,
            material_id,
            OWNER,
            course_id,
            file.filename or "",
            str(path),
            size,
            digest.hexdigest(),
        )
        await enqueue([str(material_id)], background)
        return JSONResponse({"id": str(material_id)}, 202)

    @web.post("/enqueue")
    async def enqueue_backlog(backlog: Backlog, background: BackgroundTasks) -> JSONResponse:
        content = backlog.file.read_bytes()
        count, digest = backlog.count, hashlib.sha256(content).hexdigest()
        ids = [uuid.uuid4() for _ in range(count)]
        for material_id in ids:
            deployment.file_path(material_id).write_bytes(content)
        await pool.execute(
            INSERT_MANY,
            ids,
            [OWNER] * count,
            ["course-backlog"] * count,
            [backlog.file.name] * count,
            [str(deployment.file_path(material_id)) for material_id in ids],
            [len(content)] * count,
            [digest] * count,
        )
        await enqueue([str(material_id) for material_id in ids], background)
        return JSONResponse({"enqueued": count}, 202)

    @web.get("/done")
    async def done() -> dict[str, int]:
        return dict(await pool.fetchrow(statements.COUNT) or {})

    return web
