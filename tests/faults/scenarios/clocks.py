"""A machine's wall clock steps an hour, forth and back, while it works: only tokens know of it, and between services they bear it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from tests.faults.fault_stack import SERVICES, FaultStack
from tests.faults.scenario import Layout, scenario
from tests.faults.workload import Workload

HOUR = 3600
STEPS = Path(tempfile.gettempdir()) / f"materials-clock-steps-{time.time_ns()}.json"
STEPPED = Layout(
    settings=(("PYTHONPATH", str(Path(__file__).parents[1] / "stepped_clock")), ("CLOCK_STEPS", str(STEPS))),
)


@scenario("19", "the wall clock of each service steps an hour forth, then an hour back", layout=STEPPED)
async def clocks_step(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    # As an identity provider makes them: valid for long, issued before all this.
    now = int(time.time())
    async with stack.client(work.owner, iat=now - 3 * HOUR, exp=now + 12 * HOUR) as work.client:
        try:
            for seconds in (HOUR, -HOUR):
                for service in SERVICES:
                    STEPS.write_text(json.dumps({f"{service}_service": seconds}))
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
