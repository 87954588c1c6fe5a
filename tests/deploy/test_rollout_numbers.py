"""The numbers by which pods come and go fit together, and are those that docs/operations.md gives reasons for."""

from __future__ import annotations

import inspect
import re

import pytest

from processor_service.documents.document_pages import RenderLimits
from servicekit.manager import ServiceManager
from servicekit.server import SERVER_OPTIONS
from tests.deploy.kustomized import SERVICES, Manifest, rendered
from tests.deploy.service_settings import SETTINGS
from tests.deploy.test_manifest_settings import section

#: How long a cluster's DNS may answer with what was (the time to live of its records), and gRPC's least time between two look-ups.
STALE_DNS_SECONDS = 30
#: The parts that stop behind the server: leases handed back, NATS flushed, Postgres closed.
OTHER_PARTS_SECONDS = 10
START_SECONDS = inspect.signature(ServiceManager).parameters["start_timeout"].default
#: What a service adds to its grace before it gives up on a part (servicekit/bootstrap.py).
STOP_MARGIN_SECONDS = 3


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def deployment(service: str) -> Manifest:
    return rendered("production").named("Deployment", service)["spec"]


def container(service: str) -> Manifest:
    return rendered("production").service_container(service)


def grace(service: str) -> float:
    (entry,) = [each for each in container(service)["env"] if each["name"] == "SHUTDOWN_GRACE_SECONDS"]
    return float(entry["value"])


def pre_stop(service: str) -> int:
    return int(container(service)["lifecycle"]["preStop"]["sleep"]["seconds"])


def longest(probe: Manifest) -> int:
    """How long a pod may fail it."""
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def test_a_pod_is_killed_only_after_all_it_may_take_to_stop(service: str) -> None:
    needed = pre_stop(service) + grace(service) + STOP_MARGIN_SECONDS + OTHER_PARTS_SECONDS
    assert deployment(service)["template"]["spec"]["terminationGracePeriodSeconds"] >= needed


def test_an_upload_may_end_at_the_gateway_for_as_long_as_at_ingest() -> None:
    assert grace("gateway") == grace("ingest")
    assert grace("ingest") > SETTINGS["ingest"].model_fields["upload_idle_seconds"].default


def test_a_start_is_not_cut_short_by_its_probe(service: str) -> None:
    assert longest(container(service)["startupProbe"]) >= START_SECONDS + 30
    assert deployment(service)["progressDeadlineSeconds"] > (
        longest(container(service)["startupProbe"]) + deployment(service)["minReadySeconds"]
    )


def test_a_pod_gets_no_new_calls_long_before_it_is_restarted(service: str) -> None:
    ready, alive = container(service)["readinessProbe"], container(service)["livenessProbe"]
    assert 3 * longest(ready) < longest(alive)
    for probe in (ready, alive):
        assert probe["timeoutSeconds"] <= probe["periodSeconds"]


def test_the_next_pod_goes_only_when_everybody_knows_the_last_new_one(service: str) -> None:
    spec = deployment(service)
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] > (STALE_DNS_SECONDS if service != "gateway" else 0)


def test_a_drained_node_takes_one_replica_at_a_time_and_leaves_one(service: str) -> None:
    budget = rendered("production").named("PodDisruptionBudget", service)["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_memory_is_enough_for_what_a_service_lets_in(service: str) -> None:
    """By the figures of docs/operations.md and docs/performance.md, in MiB."""
    defaults = {name: field.default for name, field in SETTINGS[service].model_fields.items()}
    needed = {
        "ingest": lambda: (80 + 8 * defaults["max_concurrent_uploads"]) / 0.85,
        "status": lambda: 90 + 39 / 1024 * defaults["max_watches"],
        "processor": lambda: 160 + defaults["processor_slots"] * RenderLimits().memory_bytes / 2**20,
        "gateway": lambda: 90 + 85 / 1024 * defaults["max_http_requests"],
    }[service]()
    limit = container(service)["resources"]["limits"]["memory"]
    given = int(limit[:-2]) * {"Mi": 1, "Gi": 1024}[limit[-2:]]
    assert needed <= given <= 1.5 * needed + 256


def test_the_page_says_why_of_each_number(service: str) -> None:
    column = 1 + SERVICES.index(service)
    told = {
        cells[0]: cells[column]
        for line in section().splitlines()
        if (cells := [each.strip() for each in line.strip("|").split("|")])[0].startswith("`") and len(cells) == 6
    }
    spec, probes = deployment(service), container(service)
    assert told == {
        "`startupProbe`": f"{longest(probes['startupProbe'])} s",
        "`readinessProbe`": f"{longest(probes['readinessProbe'])} s",
        "`livenessProbe`": f"{longest(probes['livenessProbe'])} s",
        "`minReadySeconds`": f"{spec['minReadySeconds']} s",
        "`preStop`": f"{pre_stop(service)} s",
        "`SHUTDOWN_GRACE_SECONDS`": f"{grace(service):g} s",
        "`terminationGracePeriodSeconds`": f"{spec['template']['spec']['terminationGracePeriodSeconds']} s",
    }


def test_the_page_knows_the_age_of_connections() -> None:
    options = dict(SERVER_OPTIONS)
    age, end = options["grpc.max_connection_age_ms"] / 60_000, options["grpc.max_connection_age_grace_ms"] / 60_000
    assert re.search(rf"\b{age:g} min\b", section())
    assert re.search(rf"\b{end:g} min\b", section())
    megabits = SETTINGS["ingest"].model_fields["max_upload_bytes"].default * 8 / 1e6
    slow, slowest = re.findall(r"on a line below ([\d.]+) Mbit/s, and always does below ([\d.]+)\.", section())[0]
    assert (slow, slowest) == (f"{megabits / end / 60:.1f}", f"{megabits / (age + end) / 60:.1f}")
