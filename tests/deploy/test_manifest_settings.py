"""What the manifests set is what the code reads, and what the code needs is set: variables, Secrets, and the Job that migrates."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import obstore
import pytest
from opentelemetry.sdk import environment_variables
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from servicekit.settings import ServiceSettings
from single_node.stack import SERVICES as STACK_SERVICES
from tests.deploy.kustomized import OVERLAYS, PROJECT, Rendered, development_secrets, rendered, secrets_of
from tests.deploy.service_settings import SETTINGS

#: Defaults that mean "this machine": in a cluster they are never right.
THIS_MACHINE = re.compile(r"127\.0\.0\.1|localhost|^file:")
OPERATIONS = PROJECT / "docs" / "operations.md"


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Rendered:
    return rendered(request.param)


def names_in_obstore() -> set[str]:
    """The variables that obstore says it reads, in the stubs it ships; those of its HTTP client by the names of their fields."""
    stubs = Path(obstore.__file__).parent / "_store"
    named = set(re.findall(r"`(AWS_[A-Z0-9_]+)`", (stubs / "_aws.pyi").read_text()))
    fields = re.findall(r"^    ([a-z0-9_]+): ", (stubs / "_client.pyi").read_text(), re.MULTILINE)
    return named | {f"AWS_{each.upper()}" for each in fields}


def names_of(service: str) -> set[str]:
    """Every variable that a service reads."""
    known = {name.upper() for name in SETTINGS[service].model_fields}
    if "OBJECT_STORE_URL" in known:
        known |= names_in_obstore()
    return known | {name for name in vars(environment_variables) if name.startswith("OTEL_")}


def no_safe_default(service: str) -> set[str]:
    """The variables that must be given: without a default, or with one that means this machine."""
    return {
        name.upper()
        for name, field in SETTINGS[service].model_fields.items()
        if field.default is PydanticUndefined or (isinstance(field.default, str) and THIS_MACHINE.search(field.default))
    }


def test_what_must_be_given_is_found_in_the_settings() -> None:
    """That the tests below ask for something."""
    assert {"STATUS_DATABASE_URL", "SERVICE_TOKEN_SECRET", "NATS_URL"} <= no_safe_default("status")
    assert {"AI_BRAIN_ENDPOINT", "OBJECT_STORE_URL", "STATUS_ENDPOINT"} <= no_safe_default("processor")
    assert "AWS_ALLOW_HTTP" in names_of("ingest")
    assert "AWS_ALLOW_HTTP" not in names_of("status")


def test_every_variable_is_one_that_the_container_reads(overlay: Rendered) -> None:
    for service, container in overlay.service_containers():
        given = overlay.environment(container, secrets_of(overlay.overlay)).keys()
        assert given <= names_of(service), f"{container['image']} does not know {given - names_of(service)}"


def test_every_setting_without_a_safe_default_is_given(overlay: Rendered) -> None:
    for service in SETTINGS:
        given = overlay.environment(overlay.service_container(service), secrets_of(overlay.overlay))
        assert no_safe_default(service) <= given.keys(), service
    wiring = {each.name: each.needs - {"WORK_DIRECTORY"} for each in STACK_SERVICES}
    assert wiring.keys() == SETTINGS.keys()
    for service, needed in wiring.items():
        assert needed <= overlay.environment(overlay.service_container(service), secrets_of(overlay.overlay)).keys()


def loaded(overlay: Rendered, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ServiceSettings]]:
    """The settings of each container of ours, as it would read them. Raises what stops its start."""
    settings = []
    for service, container in overlay.service_containers():
        with monkeypatch.context() as environment:
            for name in SETTINGS[service].model_fields:
                environment.delenv(name.upper(), raising=False)
            for name, value in overlay.environment(container, secrets_of(overlay.overlay)).items():
                environment.setenv(name, value)
            settings.append((service, SETTINGS[service]()))
    return settings


def test_the_settings_let_every_container_start(overlay: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    every = loaded(overlay, monkeypatch)
    assert all(settings.log_format == "json" for _, settings in every)
    # The migrations need none but the database's.
    for service, settings in every[: len(SETTINGS)]:
        for name, value in settings:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            assert not THIS_MACHINE.search(text), f"{service}: {name.upper()} is of this machine"


def test_production_has_what_matters_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for service, settings in loaded(rendered("production"), monkeypatch)[: len(SETTINGS)]:
        values = settings.model_dump()
        assert values["auth_jwks_url"].startswith("https://"), service
        assert values["auth_issuer"], service
        assert not values["auth_hs256_secret"].get_secret_value(), service
        assert values.get("event_stream_replicas", 3) == 3, service
        assert values.get("ai_brain_endpoint", "https://…").startswith("https://"), service
    variables = rendered("production").environment(
        rendered("production").service_container("ingest"), secrets_of("production")
    )
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(":4317")
    assert "AWS_ALLOW_HTTP" not in variables


def test_a_missing_secret_is_found() -> None:
    """That the tests above can fail."""
    overlay = rendered("development")
    with pytest.raises(AssertionError, match="SERVICE_TOKEN_SECRET"):
        overlay.environment(overlay.service_container("gateway"), {})


def test_the_development_secrets_are_those_that_are_asked_for() -> None:
    references = rendered("development").secret_references()
    printed = {(name, key) for name, held in development_secrets().items() for key in held}
    assert printed <= {(name, key) for name, key, _ in references}, "a Secret that nobody reads"
    assert {(name, key) for name, key, optional in references if not optional} <= printed
    values = [value for held in development_secrets().values() for value in held.values()]
    assert len(set(values)) == len(values)


def test_the_documentation_lists_the_secrets_of_production() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", section(), re.MULTILINE)
    listed = {(name, key) for name, keys in rows for key in re.findall(r"`([A-Z0-9_]+)`", keys)}
    assert listed == {(name, key) for name, key, _ in rendered("production").secret_references()}


def section() -> str:
    """What docs/operations.md says of Kubernetes."""
    text = OPERATIONS.read_text(encoding="utf-8")
    return text.partition("## Running on Kubernetes\n")[2].partition("\n## ")[0]


def test_the_migration_runs_modules_that_exist_with_the_images_of_their_services(overlay: Rendered) -> None:
    containers = overlay.pods()["migrate"]["containers"]
    assert [each["name"] for each in containers] == ["status", "processor"]
    for each in containers:
        python, option, module = each["command"]
        assert (python, option, module) == ("python", "-m", f"{each['name']}_service.migrate")
        assert importlib.util.find_spec(module) is not None
        assert each["image"] == overlay.service_container(each["name"])["image"]
