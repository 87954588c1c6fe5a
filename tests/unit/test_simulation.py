"""The model of the pipeline, held to what is known of queues: formulas where there are some, and what must hold whatever happens."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import simpy

from bench.simulate.brain import BrainScript
from bench.simulate.outcome import outcome_of, percentile
from bench.simulate.pipeline import Fleet, Pipeline
from bench.simulate.service_times import Demand, ServiceTimes, Stored
from bench.simulate.shipped import SHIPPED, carries, for_load
from bench.simulate.sizing import Assumptions, limit_of_changes, need
from bench.simulate.stations import Batcher, Station, Steps
from bench.simulate.workload import DAY, PEAK, Upload, burst, daily_rate, pages, poisson, together

JOBS = 30_000
SMALL = Demand(0.002, 0.001, 0.004, 0.01, 0.001, 0.0002)
CHANGE = Demand(0.0, 0.0002, 0.0, 0.0, 0.0001, 0.0)
TIMES = ServiceTimes(
    upload=SMALL, ingest_mib=0.001, material=SMALL, page=SMALL, batch=CHANGE, change=CHANGE, commit_seconds=0.001, round_trip_seconds=0.0001,
    pick_seconds=0.001, pick_lease_seconds=0.0, lease_seconds=0.0, foreign_change=0.0001, watcher_change=0.00003, watcher_bytes=40_000,
    upload_wal=3_000, material_wal=3_000, page_wal=20_000, material_stored=Stored(1_000, 1_000), page_stored=Stored(5_000, 1_000),
    passages_a_page=3.0, event_bytes=600, machine={}, measured_at="",
)  # fmt: skip
QUICK = BrainScript(slots=8, latency=0.5, jitter=0.3, embed_latency=0.02)


def waits_of(servers: int, load: float, seed: int = 1) -> tuple[float, float, float]:
    """Mean waiting of an M/M/c station with mean service 1 at `load`, the mean number in it by counting, and its arrivals a second."""
    env, numbers = simpy.Environment(), random.Random(seed)
    station = Station(env, servers)
    inside, area, last = 0, 0.0, 0.0

    def count(change: int) -> None:
        nonlocal inside, area, last
        area += inside * (env.now - last)
        inside, last = inside + change, env.now

    def job() -> Steps:
        count(1)
        yield station.serve(numbers.expovariate(1.0))
        count(-1)

    def arrivals() -> Steps:
        for _ in range(JOBS):
            yield env.timeout(numbers.expovariate(load * servers))
            env.process(job())

    env.process(arrivals())
    env.run()
    return station.seen.waited / JOBS, area / env.now, JOBS / env.now


def erlang_c(servers: int, load: float) -> float:
    """The mean waiting in M/M/c with mean service 1."""
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    waits = last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)
    return waits / (servers * (1 - load))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.8), (3, 0.7), (8, 0.85)])
def test_waiting_is_that_of_the_formula(servers: int, load: float) -> None:
    waited, _, _ = waits_of(servers, load)
    assert waited == pytest.approx(erlang_c(servers, load), rel=0.15)


def test_the_formula_for_one_server_is_the_one_of_the_books() -> None:
    assert erlang_c(1, 0.8) == pytest.approx(0.8 / (1 - 0.8))


def test_as_many_are_inside_as_come_a_second_times_how_long_they_stay() -> None:
    waited, inside, rate = waits_of(2, 0.8)
    assert inside == pytest.approx(rate * (waited + 1.0), rel=0.02)


def test_a_station_on_a_machine_shares_its_cores() -> None:
    env = simpy.Environment()
    machine = Station(env, 1)
    first, second = Station(env, 1, machine), Station(env, 1, machine)
    assert [first.charge(2.0), second.charge(3.0)] == [2.0, 5.0]


def test_what_comes_meanwhile_is_the_next_batch() -> None:
    env, sizes = simpy.Environment(), []

    def work(items: object) -> Steps:
        sizes.append(len(items))  # type: ignore[arg-type]
        yield env.timeout(1.0)

    batcher: Batcher[int] = Batcher(env, work, 4)

    def caller(at: float, number: int) -> Steps:
        yield env.timeout(at)
        yield batcher.join(number)

    for number in range(7):
        env.process(caller(0.0 if number == 0 else 0.5, number))
    env.run()
    assert sizes == [1, 4, 2]
    assert env.now == 3.0


def run(uploads: list[Upload], fleet: Fleet, script: BrainScript = QUICK) -> Pipeline:
    pipeline = Pipeline(fleet, TIMES, script)
    pipeline.run(uploads)
    return pipeline


UPLOADS = poisson(1.0, 200.0, 6.0, owners=12, courses=4, seed=2)


@pytest.mark.parametrize(
    ("fleet", "script"),
    [
        (Fleet(processors=2, slots=5), QUICK),
        (Fleet(processors=2, slots=5, status=3, ingest=2, watchers=20.0), QUICK),
        (Fleet(processors=3, slots=5, deaths=((50.0, 0), (90.0, 2))), QUICK),
        (Fleet(processors=2, slots=5), BrainScript(8, 0.5, 0.3, outage=(40.0, 80.0))),
        (Fleet(processors=2, slots=5, machine_cores=2), QUICK),
    ],
    ids=["plain", "replicas", "deaths", "the Brain is away", "one machine"],
)
def test_nothing_is_lost_and_nothing_is_read_twice(fleet: Fleet, script: BrainScript) -> None:
    pipeline = run(UPLOADS, fleet, script)
    outcome = outcome_of(pipeline)
    assert (outcome.completed, outcome.lost) == (len(UPLOADS), 0)
    assert all(each.pages_done == each.upload.pages for each in pipeline.materials)
    assert not pipeline.record.leased
    assert not pipeline.record.waiting
    read = sum(upload.pages for upload in UPLOADS)
    # A page that was at the Brain when its processor died is read again; no other is.
    assert read <= pipeline.brain.slots.seen.served <= read + len(fleet.deaths) * 2 * fleet.slots


def test_an_outage_is_waited_for_and_costs_the_time_that_it_lasts() -> None:
    away = run(UPLOADS, Fleet(processors=2, slots=5), BrainScript(8, 0.5, 0.3, outage=(40.0, 80.0)))
    there = run(UPLOADS, Fleet(processors=2, slots=5))
    assert outcome_of(away).waiting.p99 > 40.0 > outcome_of(there).waiting.p99
    assert not [each for each in away.materials if each.completed and 42.0 < each.completed < 80.0]


def test_a_dead_processors_materials_wait_for_their_leases() -> None:
    pipeline = run(UPLOADS, Fleet(processors=2, slots=5, deaths=((50.0, 0),)))
    again = [each for each in pipeline.materials if each.attempt > 1]
    assert again
    assert all(each.completed and each.completed > 50.0 for each in again)


def test_a_burst_makes_its_owner_wait_and_others_hardly() -> None:
    fleet = Fleet(processors=2, slots=5)
    rush = burst(50.0, "rush", "course-0", 6, 120)
    pipeline = run(together(UPLOADS, rush), fleet)
    waits: dict[bool, list[float]] = {True: [], False: []}
    for each in pipeline.materials:
        assert each.completed is not None
        waits[each.upload.owner == "rush"].append(each.completed - each.upload.at)
    assert percentile(waits[False], 0.5) < percentile(waits[True], 0.5) / 4


def test_throughput_is_what_the_narrowest_part_lets_through() -> None:
    backlog = [Upload(0.0, f"owner-{number % 10}", "course", 6) for number in range(200)]
    outcome = outcome_of(run(backlog, Fleet(processors=2, slots=8, brain_concurrency=8)))
    assert outcome.rate == pytest.approx(QUICK.slots / QUICK.latency / 6, rel=0.1)
    assert outcome.first_to_saturate in ("the Brain", "slots")
    assert outcome.busy["the Brain"] > 0.9


def test_a_day_has_its_mean_and_its_peak() -> None:
    rates = [daily_rate(2.0, second) for second in range(0, int(DAY), 60)]
    assert sum(rates) / len(rates) == pytest.approx(2.0, rel=0.01)
    assert max(rates) == pytest.approx(2.0 * PEAK, rel=0.01)


def test_uploads_and_pages_are_as_many_as_asked_for() -> None:
    numbers = random.Random(1)
    assert sum(pages(numbers, 10.0) for _ in range(20_000)) / 20_000 == pytest.approx(10.0, rel=0.05)
    assert len(poisson(5.0, 2_000.0, 1.0, owners=3, courses=2, seed=4)) == pytest.approx(10_000, rel=0.05)
    assert len(poisson(5.0, DAY / 20, 1.0, owners=3, courses=2, seed=4, begins=3.5 * 3600)) < DAY / 20 * 5.0 / 2


def test_ten_times_as_many_materials_ask_for_ten_times_as_much_but_for_what_they_are_told_of_each_other() -> None:
    some, more = (need(daily, TIMES, Assumptions()) for daily in (100_000, 1_000_000))
    for name in (
        "peak",
        "changes",
        "statements",
        "wal",
        "stream_bytes",
        "leases",
        "brain_seconds",
        "table_bytes_a_year",
    ):
        assert getattr(more, name) == pytest.approx(10 * getattr(some, name)), name
    assert more.heartbeat_rows > 50 * some.heartbeat_rows


def test_there_is_no_number_of_replicas_where_each_has_no_room_beside_what_all_are_told() -> None:
    assumed = Assumptions()
    bound = int(limit_of_changes(TIMES, assumed) / (4 + assumed.pages) * DAY / PEAK)
    some, too_many = need(bound // 2, TIMES, assumed), need(bound, TIMES, assumed)
    assert some.status is not None
    assert some.fleet.status == some.status
    # As busy as assumed: its own share, and what it is told.
    own = (some.peak * (TIMES.upload + TIMES.material + TIMES.page * assumed.pages).status) + (
        some.changes * assumed.watchers * TIMES.watcher_change
    )
    assert own / some.status + some.told <= assumed.busy < own / (some.status - 1) + some.told
    assert too_many.status is None
    assert too_many.told == pytest.approx(assumed.busy)
    assert too_many.fleet.status >= 2, "the model has some all the same"


def test_what_is_shipped_carries_what_it_is_said_to_and_no_more() -> None:
    assumed = replace(Assumptions(), slots=SHIPPED.slots, brain_concurrency=SHIPPED.brain_concurrency)
    of_processors, _, of_status, of_watches, of_ingest = carries(TIMES, Assumptions(), SHIPPED).values()
    for daily, more in ((of_processors, False), (of_processors + 1, True)):
        assert (need(daily, TIMES, assumed).fleet.processors > SHIPPED.processors) is more
    for daily, more in ((of_ingest, False), (of_ingest + 1, True)):
        assert (need(daily, TIMES, assumed).fleet.ingest > SHIPPED.ingest) is more
    assert need(of_status, TIMES, assumed).status == SHIPPED.status
    assert need(of_watches, TIMES, assumed).watches == 8 * 10_000
    assert for_load(of_processors, TIMES, Assumptions()) == SHIPPED
    changed = for_load(10 * of_processors, TIMES, Assumptions())
    assert (changed.slots, changed.brain_concurrency, changed.messages) == (12, 12, 24)
    assert changed.processors == need(10 * of_processors, TIMES, Assumptions()).fleet.processors


def test_what_is_shipped_carries_the_third_step_by_the_measured_times() -> None:
    """As docs/scaling.md says in words."""
    assert min(carries(ServiceTimes.measured(), Assumptions(), SHIPPED).values()) >= 100_000


def test_brain_slots_follow_from_littles_law() -> None:
    assumed = Assumptions(pages=10.0, brain_seconds=2.0, busy=0.5)
    asked = need(864_000, TIMES, assumed)
    assert asked.brain_slots == 10 * PEAK * 10 * 2.0 / 0.5


def test_the_paper_and_the_model_agree_on_how_busy_the_brain_is() -> None:
    assumed = Assumptions(pages=4.0)
    asked = need(200_000, TIMES, assumed)
    pipeline = Pipeline(asked.fleet, TIMES, BrainScript(asked.brain_slots, assumed.brain_seconds))
    pipeline.run(poisson(asked.peak, 300.0, assumed.pages, owners=5_000, courses=500, seed=5), until=300.0)
    assert outcome_of(pipeline).busy["the Brain"] == pytest.approx(assumed.busy, rel=0.15)


def test_service_times_survive_their_file(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    file.write_text(TIMES.as_json(), encoding="utf-8")
    assert ServiceTimes.measured(file) == TIMES
