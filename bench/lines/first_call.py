"""How soon the AI Brain is called: from the reply to an upload to the beginning of the reading call, in an idle system, one material at a time.

Beside it stand the parts that no design with a record and a queue is without, each measured alone in the same rounds: an event published and acknowledged,
a pull that waits for one, one commit of a claim, the file read, a request to the Brain on a connection that is kept. Their sum has nothing of our own: no
second service that decides the claim, no digest, no process of its own that draws and turns the picture, no look into the index.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import asyncpg
import httpx
import nats
from nats.js.api import StorageType

from bench.bed import Bed
from bench.page_images import page_png
from bench.rounds import spread
from bench.rows import Row
from tests.local_stack import Client, unique_course

MOST = 2.5
CALL_SECONDS = 10.0
SUBJECT, OTHER_SUBJECT = "bench.first_call.pulled", "bench.first_call.published"
EVENT = bytes(200)
CLAIM = "UPDATE materials SET status = 2, attempt = attempt + 1, updated_at = clock_timestamp() WHERE material_id = $1 RETURNING attempt"
Part = Callable[[], Awaitable[object]]


async def milliseconds(part: Part) -> float:
    """How long it takes."""
    began = time.perf_counter()
    await part()
    return (time.perf_counter() - began) * 1000


class FirstCalls:
    """Uploads one material after the other and asks the Brain when it was called."""

    def __init__(self, client: Client, brain: httpx.AsyncClient) -> None:
        self._client, self._brain, self._course = client, brain, unique_course()

    async def one(self) -> float:
        """Milliseconds from the reply to the upload to the reading call; returns when the material is completed."""
        page = page_png()
        (await self._brain.delete("/calls")).raise_for_status()
        material = await self._client.upload(page, course=self._course, name="page.png")
        replied = time.monotonic()
        await self._client.watch_to_end(material.id)
        calls = (await self._brain.get("/calls")).raise_for_status().json()
        [began] = [began for kind, began, _ in calls if kind == "read"]
        return float(began - replied) * 1000


async def parts(
    exits: AsyncExitStack, nats_url: str, database_url: str, brain: httpx.AsyncClient, file: Path
) -> dict[str, Part]:
    """The parts, each ready to be measured."""
    connection = await nats.connect(nats_url, connect_timeout=CALL_SECONDS)
    exits.push_async_callback(connection.close)
    stream = connection.jetstream(timeout=CALL_SECONDS)
    await stream.add_stream(name="BENCH_FIRST_CALL", subjects=[SUBJECT, OTHER_SUBJECT], storage=StorageType.FILE)
    exits.push_async_callback(stream.delete_stream, "BENCH_FIRST_CALL")
    pull = await stream.pull_subscribe(SUBJECT, durable="bench")
    database = await asyncpg.connect(database_url, timeout=CALL_SECONDS)
    exits.push_async_callback(database.close, timeout=CALL_SECONDS)
    await database.execute(
        "CREATE TABLE materials (material_id uuid PRIMARY KEY, status int, attempt int, updated_at timestamptz)"
    )
    material_id = uuid.uuid4()
    await database.execute("INSERT INTO materials VALUES ($1, 1, 0, clock_timestamp())", material_id)
    content = file.read_bytes()

    async def publish() -> None:
        await stream.publish(OTHER_SUBJECT, EVENT)

    async def pulled() -> None:
        """From a publish to the message at a consumer that waits for it."""
        waiting = asyncio.create_task(pull.fetch(1, timeout=CALL_SECONDS))
        await asyncio.sleep(0)
        await connection.publish(SUBJECT, EVENT)
        [message] = await waiting
        await message.ack()

    async def request() -> None:
        (
            await brain.post("/router", data={"prompt": "read"}, files={"image": ("page.png", content)})
        ).raise_for_status()

    return {
        "publish": publish,
        "pull": pulled,
        "claim commit": lambda: database.fetchval(CLAIM, material_id, timeout=CALL_SECONDS),
        "file read": lambda: asyncio.to_thread(file.read_bytes),
        "request": request,
    }


async def measure(bed: Bed) -> list[Row]:
    """One row. In each round some materials, and after each all the parts once."""
    materials = bed.sized(12, 6)
    async with AsyncExitStack() as exits:
        stack, brain = await exits.enter_async_context(bed.stack_with_brain())
        client = await exits.enter_async_context(stack.client())
        http = await exits.enter_async_context(httpx.AsyncClient(base_url=brain.facts["url"], timeout=CALL_SECONDS))
        directory = await exits.enter_async_context(bed.directory())
        file = directory / "page.png"
        file.write_bytes(page_png())
        database = await exits.enter_async_context(bed.database(stack, "first_call"))
        ours = FirstCalls(client, http)
        alone = await parts(exits, stack.facts["nats"], database, http, file)
        compared, calls, sums = [], [], []
        seen: dict[str, list[float]] = {name: [] for name in alone}
        for number in range(bed.rounds + 1):
            bed.say(f"first calls, round {number} of {bed.rounds}" if number else "first calls, warming up")
            call, sum_of_parts = await _round(ours, alone, materials, seen if number else {name: [] for name in alone})
            if number:
                calls.append(call)
                sums.append(sum_of_parts)
                compared.append(call / sum_of_parts)
    ratio = spread(compared)
    return [
        Row(
            "reply to an upload → the Brain's call begins, idle",
            ratio.median,
            "×",
            MOST,
            "lower",
            spread=ratio,
            shown=f"{median(calls):.1f} ms",
            floor=f"{median(sums):.2f} ms (sum of the parts alone)",
            details={"calls_ms": calls, "parts_ms": {name: round(median(each), 3) for name, each in seen.items()}},
        )
    ]


async def _round(
    ours: FirstCalls, alone: dict[str, Part], materials: int, seen: dict[str, list[float]]
) -> tuple[float, float]:
    """The median of our first calls, and the sum of the medians of the parts, in milliseconds."""
    calls: list[float] = []
    parts_seen: dict[str, list[float]] = {name: [] for name in alone}
    for _ in range(materials):
        calls.append(await ours.one())
        for name, part in alone.items():
            parts_seen[name].append(await milliseconds(part))
    for name, each in parts_seen.items():
        seen[name] += each
    return median(calls), sum(median(each) for each in parts_seen.values())
