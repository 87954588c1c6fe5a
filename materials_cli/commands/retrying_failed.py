"""`materials retry --failed`: call after call until none is left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from materials.v1 import material_pb2, status_service_pb2

from materials_cli.commands.running import run
from materials_cli.connection import CALL_SECONDS, Connection
from materials_cli.documents import to_json
from materials_cli.errors import CommandError, WrongUsage
from materials_cli.presentation import print_notice
from materials_cli.refusals import explained
from servicekit.documents import document, numbers_by_name

TELL_SECONDS = 2.0
_REASONS = material_pb2.FailureReason.DESCRIPTOR


@dataclass
class Tally:
    """What became of them so far."""

    retried: int = 0
    remaining: int = 0
    not_retryable: int = 0
    _at_first: int = 0

    def add(self, response: status_service_pb2.RetryFailedMaterialsResponse) -> bool:
        """Whether to call again. What was retried may fail again meanwhile: as many as there were at first are enough."""
        self._at_first = self._at_first or response.retried + response.remaining
        self.retried += response.retried
        self.remaining, self.not_retryable = response.remaining, response.not_retryable
        return response.retried > 0 and response.remaining > 0 and self.retried < self._at_first


def failure_reason(name: str) -> material_pb2.FailureReason.ValueType:
    """The contract's value by its name without prefix, upper or lower case, with `-` or `_`. Raises WrongUsage."""
    known = numbers_by_name(_REASONS)
    number = known.get(name.strip().lower().replace("-", "_"))
    if number is None:
        raise WrongUsage(f"there is no failure reason '{name}'; known are {', '.join(sorted(known))}")
    return material_pb2.FailureReason.ValueType(number)


def outcome_text(tally: Tally, *, course: str) -> str:
    """`retried 1,204; 3 cannot be retried (see materials list --status failed)`."""
    see = f"see materials list --status failed{f' --course {course}' if course else ''}"
    parts = [f"retried {tally.retried:,}" if tally.retried else "nothing to retry"]
    if tally.remaining:
        parts.append(f"{tally.remaining:,} left, retry again")
    if tally.not_retryable:
        parts.append(f"{tally.not_retryable:,} cannot be retried ({see})")
    return "; ".join(parts)


def retry_failed(course: str, reason: str | None, *, json: bool) -> None:
    """Retries all that may be, and says how many. Raises CommandError."""
    number = failure_reason(reason) if reason is not None else material_pb2.FAILURE_REASON_UNSPECIFIED
    request = status_service_pb2.RetryFailedMaterialsRequest(course_id=course, failure_reason=number)

    async def work(connection: Connection) -> None:
        tally = Tally()
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(_tell(tally))
            await _retry_all(connection, request, tally)
            telling.cancel()
        if json:
            response = status_service_pb2.RetryFailedMaterialsResponse(
                retried=tally.retried, remaining=tally.remaining, not_retryable=tally.not_retryable
            )
            print(to_json(document(response)), flush=True)
        else:
            print(outcome_text(tally, course=course), flush=True)

    run(work)


async def _retry_all(
    connection: Connection, request: status_service_pb2.RetryFailedMaterialsRequest, tally: Tally
) -> None:
    more = True
    while more:
        try:
            with explained(connection.service("status")):
                response = await connection.status.RetryFailedMaterials(
                    request, metadata=connection.identity, timeout=CALL_SECONDS
                )
        except CommandError:
            if tally.retried:
                print_notice(f"retried {tally.retried:,} before this; the same command goes on with the others")
            raise
        more = tally.add(response)


async def _tell(tally: Tally) -> None:
    while True:
        await asyncio.sleep(TELL_SECONDS)
        left = f"; {tally.remaining:,} left" if tally.remaining else ""
        print_notice(f"retried {tally.retried:,} so far{left}")
