"""Consumers that look alive and deliver nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import scenario
from tests.faults.scenarios.broker_amnesia import STREAM
from tests.faults.tcp_proxy import Direction
from tests.faults.workload import Workload

SLOTS = 4
PULL_REQUEST = rb"PUB \$JS\.API\.CONSUMER\.MSG\.NEXT\.[^\r]+\r\n[^\r]*\r\n"


async def _until_fetching(jetstream: JetStreamContext) -> None:
    async with asyncio.timeout(30):
        while True:
            with suppress(NotFoundError):  # not made yet, or being made anew
                if (await jetstream.consumer_info(STREAM, "processor")).num_waiting:
                    return
            await asyncio.sleep(0.02)


@scenario("31a", "deaf consumer: paused by hand for an hour", quick=True, recovery=15)
async def consumer_paused(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        await jetstream.pause_consumer(STREAM, "processor", until)
        work.fault_over()  # nobody takes the pause back
        for upload in await work.notes(3):
            work.watch(upload)
        await work.settled(15)
        assert not (await jetstream.consumer_info(STREAM, "processor")).paused, "still paused"


@scenario("31b", "deaf consumer: its pull requests vanish on the way while the connection stands", recovery=15)
async def pull_requests_vanish(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:
        made = (await jetstream.consumer_info(STREAM, "processor")).created
        connections = stack.proxies["processor", "nats"].accepted
        with stack.proxies["processor", "nats"].swallowing(PULL_REQUEST):
            # More than the slots: each of these may have a pull at the server that went out before.
            for upload in await work.notes(3 * SLOTS):
                work.watch(upload)
            async with asyncio.timeout(60):
                while made in {consumer.created for consumer in await jetstream.consumers_info(STREAM)}:
                    await asyncio.sleep(0.1)
        work.fault_over()
        assert stack.proxies["processor", "nats"].accepted == connections, "the connection did not stand"


@scenario("31c", "deaf consumer: its connection cut while it fetches", recovery=25)
async def cut_while_fetching(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:
        for _ in range(3):
            await _until_fetching(jetstream)
            stack.proxies["processor", "nats"].cut()
            await work.notes(2)
    # An event that went into the dead connection comes again as in 31e.
    work.fault_over()


@scenario("31d", "deaf consumer: its connection half-open, and new ones good", recovery=35)
async def half_open(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:
        await _until_fetching(jetstream)
        stack.proxies["processor", "nats"].strand()
    work.fault_over()
    for upload in await work.notes(3):
        work.watch(upload)


@scenario("31e", "deaf consumer: an event delivered into a connection that is being cut", recovery=25)
async def lost_on_the_way(stack: FaultStack, work: Workload) -> None:
    proxy = stack.proxies["processor", "nats"]
    async with stack.jetstream() as jetstream:
        await _until_fetching(jetstream)
        with proxy.holding(Direction.TO_CLIENT):
            await work.notes(1)
            async with asyncio.timeout(30):
                while not (await jetstream.consumer_info(STREAM, "processor")).num_ack_pending:
                    await asyncio.sleep(0.02)
            proxy.cut()
    # The broker thinks it delivered, and delivers again when nothing has been heard for the consumer's `ack_wait` of 15 s.
    work.fault_over()
