"""`python -m bench.large_upload_client grpc|http`: one large upload, from a process of its own, over a connection that stands before the clock starts.

The file is one random piece over and over, prepared before the clock starts, so that the client costs as little as a client can. Ends with one line of JSON:
seconds from the first byte to the answer, and the material's id if the answer names one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import uvloop
from materials.channels import bearer, channel_options
from materials.v1 import ingest_service_pb2 as pb

from bench.http_uploads import KeptAlive, form_of
from servicekit.upload_call import refusals_as_they_come

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NAME = "large.png"
METHOD = "/materials.v1.IngestService/UploadMaterial"
CONNECT_SECONDS = 10.0
UPLOAD_SECONDS = 120.0
MIB = 1024 * 1024


def pieces(chosen: argparse.Namespace) -> tuple[bytes, bytes, int]:
    """The first chunk, every other one, and how many others; no two uploads are alike, so that nobody may spare itself the work."""
    chunk = random.randbytes(chosen.chunk_bytes)
    return PNG_SIGNATURE + chunk[len(PNG_SIGNATURE) :], chunk, chosen.mib * MIB // chosen.chunk_bytes - 1


async def over_grpc(chosen: argparse.Namespace) -> dict[str, object]:
    """By IngestService.UploadMaterial."""
    first, other, others = pieces(chosen)
    about = pb.UploadMetadata(course_id=chosen.course, name=NAME)
    head = [pb.UploadMaterialRequest(metadata=about), pb.UploadMaterialRequest(chunk=first)]
    begin, message = (
        [each.SerializeToString() for each in head],
        pb.UploadMaterialRequest(chunk=other).SerializeToString(),
    )

    async def messages() -> AsyncIterator[bytes]:
        for each in begin:
            yield each
        for _ in range(others):
            yield message

    async with grpc.aio.insecure_channel(chosen.target, options=channel_options()) as channel:
        async with asyncio.timeout(CONNECT_SECONDS):
            await channel.channel_ready()
        upload: grpc.aio.StreamUnaryMultiCallable[bytes, pb.UploadMaterialResponse] = channel.stream_unary(
            METHOD, response_deserializer=pb.UploadMaterialResponse.FromString
        )
        began = time.perf_counter()
        call: Any = upload(messages(), metadata=bearer(chosen.token) if chosen.token else None, timeout=UPLOAD_SECONDS)
        refusals = refusals_as_they_come(call)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise (refusals[0] if refusals else error) from None
        seconds = time.perf_counter() - began
    if answer.material.file_size != chosen.mib * MIB:
        raise SystemExit(f"{answer.material.file_size} bytes of {chosen.mib} MiB arrived")
    return {"seconds": seconds, "material_id": answer.material.id}


async def over_http(chosen: argparse.Namespace) -> dict[str, object]:
    """As a multipart form; the answer must be 201 or 202."""
    first, other, others = pieces(chosen)
    place = urlsplit(chosen.url)
    host, port = place.hostname or "", place.port or 80
    headers = {"authorization": f"Bearer {chosen.token}"} if chosen.token else {}
    fields = dict(each.split("=", 1) for each in chosen.field)
    head, tail = form_of(f"{host}:{port}", place.path, fields, NAME, chosen.mib * MIB, headers)
    connection = await KeptAlive.open(host, port)
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            began = time.perf_counter()
            status, body = await connection.exchange([head, first, *[other] * others, tail])
            seconds = time.perf_counter() - began
    finally:
        connection.close()
    if status not in (201, 202):
        raise SystemExit(f"{status}: {body[:200]!r}")
    return {"seconds": seconds, "material_id": json.loads(body).get("id", "")}


def main() -> None:
    """Reads the arguments, uploads, prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.large_upload_client")
    protocols = parser.add_subparsers(dest="protocol", required=True)
    over = {name: protocols.add_parser(name) for name in ("grpc", "http")}
    over["grpc"].add_argument("--target", required=True, help="host:port of an IngestService")
    over["http"].add_argument("--url", required=True, help="where the form is posted to")
    over["http"].add_argument("--field", action="append", default=[], help="NAME=VALUE, before the file")
    for protocol in over.values():
        protocol.add_argument("--mib", type=int, required=True, help="of the file")
        protocol.add_argument("--chunk-bytes", type=int, default=256 * 1024, help="in a message (%(default)s)")
        protocol.add_argument("--token", default="", help="whose upload it is")
        protocol.add_argument("--course", default="course-bench", help="course id (%(default)s)")
    chosen = parser.parse_args()
    print(json.dumps(uvloop.run((over_grpc if chosen.protocol == "grpc" else over_http)(chosen))), flush=True)


if __name__ == "__main__":
    main()
