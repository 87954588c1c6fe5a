"""The command line retries all that failed: call after call, for a reason or a course, and says how many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from materials.v1 import errors_pb2, status_service_pb2
from materials.v1 import material_pb2 as pb

from servicekit.errors import ServiceError
from tests.contract.command_line import DEADLINE, ID, Cli, ended
from tests.contract.scripted_services import ScriptedServices, refuse


def retried(count: int, remaining: int = 0, not_retryable: int = 0) -> status_service_pb2.RetryFailedMaterialsResponse:
    return status_service_pb2.RetryFailedMaterialsResponse(
        retried=count, remaining=remaining, not_retryable=not_retryable
    )


def retries(*responses: status_service_pb2.RetryFailedMaterialsResponse) -> Any:
    left = list(responses)

    async def retry(request: Any, context: Any) -> Any:
        return left.pop(0)

    return retry


async def test_all_that_failed_is_retried_call_after_call(services: ScriptedServices, cli: Cli) -> None:
    services.on("RetryFailedMaterials", retries(retried(1000, 204, 3), retried(204, 0, 3)))
    result = await cli.run("retry", "--failed", "--reason", "Brain-Failed", "--course", "algebra")
    assert (result.code, result.err) == (0, "")
    assert result.out == ("retried 1,204; 3 cannot be retried (see materials list --status failed --course algebra)\n")
    assert len(services.requests) == 2
    for request in services.requests:
        assert (request.course_id, request.failure_reason) == ("algebra", pb.FAILURE_REASON_BRAIN_FAILED)


async def test_a_retry_without_anything_to_retry_says_so(services: ScriptedServices, cli: Cli) -> None:
    services.on("RetryFailedMaterials", retries(retried(0), retried(0, 0, 3)))
    result = await cli.run("retry", "--failed")
    assert (result.code, result.out) == (0, "nothing to retry\n")
    assert services.requests[0] == status_service_pb2.RetryFailedMaterialsRequest()
    result = await cli.run("retry", "--failed", "--json")
    assert (result.code, result.documents) == (0, [{"retried": 0, "remaining": 0, "not_retryable": 3}])


async def test_what_fails_again_while_all_are_retried_does_not_keep_the_command_going(
    services: ScriptedServices, cli: Cli
) -> None:
    services.on("RetryFailedMaterials", retries(retried(10, 10), retried(10, 5)))
    result = await cli.run("retry", "--failed", "--json")
    assert result.code == 0
    assert result.documents == [{"retried": 20, "remaining": 5, "not_retryable": 0}]


async def test_a_retry_of_many_tells_how_far_it_is(services: ScriptedServices, cli: Cli) -> None:
    told = asyncio.Event()

    async def retry(request: Any, context: Any) -> Any:
        if len(services.requests) == 1:
            return retried(1000, 500)
        await told.wait()
        return retried(500)

    services.on("RetryFailedMaterials", retry)
    process = await cli.start("retry", "--failed")
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        assert await process.stderr.readline() == b"retried 1,000 so far; 500 left\n"
    told.set()
    result = await ended(process)
    assert (result.code, result.out) == (0, "retried 1,500\n")


async def test_a_retry_that_is_refused_in_the_middle_says_how_far_it_came(services: ScriptedServices, cli: Cli) -> None:
    async def retry(request: Any, context: Any) -> Any:
        if len(services.requests) > 1:
            await refuse(context, ServiceError(errors_pb2.ERROR_REASON_COURSE_WRITE_DENIED, "only an editor may"))
        return retried(1000, 500)

    services.on("RetryFailedMaterials", retry)
    result = await cli.run("retry", "--failed", "--course", "algebra")
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines() == [
        "retried 1,000 before this; the same command goes on with the others",
        "error: only an editor may; ask for the role `editor` in this course",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name either materials or all that failed"),
        ((ID, "--failed"), "name either materials or all that failed"),
        ((ID, "--reason", "internal"), "use them with --failed"),
        ((ID, "--course", "algebra"), "use them with --failed"),
        (("--failed", "--reason", "bad_luck"), "known are brain_failed, brain_misconfigured, "),
        (("--failed", "--reason", "unspecified"), "there is no failure reason 'unspecified'"),
    ],
)
async def test_a_retry_of_unclear_materials_is_a_usage_error(
    services: ScriptedServices, cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    result = await cli.run("retry", *arguments)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert said in result.err
    assert services.requests == []
