"""A service that may open no more files."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack, suppress

import grpc
import psutil

from tests.faults.fault_stack import SERVICES, FaultStack
from tests.faults.scenario import scenario
from tests.faults.workload import RETRIED, Workload

FILES = 256


@scenario("29", "256 file descriptors for each service, and 300 connections to each", recovery=40)
async def no_more_files(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    await work.notes(1)
    pids = [stack.pid(service) for service in SERVICES]
    usual = [resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids]
    try:
        for pid, (_, hard) in zip(pids, usual, strict=True):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES, hard))
        async with AsyncExitStack() as connections:
            for service in SERVICES:
                host, _, port = stack.local.facts[service].partition(":")
                opened = await asyncio.gather(
                    *[asyncio.open_connection(host, int(port)) for _ in range(300)], return_exceptions=True
                )
                for each in opened:
                    if isinstance(each, tuple):
                        connections.callback(each[1].close)
            await asyncio.sleep(0.5)
            full = [psutil.Process(pid).num_fds() for pid in pids]
            assert max(full) >= FILES - 16, f"the services hold only {full} files: nothing was tried"
            # Whoever is connected is served, or refused in a way that says to come again.
            for upload in [work.note() for _ in range(4)]:
                with suppress(grpc.aio.AioRpcError):
                    await work.send_once(upload)
                assert all(error.code() in RETRIED for error in upload.refusals), upload.refusals
    finally:
        for pid, limits in zip(pids, usual, strict=True):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert [stack.pid(service) for service in SERVICES] == pids, "a service died of it"
    await work.repeat_unanswered()
    for upload in await work.notes(4):
        work.watch(upload)
    work.extra_attempts = 4
    work.extra_embeddings = 4
