"""A Brain that is away is not the material's fault: it waits, and goes on by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from materials.v1 import material_pb2

from servicekit.channels import open_channel
from tests.local_stack import LocalStack, free_port, unique_course


async def brain_health(stack: LocalStack, wanted: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
    """Returns when the processor's health service says `wanted` of the Brain."""
    async with open_channel(stack.facts["processor"]) as channel:
        call: grpc.aio.UnaryStreamCall = health_pb2_grpc.HealthStub(channel).Watch(  # type: ignore[type-arg]
            health_pb2.HealthCheckRequest(service="ai_brain"), timeout=90
        )
        try:
            async for response in call:
                if response.status == wanted:
                    return
        finally:
            call.cancel()


async def test_work_waits_for_the_brain_without_burning_an_attempt_and_begins_when_it_is_there() -> None:
    port = free_port()
    stack = LocalStack.start(environment={"AI_BRAIN_ENDPOINT": f"http://127.0.0.1:{port}"})
    brain = None
    try:
        assert "brain" not in stack.facts["pids"], "a Brain was started though one was named"
        await brain_health(stack, health_pb2.HealthCheckResponse.NOT_SERVING)
        async with stack.client() as client:
            course = unique_course()
            materials = [await client.upload(f"note {n} on comets".encode(), course=course) for n in range(3)]
            # Whoever watches is told why nothing happens.
            watching = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "materials_cli", "watch", *[material.id for material in materials]),
                env={**os.environ, "MATERIALS_STACK": str(stack.data_dir / "stack.json")},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            assert watching.stderr is not None
            assert b"the AI Brain is away" in await asyncio.wait_for(watching.stderr.readline(), 60)
            brain = subprocess.Popen(
                [sys.executable, "-m", "local_brain", "--host", "127.0.0.1", "--port", str(port)],
                stderr=subprocess.DEVNULL,
            )
            for states in await asyncio.gather(*[client.watch_to_end(material.id) for material in materials]):
                assert states[0].processing_status == material_pb2.PROCESSING_STATUS_PENDING
                assert states[-1].processing_status == material_pb2.PROCESSING_STATUS_COMPLETED
                assert states[-1].attempt == 1
            assert await asyncio.wait_for(watching.wait(), 60) == 0
        await brain_health(stack, health_pb2.HealthCheckResponse.SERVING)
    finally:
        stack.stop()
        if brain is not None:
            brain.terminate()
            brain.wait(10)
