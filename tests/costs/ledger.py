"""Everything that went over the wire, and what it adds up to."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field

import processor_service
import status_service
from tests.costs.background import BACKGROUND, Background
from tests.costs.counting_proxy import WireReader
from tests.costs.grpc_wire import GrpcWire
from tests.costs.nats_wire import NatsWire
from tests.costs.postgres_wire import PostgresWire, Unit, normalised

GIVEN_BACK = "(connection given back)"
#: What the pool of connections asks when one is given back: part of what was asked before.
_RESETS = re.compile(r"pg_advisory_unlock_all\(\)|RESET ALL|DISCARD ALL")
_WRITES = re.compile(r"(?<!FOR )(?<!NO KEY )\b(INSERT|UPDATE|DELETE)\b")
#: Calls whose messages are not answered one by one.
_STREAMS = frozenset({"IngestService.UploadMaterial", "StatusService.WatchMaterial", "StatusService.WatchCourse"})


@dataclass(frozen=True)
class Cost:
    """Round trips to Postgres and commits of what may have been written, by service; messages from service to service, without their answers; what
    watches are sent; messages published on NATS, acknowledgements among them; calls of the Brain."""

    status_trips: int = 0
    status_commits: int = 0
    processor_trips: int = 0
    processor_commits: int = 0
    messages: int = 0
    watched: int = 0
    published: int = 0
    brain: int = 0

    def __str__(self) -> str:
        parts = [f"{value} {name}" for name, value in asdict(self).items() if value]
        return f"[{', '.join(parts) or 'nothing'}]"

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Cost:
        return Cost(*(times * each for each in astuple(self)))

    def within(self, most: Cost) -> bool:
        """Whether no part is more than that of `most`."""
        return all(mine <= its for mine, its in zip(astuple(self), astuple(most), strict=True))


@dataclass(frozen=True)
class Entry:
    """One thing that went from a client to a part, as in "status → postgres", and its cost. `background`: what it is, or belongs to, when it happens by
    itself."""

    edge: str
    what: str
    cost: Cost
    background: Background | None = None
    prepared_again: tuple[str, ...] = ()

    @property
    def gives_back(self) -> bool:
        """Whether it is only a connection's way back to its pool."""
        return self.what == GIVEN_BACK


@dataclass
class Bill:
    """The entries of one stretch of time."""

    entries: list[Entry] = field(default_factory=list)
    brain: int = 0

    @property
    def path(self) -> list[Entry]:
        """Without the background."""
        return [entry for entry in self.entries if entry.background is None]

    @property
    def cost(self) -> Cost:
        """Of the path."""
        return sum((entry.cost for entry in self.path), Cost(brain=self.brain))

    @property
    def prepared_again(self) -> set[str]:
        """Statements that a connection had prepared before."""
        return {statement for entry in self.entries for statement in entry.prepared_again}

    def __str__(self) -> str:
        seen = Counter(f"{entry.edge}: {entry.what}" for entry in self.path)
        return "\n".join([*(f"{count:5} × {what}" for what, count in sorted(seen.items())), f"{self.brain:5} × Brain"])


class Ledger:
    """Entries as they come, from the readers that it makes."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.statements: set[str] = set()
        self._changed = asyncio.Event()
        self._unanswered: Counter[str] = Counter()
        self._names = _names()

    @contextmanager
    def billed(self) -> Iterator[Bill]:
        """The bill of the block: complete when the block has been left."""
        first, bill = len(self.entries), Bill()
        yield bill
        bill.entries = self.entries[first:]

    async def until(self, happened: Callable[[], Awaitable[bool]]) -> None:
        """Returns when it has happened: asked anew whenever something has gone over the wire."""
        while True:
            self._changed.clear()
            if await happened():
                return
            await self._changed.wait()

    @property
    def answered(self) -> bool:
        """Whether no call between services is under way, but for the background's."""
        return not +self._unanswered

    def count(self, edge: str, what: str) -> int:
        """How often this has gone over the edge so far."""
        return sum(entry.what == what and entry.edge == edge for entry in self.entries)

    def reader(self, client: str, part: str) -> WireReader:
        """For one connection of a service to another part."""
        edge = f"{client} → {part}"
        if part == "postgres":
            return PostgresWire(_PostgresConnection(client, edge, self).finished)
        if part == "nats":
            return NatsWire(lambda what: self.add(edge, what, Cost(published=1)))
        return GrpcWire(
            lambda method: self._asked(edge, method),
            lambda method: self._replied(edge, method),
        )

    def add(
        self, edge: str, what: str, cost: Cost, background: Background | None = None, again: tuple[str, ...] = ()
    ) -> None:
        """Takes in an entry."""
        background = background or next((each for each in BACKGROUND if each.edge == edge and each.what == what), None)
        self.entries.append(Entry(edge, what, cost, background, again))
        self._changed.set()

    def name(self, statement: str) -> str:
        """That of the constant that holds it, or how it begins."""
        return self._names.get(statement, statement[:120])

    def _asked(self, edge: str, method: str) -> None:
        self.add(edge, method, Cost(messages=1))
        if method not in _STREAMS and self.entries[-1].background is None:
            self._unanswered[method] += 1

    def _replied(self, edge: str, method: str) -> None:
        if method in _STREAMS:
            if method.startswith("StatusService.Watch"):
                self.add(edge, f"{method} tells", Cost(watched=1))
        elif method in self._unanswered:
            self._unanswered[method] -= 1
            self._changed.set()


class _PostgresConnection:
    """Turns units into entries; what gives a connection back belongs to what it was taken for."""

    def __init__(self, client: str, edge: str, ledger: Ledger) -> None:
        self._client, self._edge, self._ledger = client, edge, ledger
        self._before: Background | None = None

    def finished(self, unit: Unit) -> None:
        texts = [statement.text for statement in unit.statements]
        self._ledger.statements.update(texts)
        given_back = any(_RESETS.search(text) for text in texts)
        background = self._before if given_back else self._by_itself(unit)
        self._before = background
        written = any(_WRITES.search(text) for text in texts) and texts[-1].rstrip(";") != "ROLLBACK"
        cost = Cost(**{f"{self._client}_trips": unit.round_trips, f"{self._client}_commits": int(written)})
        what = GIVEN_BACK if given_back else " | ".join(map(self._ledger.name, texts))
        self._ledger.add(self._edge, what, cost, background, tuple(unit.prepared_again))

    def _by_itself(self, unit: Unit) -> Background | None:
        if len(unit.statements) != 1:
            return None
        [statement] = unit.statements
        for each in BACKGROUND:
            same = each.edge == self._edge and normalised(each.what) == statement.text
            if same and each.argument in statement.arguments:
                return each
        return None


def _names() -> dict[str, str]:
    """The constants of both services that have a database, by their text: `record_store.GET`."""
    found: dict[str, str] = {}
    for package in (status_service, processor_service):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                constants = vars(importlib.import_module(module.name)).items()
                texts = {
                    normalised(value): name for name, value in constants if isinstance(value, str) and name.isupper()
                }
                for text, name in texts.items():
                    found.setdefault(text, f"{module.name.rpartition('.')[2]}.{name}")
    return found
