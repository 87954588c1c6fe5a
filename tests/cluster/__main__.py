"""The services, unchanged, on a distributed base, all on this machine; then what happens to a cluster in a bad week, in two minutes."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from tests.cluster.nats_cluster import NatsCluster
from tests.cluster.rollout import COPIES, STREAM, Load, disturb
from tests.cluster.s3_server import NotInstalled, S3Server
from tests.faults.fault_stack import FaultStack, Layout
from tests.faults.invariants import check
from tests.faults.verdict import Verdict
from tests.faults.workload import Workload

RUN_SECONDS = 480.0
SETTLED_SECONDS = 90.0
#: Restarts of processors and of Status that one material may live through, each costing an attempt and the page under way.
RESTARTS = 6

HELP = """Run the services on a NATS cluster and S3, and lose parts of it under load.

Three nats-servers with a stream in three copies, SeaweedFS as the S3 server, two replicas
of every service that clients balance over, Postgres and a local AI Brain. While clients
upload and read, each replica is restarted in turn; then the NATS server that leads the
stream is killed, and with it missing a replica of each service; then it comes back.
Nothing may be lost, stuck or done twice, no read may fail, and no upload beyond what the
retries documented for clients hide. All of it on loopback, in a temporary directory.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=HELP)
def cluster(
    keep_logs: Annotated[
        bool, typer.Option("--keep-logs", help="Leave the logs of the services where they are.")
    ] = False,
) -> None:
    """Runs and tells."""
    try:
        verdict = asyncio.run(_run(keep_logs))
    except NotInstalled as missing:
        print(missing, file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    for line in verdict.lines():
        print(f"  {line}")
    raise typer.Exit(0 if verdict.good else 1)


async def _run(keep_logs: bool) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="materials-cluster-") as name:
        async with AsyncExitStack() as exits, asyncio.timeout(RUN_SECONDS):
            _say("starting SeaweedFS and three nats-servers")
            s3 = await S3Server.start(Path(name))
            exits.push_async_callback(s3.stop)
            nats = await NatsCluster.start(Path(name))
            exits.push_async_callback(nats.stop)
            base = {**s3.environment, "NATS_URL": nats.url, "EVENT_STREAM_REPLICAS": str(COPIES)}
            # The checks afterwards read the objects from here.
            os.environ.update(s3.environment)
            _say("starting two replicas of every service")
            stack = await FaultStack.start(Layout(replicas=2, proxied=False, settings=tuple(base.items())))
            exits.push_async_callback(stack.stop, keep_logs=keep_logs)
            owner = f"owner-{uuid.uuid4().hex[:10]}"
            work = Workload(stack, await exits.enter_async_context(stack.client(owner)), owner)
            exits.push_async_callback(work.close)
            await work.watch_course()
            await work.send_all([work.scan(2) for _ in range(4)])
            load = Load(work)
            async with load.going_on():
                await disturb(stack, nats, load, lambda what: _say(f"{load.uploads:>4} uploads  {what}"))
            recovered = await work.settled(SETTLED_SECONDS)
            work.extra_attempts, work.extra_reads, work.extra_embeddings = RESTARTS, 4 * RESTARTS, 12 * RESTARTS
            verdict = await check(work)
            copies, current = await nats.copies_of(STREAM)
            if (copies, current) != (COPIES, COPIES):
                verdict.wrong.append(f"the stream has {copies} copies, {current} of them up to date")
            tried_again = sum(1 for upload in work.uploads if upload.refusals)
            print(
                f"cluster: {load.uploads} uploads ({tried_again} of them tried again by their client), {load.reads} reads, "
                f"all ended {recovered:.0f} s after the last one; {len(verdict.lost)} lost, {len(verdict.stuck)} stuck, "
                f"{len(verdict.doubled)} doubled, {len(verdict.wrong)} other promises broken"
            )
            return verdict


def _say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    app()
