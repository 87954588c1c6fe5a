"""One large upload: over gRPC, over HTTP through the gateway, what Ingest's memory makes of it, and that none of it lands on the gateway's disk."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from materials.v1 import status_service_pb2

from bench.bed import Bed
from bench.processes import MIB
from bench.rounds import interleaved, ratios, spread
from bench.rows import Row
from tests.local_stack import LocalStack

COURSE = "course-bench"
#: As the `materials` command, the gateway and the tests send them.
CHUNK_KIB = 256
MEMORY_MIB = 1024
SAMPLE_SECONDS = 0.02
CALL_SECONDS = 10.0
OURS, DISCARDING, GATEWAY, FASTAPI = "ours", "gRPC, thrown away", "gateway", "FastAPI"


@dataclass
class Watched:
    """A process while something goes on: resident MiB over what they were at the beginning, and MiB that went to its files."""

    growth_mib: float = 0.0
    written_mib: float = 0.0
    series: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Contestants:
    """The servers, and one upload to each: MiB a second."""

    bed: Bed
    stack: LocalStack
    discarding: str
    fastapi: str
    files: Path
    mib: int

    def calls(self) -> Mapping[str, list[str]]:
        """The client's arguments for each."""
        token = self.stack.facts["token"]
        gateway = f"http://{self.stack.facts['gateway']}/courses/{COURSE}/materials"
        return {
            OURS: ["grpc", "--target", self.stack.facts["ingest"], "--token", token],
            DISCARDING: ["grpc", "--target", self.discarding],
            GATEWAY: ["http", "--url", gateway, "--token", token],
            FASTAPI: ["http", "--url", f"{self.fastapi}/upload", "--field", f"course_id={COURSE}"],
        }

    async def upload(self, name: str, mib: int | None = None) -> float:
        """One upload; what was kept of it is gone afterwards."""
        size = mib or self.mib
        command = ["-m", "bench.large_upload_client", *self.calls()[name], "--mib", str(size), "--course", COURSE]
        async with self.bed.child(*command, "--chunk-bytes", str(CHUNK_KIB * 1024)) as client:
            if name in (OURS, GATEWAY):
                await self._delete(client.facts["material_id"])
            await asyncio.to_thread(_empty, self.files)
            return size / float(client.facts["seconds"])

    async def _delete(self, material_id: str) -> None:
        request = status_service_pb2.DeleteMaterialRequest(material_id=material_id)
        async with self.stack.client() as client:
            await client.status.DeleteMaterial(request, metadata=client.metadata, timeout=CALL_SECONDS)
        async with asyncio.timeout(CALL_SECONDS):
            path = self.stack.data_dir / "objects" / "objects" / material_id[:2] / material_id
            while path.exists():  # What is removed while the next one is measured would disturb it.
                await asyncio.sleep(SAMPLE_SECONDS)


