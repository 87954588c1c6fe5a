"""What a load asks for, on paper: replicas, slots, writes, bytes. Each figure is a rate times a measured demand; nothing here is simulated."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from bench.simulate.pipeline import Fleet
from bench.simulate.service_times import Demand, ServiceTimes
from bench.simulate.workload import DAY, PEAK
from tests.costs.ledger import Cost
from tests.costs.test_costs import COSTS

GIB, KIB = 1024**3, 1024
DAYS_A_YEAR = 365
#: Its creation, its claim, the first report and the outcome; each page is one more.
CHANGES_A_MATERIAL = 4
UPLOAD, MATERIAL, PAGE = COSTS["an upload"], COSTS["a material"], COSTS["a page"]


@dataclass(frozen=True)
class Assumptions:
    """What is not measured. `busy` is the share of the time that a part may work at the peak; `watchers` see a change on the mean, `open_watches_a_material`
    are open at the peak for each material of the day."""

    pages: float = 10.0
    file_mib: float = 2.0
    brain_seconds: float = 1.5
    watchers: float = 5.0
    open_watches_a_material: float = 0.02
    busy: float = 0.6
    least_replicas: int = 2
    slots: int = 12
    brain_concurrency: int = 12
    stream_days: float = 7.0
    stream_replicas: int = 3
    #: Of an owner in a day, and of a course.
    materials_an_owner: float = 2.0
    materials_a_course: float = 20.0


@dataclass(frozen=True)
class Need:
    """Of so many materials a day. Rates are a second at the peak; bytes a day are of the mean day. `status` is None where no number of replicas keeps each as
    idle as it should be; the fleet then has as many as would without `told`, the core that each needs to hear of all changes."""

    daily: int
    peak: float
    pages: float
    fleet: Fleet
    status: int | None
    told: float
    brain_slots: int
    leases: float
    changes: float
    statements: float
    commits: float
    wal: float
    postgres_cores: float
    heartbeat_rows: float
    turn_cores: float
    nats_messages: float
    stream_rate: float
    stream_bytes: float
    watches: float
    watches_a_replica: float
    fan_out_cores: float
    rows_a_year: float
    passages_a_year: float
    table_bytes_a_year: float
    index_bytes_a_year: float
    objects_a_year: float
    network: float
    core_hours: float
    brain_seconds: float


def need(daily: int, times: ServiceTimes, assumed: Assumptions) -> Need:
    """For the peak of a day of so many materials."""
    peak = daily / DAY * PEAK
    pages = peak * assumed.pages
    brain_slots = ceil(pages * assumed.brain_seconds / assumed.busy)
    upload, whole = times.upload, whole_material(times, assumed)
    changes = peak * (CHANGES_A_MATERIAL + assumed.pages)
    ingest = peak * (upload.ingest + times.ingest_mib * assumed.file_mib)
    leases = peak * slot_seconds(times, assumed)
    loops = peak * (times.material.processor + times.page.processor * assumed.pages)
    processors = _replicas(max(loops / assumed.busy, leases / assumed.slots / assumed.busy), assumed)
    fan_out = changes * assumed.watchers * times.watcher_change
    own = peak * (whole.status) + fan_out
    told = changes * times.foreign_change
    sharing = _status_replicas(own, told, assumed)
    status = sharing or _replicas(own / assumed.busy, assumed)
    children = peak * (times.material.children + times.page.children * assumed.pages)
    # Beside what was measured with few leases: to look whose turn it is, at each claim and each heartbeat.
    heartbeats = processors * leases
    turns = peak * leases * times.pick_lease_seconds + heartbeats * times.lease_seconds
    postgres = peak * whole.postgres + turns
    fleet = Fleet(
        ingest=_replicas(ingest / assumed.busy, assumed),
        status=status,
        processors=processors,
        slots=assumed.slots,
        brain_concurrency=assumed.brain_concurrency,
        children_cores=max(1, ceil(children / processors / assumed.busy)),
        postgres_cores=max(2, ceil(postgres / assumed.busy)),
        watchers=assumed.watchers,
        settled=True,
    )
    wal_each = times.upload_wal + times.material_wal + times.page_wal * assumed.pages
    tables = times.material_stored.tables + times.page_stored.tables * assumed.pages
    indexes = times.material_stored.indexes + times.page_stored.indexes * assumed.pages
    watches = daily * assumed.open_watches_a_material
    mean = daily / DAY
    file_bytes = assumed.file_mib * 1024**2
    computing = whole.ingest + whole.status + whole.processor + whole.children + whole.nats + whole.postgres
    cores = mean * (computing + times.ingest_mib * assumed.file_mib)
    return Need(
        daily=daily,
        peak=peak,
        pages=pages,
        fleet=fleet,
        status=sharing,
        told=told,
        brain_slots=brain_slots,
        leases=leases,
        changes=changes,
        statements=peak * (_trips(UPLOAD) + _trips(MATERIAL) + _trips(PAGE) * assumed.pages),
        commits=peak * (_commits(UPLOAD) + _commits(MATERIAL) + _commits(PAGE) * assumed.pages),
        wal=peak * wal_each,
        postgres_cores=postgres,
        heartbeat_rows=heartbeats,
        turn_cores=turns,
        nats_messages=peak * 2 + changes,
        stream_rate=peak * times.event_bytes,
        stream_bytes=daily * times.event_bytes * assumed.stream_days,
        watches=watches,
        watches_a_replica=watches / status,
        fan_out_cores=fan_out + told * (status - 1),
        rows_a_year=daily * DAYS_A_YEAR,
        passages_a_year=daily * assumed.pages * times.passages_a_page * DAYS_A_YEAR,
        table_bytes_a_year=daily * tables * DAYS_A_YEAR,
        index_bytes_a_year=daily * indexes * DAYS_A_YEAR,
        objects_a_year=daily * file_bytes * DAYS_A_YEAR,
        # In from the client, into the store, out to the processor, and the pages' pictures to the Brain: about as much again.
        network=peak * file_bytes * 4,
        core_hours=cores * 24,
        brain_seconds=daily * assumed.pages * assumed.brain_seconds,
    )  # fmt: skip


def _trips(cost: Cost) -> int:
    return cost.status_trips + cost.processor_trips


def _commits(cost: Cost) -> int:
    return cost.status_commits + cost.processor_commits


def _replicas(busy_cores: float, assumed: Assumptions) -> int:
    """Of a service whose event loop is one core."""
    return max(assumed.least_replicas, ceil(busy_cores))


def _status_replicas(own: float, told: float, assumed: Assumptions) -> int | None:
    """Each replica hears of every change, so more of them only share what is left beside that; where hardly anything is left there is no number."""
    room = assumed.busy - told
    return _replicas(own / room, assumed) if room > 0.05 else None


def whole_material(times: ServiceTimes, assumed: Assumptions) -> Demand:
    """What one costs from its upload to its completion."""
    return times.upload + times.material + times.page * assumed.pages


def slot_seconds(times: ServiceTimes, assumed: Assumptions) -> float:
    """How long a material holds a slot: its pages one after another, and what there is beside them."""
    return assumed.pages * (assumed.brain_seconds + times.page.children) + times.material.processor


def limit_of_changes(times: ServiceTimes, assumed: Assumptions) -> float:
    """Changes a second at which to hear of all of them takes a replica of Status all that it may be busy."""
    return assumed.busy / times.foreign_change


def per_second_of_a_course(times: ServiceTimes) -> float:
    """Batches a second of one course: each holds the course's row until the disk has it."""
    return 1 / (times.batch.postgres + times.change.postgres + times.commit_seconds + 2 * times.round_trip_seconds)


def bytes_of_a_material(times: ServiceTimes, assumed: Assumptions) -> float:
    """In Postgres, with its pages and passages."""
    stored, page = times.material_stored, times.page_stored
    return stored.tables + stored.indexes + (page.tables + page.indexes) * assumed.pages
