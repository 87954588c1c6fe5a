"""What the Processor counts: the AI Brain's calls, pages, attempts, rendering, and what a material costs."""

from __future__ import annotations

from typing import Final

from materials.v1 import material_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from servicekit.metrics import ConsumerMetrics, PoolMetrics, count_from_zero

#: Of one call of the AI Brain, in seconds: an embedding takes milliseconds, a page of a slow Brain minutes.
BRAIN_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
#: Of one attempt, in seconds: a note is read in one, a book in hours.
MATERIAL_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0)
BRAIN_KINDS: Final = ("read", "embed", "generate", "health")
#: `ok`, the classes of errors, and what is none of them.
BRAIN_RESULTS: Final = (
    *("ok", "busy", "unavailable", "interrupted", "timed_out", "failed", "refused", "misconfigured"),
    *("unforeseen", "cancelled"),
)
#: As attempts and the record name them.
FAILURES: Final = tuple(
    name.removeprefix("FAILURE_REASON_").lower()
    for name, number in material_pb2.FailureReason.items()
    if number != material_pb2.FAILURE_REASON_UNSPECIFIED
)
MATERIAL_CALLS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 2_000.0, 10_000.0)


class BrainMetrics:
    """Calls to the AI Brain: each try, as it left this process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.seconds = Histogram(
            "materials_brain_call_seconds",
            "Seconds of a call to the AI Brain: read, embed, generate or health.",
            ("kind",),
            buckets=BRAIN_SECONDS,
            registry=registry,
        )
        self.calls = Counter(
            "materials_brain_calls_total",
            "Calls to the AI Brain, by their result: ok, or the class of the error.",
            ("kind", "result"),
            registry=registry,
        )
        count_from_zero(self.calls, BRAIN_KINDS, BRAIN_RESULTS)


class BrainStateMetrics:
    """How the AI Brain is found, and what it is given at once: read when asked for. `brain`: the health name."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.away = Gauge(
            "materials_brain_breaker_open",
            "1 while the breaker is not closed: the AI Brain is taken to be away, and what needs it waits.",
            ("brain",),
            registry=registry,
        )
        by = ("brain", "calls")
        self.limit = Gauge(
            "materials_brain_concurrency_limit", "Calls to the AI Brain at once, at most, now.", by, registry=registry
        )
        self.under_way = Gauge(
            "materials_brain_calls_under_way", "Calls that hold one of those places.", by, registry=registry
        )
        self.waiting = Gauge("materials_brain_calls_waiting", "Calls that wait for one.", by, registry=registry)


class WorkMetrics:
    """Attempts, and what they brought."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.attempts = Counter(
            "materials_attempts_total",
            "Attempts ended: completed, failed, handed_back or taken_away; of those that failed, the reason.",
            ("outcome", "reason"),
            registry=registry,
        )
        count_from_zero(self.attempts, ("completed", "handed_back", "taken_away"), ("",))
        count_from_zero(self.attempts, ("failed",), FAILURES)
        self.pages = Counter(
            "materials_pages_total",
            "Pages indexed, by where their text came from: brain, file, or reused.",
            ("source",),
            registry=registry,
        )
        count_from_zero(self.pages, ("brain", "file", "reused"))
        self.passages = Counter("materials_passages_total", "Passages embedded and indexed.", registry=registry)
        self.seconds = Histogram(
            "materials_material_seconds",
            "Seconds from the claim to the record's word, of attempts that completed.",
            buckets=MATERIAL_SECONDS,
            registry=registry,
        )
        self.brain_calls = Histogram(
            "materials_material_brain_calls",
            "Calls to the AI Brain, of attempts that completed.",
            buckets=MATERIAL_CALLS,
            registry=registry,
        )
        self.slots = Gauge("materials_slots", "Materials that this replica reads at once, at most.", registry=registry)
        self.busy = Gauge("materials_slots_busy", "Materials that it reads now.", registry=registry)
        self.answers = Gauge("materials_answers_under_way", "Answers being written.", registry=registry)
        self.unacknowledged = Gauge(
            "materials_reports_unacknowledged", "Reports that the record has not answered yet.", registry=registry
        )


class RenderingMetrics:
    """The children that open documents."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.children = Gauge("materials_rendering_children", "Rendering children that live.", registry=registry)
        self.deaths = Counter(
            "materials_rendering_deaths_total",
            "Rendering children that a page or a document ended: crashed, or timed out.",
            ("cause",),
            registry=registry,
        )
        count_from_zero(self.deaths, ("crashed", "timed_out"))


class ProcessorMetrics:
    """All of them, but for those of its calls."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.brain, self.brain_state = BrainMetrics(registry), BrainStateMetrics(registry)
        self.work, self.rendering = WorkMetrics(registry), RenderingMetrics(registry)
        self.consumers, self.pool = ConsumerMetrics(registry), PoolMetrics(registry)
