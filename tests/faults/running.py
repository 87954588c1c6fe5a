"""Runs scenarios one after another on a stack, and several such lanes side by side."""

from __future__ import annotations

import asyncio
import traceback
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from tests.faults.fault_stack import FaultStack, Layout
from tests.faults.invariants import check
from tests.faults.scenario import Scenario, Skipped
from tests.faults.verdict import Verdict
from tests.faults.workload import Workload

SCENARIO_SECONDS = 240.0


@dataclass
class Result:
    """What became of a scenario. `recovered`: seconds from the end of the fault until all had ended."""

    scenario: Scenario
    in_flight: int = 0
    recovered: float = 0.0
    took: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    skipped: str = ""

    @property
    def good(self) -> bool:
        """All held."""
        return self.verdict.good


class Lane:
    """Scenarios in a row; the stack is kept from one to the next while it is laid out alike and nothing has gone wrong on it."""

    def __init__(self) -> None:
        self._stack: FaultStack | None = None

    async def run(self, scenario: Scenario) -> Result:
        """One scenario, with all its checks."""
        stack = await self._stack_for(scenario.layout)
        result = Result(scenario)
        clock = asyncio.get_running_loop().time
        began = clock()
        owner = f"owner-{uuid.uuid4().hex[:10]}"
        async with stack.client(owner) as client:
            work = Workload(stack, client, owner)
            try:
                async with asyncio.timeout(SCENARIO_SECONDS):
                    await scenario.body(stack, work)
                    result.recovered = await work.settled(scenario.recovery)
                    result.verdict = await check(work)
                    if result.recovered > scenario.recovery and not result.verdict.stuck:
                        result.verdict.wrong.append(
                            f"recovered after {result.recovered:.0f} s; at most {scenario.recovery:.0f} s are promised"
                        )
            except Skipped as skipped:
                result.skipped = str(skipped)
            except Exception as error:
                told = "".join(traceback.format_exception(error, limit=-6)).rstrip()
                result.verdict.wrong.append(f"the scenario itself came to nothing:\n{told}")
            finally:
                await work.close()
                result.in_flight = len(work.accepted)
        result.took = clock() - began
        if scenario.spoils_stack or not result.good:
            await self.close(keep=not result.good)
        return result

    async def close(self, *, keep: bool = False) -> None:
        """Stops the stack."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.stop(keep_logs=keep)

    async def _stack_for(self, layout: Layout) -> FaultStack:
        if self._stack is not None and self._stack.layout != layout:
            await self.close()
        if self._stack is None:
            self._stack = await FaultStack.start(layout)
        return self._stack


async def run_all(scenarios: Sequence[Scenario], lanes: int) -> AsyncIterator[Result]:
    """Results as they come. Scenarios with the same layout go to the same lane in a row, so that few stacks have to be started."""
    waiting = sorted(scenarios, key=lambda each: (repr(each.layout), each.order))
    results: asyncio.Queue[Result | None] = asyncio.Queue()

    async def lane() -> None:
        mine = Lane()
        try:
            last: Layout | None = None
            while waiting:
                index = next((i for i, each in enumerate(waiting) if each.layout == last), 0 if last is None else -1)
                chosen = waiting.pop(index)
                last = chosen.layout
                await results.put(await mine.run(chosen))
        finally:
            await mine.close()
            await results.put(None)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(lanes):
            tasks.create_task(lane())
        open_lanes = lanes
        while open_lanes:
            result = await results.get()
            if result is None:
                open_lanes -= 1
            else:
                yield result
