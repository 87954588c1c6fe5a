"""The page that tells of it: docs/scaling.md, a template filled with tables that follow from the measured times."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.simulate.outcome import Outcome
from bench.simulate.service_times import ServiceTimes
from bench.simulate.shipped import SHIPPED, Overlay, carries, for_load, processor_memory
from bench.simulate.sizing import (
    GIB,
    Assumptions,
    Need,
    bytes_of_a_material,
    limit_of_changes,
    need,
    per_second_of_a_course,
)
from bench.simulate.steps import JITTER, Trouble, simulate, troubles
from bench.simulate.tables import number, rounded, size, table
from status_service.claiming import MOST_OWNERS
from status_service.turns import Lease, to_yield

TEMPLATE = Path(__file__).with_name("scaling.template.md")
STEPS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)


def write_page(
    times: ServiceTimes, checked: Sequence[Mapping[str, Any]], path: Path, say: Callable[[str], None]
) -> None:
    """Simulates each step, and writes. `checked` is what `--check` wrote last."""
    assumed = Assumptions()
    needs = [need(daily, times, assumed) for daily in STEPS]
    runs = []
    for each in needs:
        say(f"simulating {each.daily:,} a day")
        runs.append(simulate(each, times, assumed))
    filled = {
        "measured": _measured(times),
        "check": _check(checked),
        "assumptions": _assumptions(assumed),
        "fleet": _fleet(needs, runs, assumed),
        "peak": _peak(needs, runs),
        "writes": _writes(needs),
        "kept": _kept(needs),
        "cost": _cost(needs),
        "carried": _carried(times, assumed),
        "changes": _changes(needs, times, assumed),
        "limits": _limits(times, assumed),
        "trouble": _trouble(list(troubles(needs[2], times, assumed))),
    }
    text = re.sub(r"<!-- table: (\w+) -->", lambda match: filled[match[1]], TEMPLATE.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def _by_step(needs: Sequence[Need], rows: Mapping[str, Callable[[Need], str]]) -> str:
    head = ["materials a day", *(f"{each.daily:,}" for each in needs)]
    return table(head, [[name, *(tell(each) for each in needs)] for name, tell in rows.items()])


def _fleet(needs: Sequence[Need], runs: Sequence[Outcome], assumed: Assumptions) -> str:
    fleets = _by_step(
        needs,
        {
            "uploads a second, peak": lambda each: number(each.peak),
            "pages a second, peak": lambda each: number(each.pages),
            "Ingest, replicas": lambda each: number(each.fleet.ingest),
            "Status, replicas": lambda each: _replicas(each.status),
            "Processor, replicas": lambda each: number(each.fleet.processors),
            "cores of each Processor": lambda each: number(1 + each.fleet.children_cores),
            "Postgres, cores": lambda each: number(each.fleet.postgres_cores),
            "materials being read (leases)": lambda each: number(each.leases),
            "Brain slots": lambda each: number(each.brain_slots),
        },
    )
    return "\n\n".join(
        [fleets, *(_too_much(each, run, assumed) for each, run in zip(needs, runs, strict=True) if not each.status)]
    )


def _replicas(count: int | None) -> str:
    return "none" if count is None else number(count)


def _too_much(asked: Need, run: Outcome, assumed: Assumptions) -> str:
    return (
        f"*None*: at {asked.daily:,} a day to hear of all changes takes {asked.told:.0%} of a core at each replica of Status, of the "
        f"{assumed.busy:.0%} that it may be busy, so no number of them is enough.\nThe model has {asked.fleet.status}, which would do "
        f"for the rest of the work, and finds them {run.busy['Status']:.0%} busy: they keep up, without the room that all else here has."
    )


def _peak(needs: Sequence[Need], runs: Sequence[Outcome]) -> str:
    parts = (
        "the Brain",
        "slots",
        "Ingest",
        "Status",
        "Status's writers",
        "Processor",
        "children that draw",
        "Postgres",
        "NATS",
    )
    rows = [
        ["materials simulated", *(number(run.completed) for run in runs)],
        ["lost", *(str(run.lost) for run in runs)],
        ["upload to completed, p50", *(f"{number(run.waiting.p50)} s" for run in runs)],
        ["upload to completed, p99", *(f"{number(run.waiting.p99)} s" for run in runs)],
        *([f"busy: {part}", *(f"{run.busy[part]:.0%}" for run in runs)] for part in parts),
        ["pages that wait for a turn", *(number(run.queued["turns for the Brain"]) for run in runs)],
        ["busiest", *(run.first_to_saturate for run in runs)],
    ]
    return table(["materials a day", *(f"{each.daily:,}" for each in needs)], rows)


def _writes(needs: Sequence[Need]) -> str:
    return _by_step(
        needs,
        {
            "changes of the record": lambda each: f"{number(each.changes)}/s",
            "statements of Postgres, at most": lambda each: f"{number(each.statements)}/s",
            "commits, before they are gathered": lambda each: f"{number(each.commits)}/s",
            "write-ahead log": lambda each: f"{size(each.wal)}/s",
            "cores of Postgres at work": lambda each: number(each.postgres_cores),
            "of them to look whose turn it is": lambda each: number(each.turn_cores),
            "rows that heartbeats read, when all are busy": lambda each: f"{number(each.heartbeat_rows)}/s",
            "cores of Status for heartbeats, when all are busy": lambda each: number(_yielding(each)),
            "messages over NATS": lambda each: f"{number(each.nats_messages)}/s",
            "into the stream": lambda each: f"{size(each.stream_rate)}/s",
            "stream, seven days": lambda each: size(each.stream_bytes),
            "open watches": lambda each: number(each.watches),
            "watches at each Status": lambda each: number(each.watches_a_replica),
            "cores that tell watchers and replicas": lambda each: number(each.fan_out_cores),
            "network": lambda each: f"{size(each.network)}/s",
        },
    )


def _yielding(asked: Need) -> float:
    """Each processor asks each second who should yield, while all slots are taken; here with as many owners waiting as are looked at."""
    workers, slots = asked.fleet.processors, asked.fleet.slots
    now = datetime.now(UTC)
    leases = [Lease(UUID(int=n), f"owner-{n}", f"worker-{n // slots}", now) for n in range(workers * slots)]
    owners = [f"waits-{n}" for n in range(MOST_OWNERS)]
    began = time.process_time()
    to_yield(leases, {f"worker-{n}": slots for n in range(workers)}, owners, now=now, quantum=30.0)
    return (time.process_time() - began) * workers


def _kept(needs: Sequence[Need]) -> str:
    return _by_step(
        needs,
        {
            "rows of `materials`": lambda each: number(each.rows_a_year),
            "passages": lambda each: number(each.passages_a_year),
            "tables": lambda each: size(each.table_bytes_a_year),
            "indexes": lambda each: size(each.index_bytes_a_year),
            "object store": lambda each: size(each.objects_a_year),
        },
    )


def _cost(needs: Sequence[Need]) -> str:
    return _by_step(
        needs,
        {
            "core hours, the Brain apart": lambda each: number(each.core_hours),
            "Brain seconds": lambda each: number(each.brain_seconds),
            "core milliseconds a material": lambda each: number(each.core_hours * 3.6e6 / each.daily),
            "GiB-months of Postgres that a day adds": lambda each: number(
                (each.table_bytes_a_year + each.index_bytes_a_year) / 365 / GIB * 12
            ),
            "GiB-months of the object store that a day adds": lambda each: number(each.objects_a_year / 365 / GIB * 12),
        },
    )


def _measured(times: ServiceTimes) -> str:
    parts = ("ingest", "status", "processor", "children", "postgres", "nats")
    rows = [
        [name, *(f"{getattr(demand, part) * 1000:.2f}" for part in parts), wal]
        for name, demand, wal in (
            ("an upload", times.upload, size(times.upload_wal)),
            ("a material, once", times.material, size(times.material_wal)),
            ("a page", times.page, size(times.page_wal)),
            ("a batch of changes", times.batch, ""),
            ("each change in it", times.change, ""),
        )
    ]
    machine = times.machine
    return (
        table(
            [
                "milliseconds of computing time",
                *("Ingest", "Status", "Processor", "its children", "Postgres", "NATS"),
                "log",
            ],
            rows,
        )
        + f"\n\nMeasured {times.measured_at} on {machine.get('cpu')}, {machine.get('cores')} cores. "
        f"A commit waits {times.commit_seconds * 1000:.2f} ms for this machine's disk; a further MiB of a file costs Ingest {times.ingest_mib * 1000:.1f} ms; "
        f"a watcher and change {times.watcher_change * 1e6:.0f} µs, a watcher {size(times.watcher_bytes)}; another replica's change "
        f"{times.foreign_change * 1e6:.0f} µs. To look whose turn it is takes {times.pick_seconds * 1000:.2f} ms and "
        f"{times.pick_lease_seconds * 1e6:.2f} µs for each lease; a lease that a heartbeat reads {times.lease_seconds * 1e6:.2f} µs. "
        f"A page has {times.passages_a_page:.1f} passages. JetStream keeps {times.event_bytes:.0f} bytes of an event."
    )


def _check(checked: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for each in checked:
        real, model, off = each["measured"], each["model"], each["off"]
        for name, key, unit in (("materials a second", "rate", ""), ("p50", "p50", " s"), ("p99", "p99", " s")):
            rows.append([each["case"], name, f"{real[key]:.2f}{unit}", f"{model[key]:.2f}{unit}", f"{off[key]:+.0%}"])
    fed_with = ", ".join(sorted({each["times_of"] for each in checked}))
    compared = table(["case", "figure", "measured", "model", "the model is off by"], rows)
    return f"{compared}\n\nThe model had the service times measured at {fed_with}."


def _assumptions(assumed: Assumptions) -> str:
    rows = [
        ["pages of a material that the Brain reads", f"{assumed.pages:g} on the mean, geometric"],
        ["size of a file", f"{assumed.file_mib:g} MiB"],
        ["Brain, a page", f"{assumed.brain_seconds:g} s, {JITTER:.0%} to either side"],
        ["watchers that see a change", f"{assumed.watchers:g} on the mean"],
        ["open watches at the peak", f"{assumed.open_watches_a_material:.0%} of the materials of a day"],
        ["the busiest moment of a day over its mean", "2.5"],
        ["how busy a part may be at the peak", f"{assumed.busy:.0%}"],
        [
            f"slots and Brain calls at once of a Processor (as shipped {SHIPPED.slots} and {SHIPPED.brain_concurrency})",
            f"{assumed.slots} and {assumed.brain_concurrency}",
        ],
        [
            "a day's materials of an owner, of a course",
            f"{assumed.materials_an_owner:g}, {assumed.materials_a_course:g}",
        ],
    ]
    return table(["assumed", ""], rows)


def _carried(times: ServiceTimes, assumed: Assumptions) -> str:
    most = sorted(carries(times, assumed, SHIPPED).items(), key=lambda each: each[1])
    return table(["as shipped", "materials a day, up to"], [[part, rounded(daily)] for part, daily in most])


def _changes(needs: Sequence[Need], times: ServiceTimes, assumed: Assumptions) -> str:
    overlays: dict[int, Overlay] = {each.daily: for_load(each.daily, times, assumed) for each in needs}
    return _by_step(
        needs,
        {
            "`PROCESSOR_SLOTS`, `AI_BRAIN_CONCURRENCY`": lambda each: number(overlays[each.daily].slots),
            "`lagThreshold`": lambda each: number(overlays[each.daily].messages),
            "memory limit of a Processor, at least": lambda each: size(processor_memory(overlays[each.daily].slots)),
            "`maxReplicaCount` of Processors": lambda each: number(overlays[each.daily].processors),
            "`maxReplicas` of Status": lambda each: _replicas(overlays[each.daily].status),
            "`maxReplicas` of Ingest": lambda each: number(overlays[each.daily].ingest),
        },
    )


def _limits(times: ServiceTimes, assumed: Assumptions) -> str:
    changes = limit_of_changes(times, assumed)
    a_material = 4 + assumed.pages
    daily = changes / a_material * 86_400 / 2.5
    rows = [
        ["changes a second that one Status can hear of, busy as assumed", number(changes)],
        ["so many materials a day at the peak, whatever the number of replicas", number(daily)],
        [
            "batches a second of one course, whose row each locks until its commit",
            number(per_second_of_a_course(times)),
        ],
        ["bytes of a material in Postgres, pages and passages with it", size(bytes_of_a_material(times, assumed))],
        ["watchers of one material that a Status tells of a change within a second", number(1 / times.watcher_change)],
    ]
    return table(["what is bounded", "by"], rows)


def _trouble(seen: Sequence[Trouble]) -> str:
    rows = [
        [
            each.what,
            f"{number(each.others.p50)} s",
            f"{number(each.others.p99)} s",
            f"{number(each.rushed.p50)} s" if each.rushed else "",
            str(each.lost),
        ]
        for each in seen
    ]
    return table(["what happens", "p50", "p99", "p50 of the owner with the burst", "lost"], rows)
