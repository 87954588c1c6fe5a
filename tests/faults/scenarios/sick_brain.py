"""The Brain is sick: each material meets another sickness, passing or lasting, while others are read as ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.contract.scripted_brain import (
    Behaviour,
    close_without_reply,
    embeds,
    endless_reply,
    huge_headers,
    never_answer,
    one_byte_at_a_time,
    reply,
    reset_mid_body,
    says,
)
from tests.faults.brain_front import BrainCall, Matches, embedding_of, reading
from tests.faults.endings import completed, failed
from tests.faults.fault_stack import FaultStack
from tests.faults.peak_memory import PeakMemory
from tests.faults.scenario import HASTY, scenario
from tests.faults.workload import Workload

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
NUMBERS = ", ".join(["0.03125"] * 1023)
TRIES = 4  # of one call within an attempt
MOST_GROWTH_MIB = 64


def first(count: int, matches: Matches) -> Matches:
    """Matches the first `count` calls that `matches` does."""
    left = count

    def limited(call: BrainCall) -> bool:
        nonlocal left
        if left == 0 or not matches(call):
            return False
        left -= 1
        return True

    return limited


#: What the Brain answers in place of an embedding, and how often before it is well again. Those that stand for a Brain that is away come once,
#: so that with two materials at work three in a row never come together.
PASSING: dict[str, tuple[Behaviour, int]] = {
    "500": (reply(500, '{"detail": "CUDA out of memory"}'), 2),
    "429": (reply(429, ""), 2),
    "429 with Retry-After": (reply(429, "", Retry_After="1"), 1),
    "502 with HTML": (reply(502, HTML), 1),
    "503": (reply(503, "", Retry_After="0"), 1),
    "200 with HTML": (reply(200, HTML), 2),
    "truncated JSON": (reply(200, '{"embedding": [0.125, 0.25'), 2),
    "null for an embedding": (embeds("null"), 1),
    "NaN": (embeds(f"[{NUMBERS}, NaN]"), 1),
    "infinity": (embeds(f"[{NUMBERS}, Infinity]"), 1),
    "all zeros": (embeds(json.dumps([0.0] * 1024)), 1),
    "reset mid-body": (reset_mid_body, 1),
    "closed without a reply": (close_without_reply, 1),
}


@scenario("11a", "the AI Brain answers one or two calls of each material with nonsense, errors or resets", quick=True)
async def passing_sicknesses(stack: FaultStack, work: Workload) -> None:
    sick = {name: work.note() for name in PASSING}
    scan = work.scan(1)
    work.extra_embeddings = sum(times for _, times in PASSING.values())
    work.extra_reads = 3
    with ExitStack() as rules:
        for name, (behaviour, times) in PASSING.items():
            rules.enter_context(stack.brain.answering(first(times, embedding_of(sick[name].mark)), behaviour))
        for unreadable in (says(None), says(17), reply(200, '{"response": "Chap')):
            rules.enter_context(stack.brain.answering(first(1, reading), unreadable))
        await work.send_all([*sick.values(), scan])
        await completed(work, [*sick.values(), scan])
    for name, (_, times) in PASSING.items():
        asked = stack.brain.count(embedding_of(sick[name].mark))
        assert asked == times + 1, f"{name}: asked {asked} times, {times + 1} were needed"


@dataclass(frozen=True)
class Refusal:
    """What the Brain answers, and how the material has to end."""

    behaviour: Behaviour
    reason: str
    saying: str
    retryable: bool = False


REFUSED, MISCONFIGURED = "BRAIN_REFUSED", "BRAIN_MISCONFIGURED"
LASTING = [
    Refusal(reply(422, '{"detail": "text is not acceptable"}'), REFUSED, "422: text is not acceptable"),
    Refusal(reply(413, HTML), REFUSED, "larger than the AI Brain accepts"),
    Refusal(reply(401, ""), MISCONFIGURED, "AI_BRAIN_TOKEN", retryable=True),
    Refusal(reply(404, HTML), MISCONFIGURED, "AI_BRAIN_ENDPOINT", retryable=True),
    Refusal(embeds("[0.5, 0.5, 0.5]"), MISCONFIGURED, "3 numbers, but EMBEDDING_DIMENSIONS is 1024", retryable=True),
]
UNREADABLE = Refusal(says("Error processing file: cannot identify image file"), REFUSED, "cannot identify image file")


@scenario("11b", "the AI Brain will not take some materials, or does not fit the settings")
async def lasting_refusals(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {REFUSED, MISCONFIGURED}
    refused = [(work.note(), refusal) for refusal in LASTING]
    scan, well = work.scan(2), [work.note() for _ in range(3)]
    with ExitStack() as rules:
        for upload, refusal in refused:
            rules.enter_context(stack.brain.answering(embedding_of(upload.mark), refusal.behaviour))
        rules.enter_context(stack.brain.answering(reading, UNREADABLE.behaviour))
        await work.send_all([upload for upload, _ in refused] + [scan, *well])
        for upload, refusal in [*refused, (scan, UNREADABLE)]:
            await failed(work, upload, refusal.reason, saying=refusal.saying, retryable=refusal.retryable)
        await completed(work, well)


NONSENSE: list[tuple[Behaviour, str]] = [
    (reply(500, '{"detail": "CUDA out of memory"}'), "500: CUDA out of memory"),
    (reply(200, '{"embedding": [0.125, 0.25'), "not JSON"),
    (embeds(f"[{NUMBERS}, NaN]"), "NaN or infinity"),
    (embeds(json.dumps([0] * 1024)), "all zeros"),
]


@scenario("11c", "the AI Brain answers the same nonsense for ever", layout=HASTY)
async def lasting_nonsense(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"BRAIN_FAILED"}
    work.extra_attempts = 1
    sick = [work.note() for _ in NONSENSE]
    scan, well = work.scan(2), [work.note() for _ in range(3)]
    work.extra_embeddings = len(sick) * (2 * TRIES - 1)
    work.extra_reads = 2 * TRIES - scan.pages
    with ExitStack() as rules:
        for upload, (behaviour, _) in zip(sick, NONSENSE, strict=True):
            rules.enter_context(stack.brain.answering(embedding_of(upload.mark), behaviour))
        rules.enter_context(stack.brain.answering(reading, says(None)))
        await work.send_all([*sick, scan, *well])
        for upload, saying in [*zip(sick, (saying for _, saying in NONSENSE), strict=True), (scan, "holds no text")]:
            await failed(work, upload, "BRAIN_FAILED", saying=saying, attempts=2, retryable=True)
        await completed(work, well)


@scenario("11d", "the AI Brain takes calls and never answers, or drips", layout=HASTY)
async def hanging(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"BRAIN_FAILED"}
    # A call that ran into its deadline costs its attempt: the material may be what the Brain hangs on.
    work.extra_attempts = 1
    work.extra_embeddings = 3
    silent, dripping, hopeless = work.note(), work.note(), work.note()
    with (
        stack.brain.answering(first(1, embedding_of(silent.mark)), never_answer),
        stack.brain.answering(first(1, embedding_of(dripping.mark)), one_byte_at_a_time),
        stack.brain.answering(embedding_of(hopeless.mark), never_answer),
    ):
        await work.send_all([silent, dripping])
        await completed(work, [silent, dripping], attempts=2)
        # The others' answers come in between: the Brain is not taken for away.
        await work.send_all([hopeless])
        await completed(work, await work.notes(6))
        await failed(work, hopeless, "BRAIN_FAILED", saying="did not answer within 3 s", attempts=2, retryable=True)


@scenario(
    "11e",
    "the AI Brain redirects elsewhere, or answers with a GiB, without end, or with headers without end",
    quick=True,
)
async def redirects_and_floods(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {MISCONFIGURED}
    floods = {"declared": declared_gib, "endless": endless_reply, "headers": huge_headers}
    flooded = {name: work.note() for name in floods}
    work.extra_embeddings = len(floods)
    led, scan = work.note(), work.scan(1)
    memory = PeakMemory(stack.pid("processor"))
    async with elsewhere() as visits:
        away = f"http://127.0.0.1:{visits.port}/"
        with ExitStack() as rules:
            for name, behaviour in floods.items():
                rules.enter_context(stack.brain.answering(first(1, embedding_of(flooded[name].mark)), behaviour))
            rules.enter_context(stack.brain.answering(embedding_of(led.mark), reply(302, "", Location=away)))
            rules.enter_context(stack.brain.answering(reading, reply(307, "", Location=away)))
            await work.send_all([*flooded.values(), led, scan])
            for upload in (led, scan):
                await failed(work, upload, MISCONFIGURED, saying="redirect", retryable=True)
            await completed(work, list(flooded.values()))
        assert visits.count == 0, f"a redirect was followed {visits.count} times"
    grown = memory.growth_mib()
    assert grown < MOST_GROWTH_MIB, f"the processor took {grown} MiB for replies that are refused at 8 MiB"


async def declared_gib(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A reply that says that it has a GiB, and sends it."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(16_384):
        writer.write(b"[" * 65_536)
        await writer.drain()


@dataclass
class Visits:
    """Connections to where a redirect leads."""

    port: int
    count: int = 0


@asynccontextmanager
async def elsewhere() -> AsyncIterator[Visits]:
    """A listener that nobody should come to."""
    visits = Visits(0)

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.count += 1
        writer.close()

    server = await asyncio.start_server(visit, "127.0.0.1", 0)
    visits.port = server.sockets[0].getsockname()[1]
    async with server:
        yield visits