@asynccontextmanager
async def contestants(bed: Bed) -> AsyncIterator[Contestants]:
    """All of them, started; the stack takes large files, and processes nothing, so that nothing else goes on."""
    settings = {"MAX_UPLOAD_BYTES": str(2 * MEMORY_MIB * MIB)}
    async with AsyncExitStack() as exits:
        stack, _ = await exits.enter_async_context(bed.stack_with_brain(environment=settings))
        files = await exits.enter_async_context(bed.directory())
        raw = ("-m", "bench.straight_line.upload_server", "--service", "discard", "--directory", str(files))
        discarding = await exits.enter_async_context(bed.child(*raw))
        database = await exits.enter_async_context(bed.database(stack, "fastapi"))
        peer = (
            "-m",
            "bench.peers.fastapi_background",
            "--directory",
            str(files),
            "--database",
            database,
            "--no-worker",
        )
        fastapi = await exits.enter_async_context(bed.child(*peer))
        pause = status_service_pb2.PauseProcessingRequest(reason="large uploads are measured")
        async with stack.client() as client:
            await client.status.PauseProcessing(pause, metadata=client.metadata, timeout=CALL_SECONDS)
        mib = bed.sized(256, 64)
        yield Contestants(bed, stack, discarding.facts["address"], fastapi.facts["url"], files, mib)


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Watched]:
    """Looks at a process every 20 ms within the block."""
    process = psutil.Process(pid)
    loop = asyncio.get_running_loop()
    began, base, written = loop.time(), process.memory_info().rss, process.io_counters().write_bytes
    files = _size_of_files(process)
    seen = Watched()

    async def look() -> None:
        while True:
            growth = (process.memory_info().rss - base) / MIB
            seen.series.append([round(loop.time() - began, 3), round(growth, 2)])
            seen.written_mib = max(seen.written_mib, (_size_of_files(process) - files) / MIB)
            await asyncio.sleep(SAMPLE_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        seen.growth_mib = max(growth for _, growth in seen.series)
        seen.written_mib = max(seen.written_mib, (process.io_counters().write_bytes - written) / MIB)


def _size_of_files(process: psutil.Process) -> int:
    total = 0
    for opened in process.open_files():
        try:
            total += Path(opened.path).stat().st_size
        except FileNotFoundError:  # Deleted while open, as temporary files are: found by its descriptor.
            total += Path(f"/proc/{process.pid}/fd/{opened.fd}").stat().st_size
    return total


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


async def measure(bed: Bed) -> list[Row]:
    """Memory first, of services that have taken nothing yet; then the rounds."""
    async with contestants(bed) as running:
        pids = running.stack.facts["pids"]
        bed.say("1 GiB over gRPC, Ingest's memory")
        async with watched(pids["ingest"]) as ingest:
            await running.upload(OURS, MEMORY_MIB)
        bed.say("one large upload through the gateway, its memory and disk")
        async with watched(pids["gateway"]) as gateway:
            await running.upload(GATEWAY)
        names = running.calls()
        rates = await interleaved(
            {name: (lambda name=name: running.upload(name)) for name in names},  # type: ignore[misc]
            bed.rounds,
            order=bed.order,
            say=bed.say,
        )
    return _rows(rates, ingest, gateway, running.mib)


def _rows(rates: Mapping[str, list[float]], ingest: Watched, gateway: Watched, mib: int) -> list[Row]:
    shown = {name: f"{spread(values).median:.0f} MiB/s" for name, values in rates.items()}
    size = f"{mib} MiB in chunks of {CHUNK_KIB} KiB"
    of_raw, of_multipart, through = (
        ratios(rates[OURS], rates[DISCARDING]),
        ratios(rates[OURS], rates[FASTAPI]),
        ratios(rates[GATEWAY], rates[FASTAPI]),
    )
    peers = {"FastAPI, multipart to a file": shown[FASTAPI]}
    throughput = {"throughput": dict(rates), "throughput_unit": "MiB/s"}
    memory = {"memory_mib": {"ingest, over its base": ingest.series, "gateway, over its base": gateway.series}}
    return [
        Row(f"one upload of {size}, gRPC: of raw grpc.aio, bytes thrown away", of_raw.median, "×", 0.7, spread=of_raw,
            shown=shown[OURS], floor=shown[DISCARDING], details=throughput),
        Row("the same: of FastAPI multipart to a local file", of_multipart.median, "×", 1.8, spread=of_multipart,
            shown=shown[OURS], peers=peers),
        Row("one large upload through the gateway: of FastAPI multipart to a local file", through.median, "×", 1.0,
            spread=through, shown=shown[GATEWAY], peers=peers),
        Row(f"Ingest's memory in one upload of {MEMORY_MIB} MiB: highest RSS over its base", ingest.growth_mib, "MiB",
            32.0, better="lower", shown=f"+{ingest.growth_mib:.1f} MiB", details=memory),
        Row(f"the gateway's memory in one upload of {mib} MiB: highest RSS over its base", gateway.growth_mib, "MiB",
            shown=f"+{gateway.growth_mib:.1f} MiB"),
        # One line of its log is a page of the disk; nothing of the upload is.
        Row(f"what the gateway writes to any file in one upload of {mib} MiB", gateway.written_mib, "MiB", 0.1,
            better="lower", shown=f"{gateway.written_mib * 1024:.0f} KiB"),
    ]  # fmt: skip
