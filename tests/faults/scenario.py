"""A scenario: one fault done to the running system, and what it is allowed to cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.fault_stack import FaultStack, Layout
from tests.faults.workload import Workload

Body = Callable[[FaultStack, Workload], Awaitable[None]]
SINGLE = Layout()
PAIR = Layout(replicas=2)
#: Gives up sooner: a short wait for the Brain, and two attempts in place of five.
HASTY = Layout(settings=(("AI_BRAIN_TIMEOUT", "3"), ("MAX_ATTEMPTS", "2")))


class Skipped(Exception):
    """This machine cannot do this fault; the message says what is missing. Told in the table, never passed over."""


@dataclass(frozen=True)
class Scenario:
    """`number` is the fault's in docs/faults.md, with a letter for each of its kinds. `recovery`: seconds from the end of the fault until all has ended."""

    number: str
    title: str
    body: Body
    layout: Layout
    recovery: float
    quick: bool
    #: Ends with a stack that nobody should use after it.
    spoils_stack: bool

    @property
    def order(self) -> tuple[int, str]:
        """As in the list of faults."""
        digits = "".join(filter(str.isdigit, self.number))
        return int(digits), self.number[len(digits) :]


_scenarios: dict[str, Scenario] = {}


def scenario(
    number: str,
    title: str,
    *,
    layout: Layout = SINGLE,
    recovery: float = 30.0,
    quick: bool = False,
    spoils_stack: bool = False,
) -> Callable[[Body], Body]:
    """Registers a scenario's body: `async def body(stack, work)`. The invariants are checked after it for everything done through `work`."""

    def register(body: Body) -> Body:
        assert number not in _scenarios, f"two scenarios are called {number}"
        _scenarios[number] = Scenario(number, title, body, layout, recovery, quick, spoils_stack)
        return body

    return register


def all_scenarios() -> list[Scenario]:
    """In the order of their numbers."""
    return sorted(_scenarios.values(), key=lambda each: each.order)
