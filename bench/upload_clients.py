"""`python -m bench.upload_clients grpc|http`: many uploads at once, from a process of its own so that what they cost the client is nobody else's.

Connections are opened, and each has carried an upload, before the clock starts. Ends with one line of JSON: uploads per_second, p50_ms and p99_ms of
one, its percentiles,
seconds for all, how many failed, and what the first failure said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import quantiles
from urllib.parse import urlsplit

import grpc
import uvloop
from materials.channels import bearer, channel_options
from materials.v1 import ingest_service_pb2 as pb

from bench.http_uploads import KeptAlive, form_of
from bench.sample_files import unique_files

UPLOAD_SECONDS = 60.0
NAME = "page.png"
METHOD = "/materials.v1.IngestService/UploadMaterial"

#: One upload by the worker of this number, on a connection of its own or a shared one. Raises when it fails.
Upload = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def over_grpc(
    target: str, tokens: Sequence[str], course: str, make: Callable[[], bytes], *, chunk_bytes: int, channels: int
) -> AsyncIterator[Upload]:
    """Uploads by IngestService.UploadMaterial, in chunks, over so many connections; the tokens take turns."""
    first = pb.UploadMaterialRequest(metadata=pb.UploadMetadata(course_id=course, name=NAME)).SerializeToString()
    identities = [bearer(token) for token in tokens]
    options = [*channel_options(), ("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as exits:
        opened = [grpc.aio.insecure_channel(target, options=options) for _ in range(channels)]
        for channel in opened:
            exits.push_async_callback(channel.close)
        calls: list[grpc.aio.StreamUnaryMultiCallable[bytes, pb.UploadMaterialResponse]] = [
            channel.stream_unary(METHOD, response_deserializer=pb.UploadMaterialResponse.FromString)
            for channel in opened
        ]

        async def upload(worker: int) -> None:
            content = make()

            async def messages() -> AsyncIterator[bytes]:
                yield first
                for start in range(0, len(content), chunk_bytes):
                    chunk = content[start : start + chunk_bytes]
                    yield pb.UploadMaterialRequest(chunk=chunk).SerializeToString()

            response = await calls[worker % channels](
                messages(),
                metadata=identities[worker % len(identities)] if identities else None,
                timeout=UPLOAD_SECONDS,
            )
            if response.material.file_size != len(content):
                raise RuntimeError(f"{response.material.file_size} bytes of {len(content)} arrived")

        yield upload


@asynccontextmanager
async def over_http(url: str, course: str, make: Callable[[], bytes], *, concurrency: int) -> AsyncIterator[Upload]:
    """Uploads as multipart forms to `url`/upload, over a kept-alive connection per worker; the answer must be 202."""
    place = urlsplit(url)
    host, port = place.hostname or "", place.port or 80
    head, tail = form_of(f"{host}:{port}", f"{place.path.rstrip('/')}/upload", {"course_id": course}, NAME, len(make()))
    async with AsyncExitStack() as exits:
        connections = []
        for _ in range(concurrency):
            connections.append(await KeptAlive.open(host, port))
            exits.callback(connections[-1].close)

        async def upload(worker: int) -> None:
            async with asyncio.timeout(UPLOAD_SECONDS):
                status, body = await connections[worker].exchange([head, make(), tail])
            if status != 202:
                raise RuntimeError(f"{status}: {body[:200]!r}")

        yield upload


async def load(upload: Upload, count: int, concurrency: int) -> dict[str, object]:
    """Does `count` uploads, `concurrency` at a time; the figures as printed."""
    durations: list[float] = []
    failures: list[str] = []

    async def attempt(worker: int) -> None:
        began = time.perf_counter()
        try:
            await upload(worker)
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}"[:500])
        else:
            durations.append(time.perf_counter() - began)

    await asyncio.gather(*map(attempt, range(concurrency)))
    durations.clear()
    left = iter(range(count))

    async def work(worker: int) -> None:
        for _ in left:
            await attempt(worker)

    began = time.perf_counter()
    await asyncio.gather(*map(work, range(concurrency)))
    seconds = time.perf_counter() - began
    percentiles = quantiles(durations, n=100, method="inclusive") if len(durations) > 1 else [0.0] * 99
    return {
        "per_second": len(durations) / seconds,
        "p50_ms": percentiles[49] * 1000,
        "p99_ms": percentiles[98] * 1000,
        "latencies_ms": [round(percentile * 1000, 2) for percentile in percentiles],
        "seconds": seconds,
        "failed": len(failures),
        "failure": failures[0] if failures else "",
    }


async def run(chosen: argparse.Namespace) -> dict[str, object]:
    """The load that the arguments ask for."""
    make = unique_files(chosen.bytes)
    if chosen.protocol == "grpc":
        uploads = over_grpc(
            chosen.target, chosen.token, chosen.course, make, chunk_bytes=chosen.chunk_bytes, channels=chosen.channels
        )
    else:
        uploads = over_http(chosen.url, chosen.course, make, concurrency=chosen.concurrency)
    async with uploads as upload:
        return await load(upload, chosen.count, chosen.concurrency)


def main() -> None:
    """Reads the arguments, uploads, prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.upload_clients")
    protocols = parser.add_subparsers(dest="protocol", required=True)
    over = {name: protocols.add_parser(name) for name in ("grpc", "http")}
    over["grpc"].add_argument("--target", required=True, help="host:port of an IngestService")
    over["grpc"].add_argument("--token", action="append", default=[], help="whose uploads; several take turns")
    over["grpc"].add_argument("--channels", type=int, default=2, help="connections (%(default)s)")
    over["grpc"].add_argument("--chunk-bytes", type=int, default=65_536, help="bytes in a message (%(default)s)")
    over["http"].add_argument("--url", required=True, help="of a peer, without /upload")
    for protocol in over.values():
        protocol.add_argument("--count", type=int, required=True, help="uploads that are measured")
        protocol.add_argument("--concurrency", type=int, default=32, help="at once (%(default)s)")
        protocol.add_argument("--bytes", type=int, default=65_536, help="of a file (%(default)s)")
        protocol.add_argument("--course", default="course-bench", help="course id (%(default)s)")
    print(json.dumps(uvloop.run(run(parser.parse_args()))), flush=True)


if __name__ == "__main__":
    main()
