"""A durable JetStream pull consumer that never takes more than it can work on.

Each message is one call of the handler, which says what becomes of it: acknowledged, delivered again after a delay, or terminated. While the handler
runs, `in_progress` is sent at a third of `ack_wait`, so that the server does not hand the message to another. A handler that fails unexpectedly gets the
message again, with backoff.

Silence is not trusted: a fetch that ends empty is followed by a look at the consumer. When it is gone, changed or paused it is made anew, and so it is when
it has messages for us and yet none has come for the length of a whole fetch; after half a minute of silence, or any error, the subscription is made anew.
A fetch waits at the server for a message; nothing is polled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import nats.errors
import nats.js.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from opentelemetry.trace import Span, SpanKind

from servicekit.metrics import ConsumerMetrics
from servicekit.nats_link import NatsAway, NatsLink
from servicekit.tracing import extract, note_error, span

log = structlog.get_logger()

FETCH_SECONDS = 5.0
SILENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Done:
    """The message has been dealt with."""


@dataclass(frozen=True)
class Again:
    """Deliver it again after about so many seconds, to whoever has time for it. `meanwhile` is what this slot does next, without the message: begun even
    when the consumer stops at this moment, and cancelled then."""

    delay: float
    meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None


@dataclass(frozen=True)
class Unreadable:
    """It will never make sense: never deliver it again."""

    why: str


Outcome = Done | Again | Unreadable


class Gate(Protocol):
    """Whether another message may be asked for."""

    @property
    def is_open(self) -> bool:
        """Right now."""

    async def wait_open(self) -> None:
        """Returns when it is open."""


class DurableConsumer:
    """A part: `slots` workers, each with a subscription of its own and one message at a time through `handler`. So no message is ever taken that nobody
    has time for. (One fetch for several messages would also hold back the first until the last has come or time is up.)
    `gate`, when given, must be open before each fetch."""

    def __init__(
        self,
        link: NatsLink,
        *,
        stream: str,
        durable: str,
        subject: str,
        slots: int,
        handler: Callable[[Msg], Awaitable[Outcome]],
        gate: Gate | None = None,
        ack_wait: float = 15.0,
        silence: float = SILENCE_SECONDS,
        metrics: ConsumerMetrics | None = None,
    ) -> None:
        self._link, self._stream, self._durable, self._subject = link, stream, durable, subject
        self._handler, self._gate, self._slots = handler, gate, slots
        self._ack_wait, self._silence = ack_wait, silence
        metrics = metrics or ConsumerMetrics()
        self._messages, self._redelivered = metrics.messages, metrics.redelivered.labels(durable)
        self._pending = metrics.pending.labels(durable)
        self._workers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to consume as soon as NATS and the stream are there."""
        self._workers = [
            tasks.create_task(self._run(), name=f"consumer-{self._durable}-{slot}") for slot in range(self._slots)
        ]

    async def stop(self) -> None:
        """Takes no more, cancels the handlers and waits until they have cleaned up; their messages are delivered again."""
        # A cancellation alone may be lost: asyncio.wait_for, in which nats-py waits, drops one that comes at the moment of the answer (cpython#86296).
        self._stopping = True
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                await self._link.wait_connected()
                await self._consume()
                failures = 0
            except (NatsAway, TimeoutError, OSError, nats.errors.Error, nats.js.errors.Error) as error:
                failures = min(failures + 1, 5)
                log.info("consumer to be set up again", durable=self._durable, error=type(error).__name__)
                await asyncio.sleep(0.2 * 2**failures * random.uniform(0.5, 1.0))

    async def _consume(self) -> None:
        """Returns after long silence, or when it was deaf. Raises what NATS raises."""
        clock = asyncio.get_running_loop().time
        stream = self._link.jetstream()
        await self._ensure_consumer(stream)
        # A fetch must not outlast the silence that it is part of.
        fetch_seconds = min(FETCH_SECONDS, self._silence)
        subscription = await stream.pull_subscribe_bind(self._durable, self._stream)
        try:
            heard = clock()
            deafness = Deafness(fetch_seconds / 2)
            while clock() - heard < self._silence and not self._stopping:
                if self._gate is not None and not self._gate.is_open:
                    await self._gate.wait_open()
                    deafness.forget()
                try:
                    [message] = await subscription.fetch(1, timeout=fetch_seconds)
                except TimeoutError:  # nats.errors.TimeoutError is one too
                    if not self._link.connected:
                        raise NatsAway from None
                    found = await self._ensure_consumer(stream)
                    self._pending.set(found.num_pending or 0)
                    if deafness.shown(found.created, found.num_pending or 0, clock()):
                        log.warning("messages wait and none comes; the consumer is made anew", durable=self._durable)
                        await stream.delete_consumer(self._stream, self._durable)
                        return
                    continue
                await self._work(message)
                heard = clock()
                deafness.forget()
        finally:
            if self._link.connected:
                with suppress(TimeoutError, nats.errors.Error):
                    await asyncio.wait_for(subscription.unsubscribe(), 2.0)

    async def _ensure_consumer(self, stream: JetStreamContext) -> ConsumerInfo:
        """The consumer as it should be: made where it is missing, made anew where somebody has changed or paused it."""
        wanted = ConsumerConfig(
            durable_name=self._durable,
            filter_subject=self._subject,
            # A new consumer hears of everything again: what is done with answers by a refused claim.
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait,
            max_deliver=-1,  # attempts are counted in the record
            max_ack_pending=10_000,
        )
        try:
            found: ConsumerInfo | None = await stream.consumer_info(self._stream, self._durable)
        except nats.js.errors.NotFoundError:
            found = None
        if found is not None:
            if not found.paused and not _differs(found.config, wanted):
                return found
            log.warning("consumer was changed; it is made anew", durable=self._durable)
            await stream.delete_consumer(self._stream, self._durable)
        made: ConsumerInfo = await stream.add_consumer(self._stream, wanted)
        return made

    async def _work(self, message: Msg) -> None:
        """One message, as one span: child of the one that it was published in."""
        self._pending.set(message.metadata.num_pending)
        if message.metadata.num_delivered > 1:
            self._redelivered.inc()
        headers = message.headers or {}
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.subject,
            "messaging.consumer.group.name": self._durable,
            "messaging.message.id": headers.get("ce-id", ""),
            "material_id": headers.get("ce-subject", ""),
        }
        with span(
            f"process {self._subject}", kind=SpanKind.CONSUMER, context=extract(headers), attributes=attributes
        ) as processed:
            await self._handled(message, processed)

    async def _handled(self, message: Msg, processed: Span) -> None:
        meanwhile: asyncio.Task[None] | None = None
        heartbeat = asyncio.create_task(self._heartbeat(message))
        try:
            try:
                outcome: Outcome = await self._handler(message)
                if isinstance(outcome, Again) and outcome.meanwhile is not None:
                    meanwhile = asyncio.create_task(outcome.meanwhile())
                told = type(outcome).__name__.lower()
            except Exception as unforeseen:
                log.exception("message handler failed", durable=self._durable)
                note_error(processed, unforeseen)
                told = "failed"
                outcome = Again(random.uniform(5.0, 10.0) * min(message.metadata.num_delivered, 12))
            finally:
                heartbeat.cancel()
                await asyncio.wait([heartbeat])
            self._messages.labels(self._durable, told).inc()
            await self._settle(message, outcome)
            if meanwhile is not None:
                await asyncio.wait([meanwhile])
                if not meanwhile.cancelled() and (error := meanwhile.exception()) is not None:
                    log.error("work beside the message failed", durable=self._durable, exc_info=error)
        finally:
            if meanwhile is not None and not meanwhile.done():
                meanwhile.cancel()
                await asyncio.wait([meanwhile])

    async def _settle(self, message: Msg, outcome: Outcome) -> None:
        try:
            async with asyncio.timeout(5.0):
                match outcome:
                    case Done():
                        await message.ack()
                    case Again(delay=delay):
                        await message.nak(delay=delay)
                    case Unreadable(why):
                        log.warning(
                            "message terminated",
                            durable=self._durable,
                            why=why,
                            sequence=message.metadata.sequence.stream,
                        )
                        await message.term()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            # It is delivered again, which does no harm.
            log.info("message not acknowledged", durable=self._durable, error=type(error).__name__)

    async def _heartbeat(self, message: Msg) -> None:
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            try:
                await message.in_progress()
            except (OSError, nats.errors.Error) as error:
                log.info("message not kept", durable=self._durable, error=type(error).__name__)


class Deafness:
    """What successive empty fetches show: messages have waited at one and the same consumer for longer than `patience`, in seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._consumer: datetime | None = None
        self._since = 0.0

    def forget(self) -> None:
        """Begins anew: a message has come, or nobody has fetched for a while."""
        self._consumer = None

    def shown(self, created: datetime, waiting: int, now: float) -> bool:
        """Takes in a look, after an empty fetch, at the consumer made at `created` and how many messages wait there."""
        if not waiting:
            self._consumer = None
        elif created != self._consumer:
            # Another one than at the last look has been made by another slot: it is given its own time.
            self._consumer, self._since = created, now
        else:
            return now - self._since > self._patience
        return False


def _differs(found: ConsumerConfig, wanted: ConsumerConfig) -> bool:
    # Not `ack_wait`: another one costs a delay at most, and versions that differ in it must not make each other's consumers anew in turn.
    names = ("filter_subject", "deliver_policy", "ack_policy", "max_deliver", "deliver_subject")
    return any(getattr(found, name) != getattr(wanted, name) for name in names)
