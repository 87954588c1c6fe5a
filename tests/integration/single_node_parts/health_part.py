"""A real gRPC server with a health service and nothing else: stands where a service of the stack would.

HEALTH_PART_STATUS (SERVING by default) is what it answers, HEALTH_PART_TELL a host:port that is connected to once it listens.
HEALTH_PART_CHILD=1 makes it start a child, HEALTH_PART_STUBBORN=1 makes both ignore SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

SLEEPER = "import signal, sys; signal.signal(signal.SIGTERM, int(sys.argv[1])); signal.pause()"


async def serve() -> None:
    server = grpc.aio.server()
    health = HealthServicer()
    status = os.environ.get("HEALTH_PART_STATUS", "SERVING")
    await health.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(os.environ["LISTEN_ADDRESS"])
    stop = asyncio.Event()
    stubborn = os.environ.get("HEALTH_PART_STUBBORN") == "1"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, (lambda: None) if stubborn else stop.set)
    if os.environ.get("HEALTH_PART_CHILD") == "1":
        disposition = signal.SIG_IGN if stubborn else signal.SIG_DFL
        await asyncio.create_subprocess_exec(sys.executable, "-c", SLEEPER, str(int(disposition)))
    await server.start()
    if tell := os.environ.get("HEALTH_PART_TELL"):
        host, _, port = tell.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
    await stop.wait()
    await server.stop(1.0)


if __name__ == "__main__":
    asyncio.run(serve())
