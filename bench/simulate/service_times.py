"""What each step takes, as `python -m bench.simulate --calibrate` measured it: the numbers that the model and the paper both stand on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

DEMANDS = ("upload", "material", "page", "batch", "change")
MEASURED = Path(__file__).with_name("service_times.json")


@dataclass(frozen=True)
class Demand:
    """Computing time that one piece of work asks of each part, in seconds. `children` are the Processor's processes that open documents."""

    ingest: float
    status: float
    processor: float
    children: float
    postgres: float
    nats: float

    def __add__(self, other: Demand) -> Demand:
        return Demand(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def __mul__(self, times: float) -> Demand:
        return Demand(**{name: value * times for name, value in asdict(self).items()})

    def __sub__(self, other: Demand) -> Demand:
        """What is left, and never less than nothing: differences of measurements may be."""
        return Demand(**{name: max(0.0, value - getattr(other, name)) for name, value in asdict(self).items()})


@dataclass(frozen=True)
class Stored:
    """Bytes that one row and what belongs to it takes: in tables (with what is stored out of line), in indexes."""

    tables: float
    indexes: float


@dataclass(frozen=True)
class ServiceTimes:
    """Seconds and bytes. An `upload` of 64 KiB is taken and announced, and each further MiB of it costs Ingest `ingest_mib`; a `material` is what reading one
    costs however many pages it has; a `page` is one that the Brain reads. Their demands include those of the changes of the record: one an upload, three a
    material, one a page.

    One batch of the record's writer takes `batch` of Status and Postgres, each change in it `change`; a commit waits `commit_seconds` for the disk.
    `pick_seconds` and `pick_lease_seconds` are what Postgres takes to look whose turn it is: by itself, and for each lease there is; `lease_seconds` for each
    lease that a heartbeat reads. `foreign_change` is what each further replica of Status computes for a change that another one made, `watcher_change` what a
    watcher adds to one.
    """

    upload: Demand
    ingest_mib: float
    material: Demand
    page: Demand
    batch: Demand
    change: Demand
    commit_seconds: float
    round_trip_seconds: float
    pick_seconds: float
    pick_lease_seconds: float
    lease_seconds: float
    foreign_change: float
    watcher_change: float
    watcher_bytes: float
    upload_wal: float
    material_wal: float
    page_wal: float
    material_stored: Stored
    page_stored: Stored
    passages_a_page: float
    event_bytes: float
    machine: Mapping[str, Any]
    measured_at: str

    def slower(self, factor: float) -> ServiceTimes:
        """The same on a machine that takes longer by a factor."""
        demands = {name: getattr(self, name) * factor for name in DEMANDS}
        return replace(self, **demands)

    def as_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ServiceTimes:
        """From the text of the file. Raises KeyError or TypeError when it is of another version."""
        read: dict[str, Any] = json.loads(text)
        read |= {name: Demand(**read[name]) for name in DEMANDS}
        read |= {name: Stored(**read[name]) for name in ("material_stored", "page_stored")}
        return cls(**read)

    @classmethod
    def measured(cls, path: Path = MEASURED) -> ServiceTimes:
        """As they were measured last. Raises OSError where they never were."""
        return cls.from_json(path.read_text(encoding="utf-8"))
