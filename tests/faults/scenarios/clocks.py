"""A machine's wall clock steps an hour, forth and back, while it works: only tokens know of it, and between services they bear it."""

from __future__ import annotations

import atexit
import json
import tempfile
import time
from pathlib import Path

import grpc
from materials.v1.ingest_service_pb2 import DownloadMaterialRequest
from materials.v1.processor_service_pb2 import GetMaterialTextRequest

from tests.contract.refusals import eventually, refusal_of
from tests.faults.fault_stack import SERVICES, FaultStack
from tests.faults.scenario import Layout, scenario
from tests.faults.workload import Upload, Workload
from tests.local_stack import Client

HOUR = 3600
STEPS = Path(tempfile.gettempdir()) / f"materials-clock-steps-{time.time_ns()}.json"
atexit.register(STEPS.unlink, missing_ok=True)
STEPPED = Layout(
    settings=(("PYTHONPATH", str(Path(__file__).parents[1] / "stepped_clock")), ("CLOCK_STEPS", str(STEPS))),
)


@scenario("19", "the wall clock of each service steps an hour forth, then an hour back", layout=STEPPED)
async def clocks_step(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    # As an identity provider makes them: valid for long, issued before all this.
    now = int(time.time())
    async with (
        stack.client(work.owner, iat=now - 3 * HOUR, exp=now + 12 * HOUR) as work.client,
        stack.client(work.owner, iat=now - 3 * HOUR, exp=now + HOUR // 2) as half_an_hour,
    ):
        [first] = await work.notes(1)
        try:
            for seconds in (HOUR, -HOUR):
                for service in SERVICES:
                    STEPS.write_text(json.dumps({f"{service}_service": seconds}))
                    # The step is really taken, and the one before it taken back.
                    ahead = service if seconds > 0 else ""
                    # The others ask Status with the caller's token, and pass its answer on.
                    refusing = SERVICES if ahead == "status" else (ahead,)
                    await answered(
                        half_an_hour, first, {name: "TOKEN_EXPIRED" * (name in refusing) for name in SERVICES}
                    )
                    scan = work.scan(1)
                    await work.send(scan)
                    work.watch(scan)
                    for upload in await work.notes(2):
                        work.watch(upload)
            await work.settled(60)
        finally:
            STEPS.write_text("{}")
    refused = [error.details() for upload in work.uploads for error in upload.refusals]
    assert not refused, f"refused because of the time: {refused}"


async def answered(client: Client, upload: Upload, wanted: dict[str, str]) -> None:
    """Returns when each of the services refuses the client for the reason wanted of it; with an empty one, when it does not."""

    async def as_wanted() -> bool:
        return {service: await reason(client, upload, service) for service in wanted} == wanted

    await eventually(as_wanted, f"a token valid for half an hour is answered with {wanted}")


async def reason(client: Client, upload: Upload, service: str) -> str:
    """Why the service refuses to show a material; empty when it does not."""
    try:
        match service:
            case "status":
                await client.get(upload.id)
            case "ingest":
                download = DownloadMaterialRequest(material_id=upload.id)
                await client.ingest.DownloadMaterial(download, metadata=client.metadata, timeout=20).read()
            case "processor":
                text = GetMaterialTextRequest(material_id=upload.id)
                await client.processor.GetMaterialText(text, metadata=client.metadata, timeout=20).read()
    except grpc.aio.AioRpcError as error:
        return refusal_of(error).reason
    return ""
