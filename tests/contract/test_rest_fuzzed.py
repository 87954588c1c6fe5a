"""Whatever the OpenAPI document allows or forbids is sent: never an error of ours, always an answer that the document has."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.rest import TEXT
from tests.local_stack import LocalStack, unique_course

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
#: Of each kind, for each operation.
EXAMPLES = 12
COURSE = unique_course()


@pytest.fixture(scope="session")
def described(stack: LocalStack) -> Any:
    """What the running gateway says of itself; without the streams that do not end, and without signing in."""
    schema = schemathesis.openapi.from_url(f"http://{stack.facts['gateway']}/openapi.json")
    return schema.exclude(path_regex="/events$").exclude(path="/session", method="POST")


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
def test_every_answer_is_one_that_is_documented(
    described: Any, stack: LocalStack, mode: GenerationMode, subtests: pytest.Subtests
) -> None:
    operations = [result.ok() for result in described.get_all_operations()]
    assert len(operations) == 18
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {stack.facts['token']}"
        for operation in operations:
            if mode is GenerationMode.POSITIVE or takes_anything(operation):
                with subtests.test(operation.label):
                    send_examples(operation, mode, session, material_of(session, stack))


def takes_anything(operation: Any) -> bool:
    """Whether anything of a request can be wrong."""
    content = operation.definition.raw
    return bool(content.get("parameters") or content.get("requestBody") or content.get("security") != [])


def material_of(session: requests.Session, stack: LocalStack) -> str:
    """The id of a new material: what is generated names none."""
    url = f"http://{stack.facts['gateway']}/courses/{COURSE}/materials"
    material_id: str = session.post(url, files={"file": ("cells.md", TEXT)}, timeout=30).json()["id"]
    return material_id


def send_examples(operation: Any, mode: GenerationMode, session: requests.Session, material_id: str) -> None:
    """Fails with the command for curl that repeats what was not answered as documented."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE and "material_id" in case.path_parameters:
            case.path_parameters["material_id"] = material_id
        case.call_and_validate(session=session, checks=CHECKS, timeout=30)

    send()
