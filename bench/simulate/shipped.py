"""What the overlay for production carries as it is shipped, and how it is to be changed for other loads. tests/deploy holds `SHIPPED` to the manifests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.simulate.service_times import ServiceTimes
from bench.simulate.sizing import Assumptions, Need, need
from processor_service.documents.document_pages import RenderLimits

#: A Processor without its children, in bytes.
PROCESSOR_BYTES = 160 * 1024**2
MOST_A_DAY = 10**9


@dataclass(frozen=True)
class Overlay:
    """The most replicas of each, and what belongs to a Processor: `messages` are those for which there is one, waiting or being read. `status` is None where
    no number is enough."""

    slots: int
    brain_concurrency: int
    messages: int
    processors: int
    status: int | None
    ingest: int
    watches: int


SHIPPED = Overlay(slots=4, brain_concurrency=4, messages=8, processors=20, status=8, ingest=10, watches=10_000)


def carries(times: ServiceTimes, assumed: Assumptions, overlay: Overlay) -> dict[str, int]:
    """Materials a day at whose peak each part is as busy as it may be."""
    assumed = replace(assumed, slots=overlay.slots, brain_concurrency=overlay.brain_concurrency)
    status = overlay.status or 0

    def most(is_enough: Callable[[Need], bool]) -> int:
        low, high = 0, MOST_A_DAY
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if is_enough(need(middle, times, assumed)) else (low, middle)
        return low

    processors, slots, calls = overlay.processors, overlay.slots, overlay.brain_concurrency
    return {
        f"{processors} Processors of {slots} slots": most(lambda each: each.fleet.processors <= processors),
        f"their {processors * calls} calls to the Brain": most(lambda each: each.brain_slots <= processors * calls),
        f"{status} replicas of Status": most(lambda each: each.status is not None and each.status <= status),
        f"their {status * overlay.watches:,} watches": most(lambda each: each.watches <= status * overlay.watches),
        f"{overlay.ingest} replicas of Ingest": most(lambda each: each.fleet.ingest <= overlay.ingest),
    }


def for_load(daily: int, times: ServiceTimes, assumed: Assumptions) -> Overlay:
    """As shipped where that is enough; else Processors have the slots that are assumed, and as many replicas are let be as are needed."""
    asked = need(daily, times, replace(assumed, slots=SHIPPED.slots, brain_concurrency=SHIPPED.brain_concurrency))
    changed = SHIPPED
    if asked.fleet.processors > SHIPPED.processors:
        asked = need(daily, times, assumed)
        changed = replace(
            changed,
            slots=assumed.slots,
            brain_concurrency=assumed.brain_concurrency,
            messages=assumed.slots * SHIPPED.messages // SHIPPED.slots,
            processors=max(SHIPPED.processors, asked.fleet.processors),
        )
    return replace(
        changed,
        status=asked.status and max(SHIPPED.status or 0, asked.status),
        ingest=max(SHIPPED.ingest, asked.fleet.ingest),
    )


def processor_memory(slots: int) -> int:
    """Bytes that a Processor may need: each slot may have a rendering child at its limit."""
    return PROCESSOR_BYTES + slots * RenderLimits().memory_bytes
