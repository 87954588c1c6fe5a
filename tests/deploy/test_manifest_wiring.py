"""Ports, probes, images and names of streams in the manifests are those of the code and of the running services."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Mapping
from urllib.parse import urlsplit

import grpc
import httpx
import nats
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.images.sources import image_name
from processor_service.settings import ProcessorSettings
from tests.deploy.kustomized import NAME, OVERLAYS, PROJECT, SERVICES, Rendered, rendered
from tests.deploy.service_settings import own_port
from tests.local_stack import LocalStack

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
METRICS_PORT = 9464


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Rendered:
    return rendered(request.param)


def served(service: str) -> str:
    """The name of the port that a service is there for."""
    return "http" if service == "gateway" else "grpc"


def test_containers_open_the_ports_that_the_services_listen_on(overlay: Rendered) -> None:
    address = overlay.named("ConfigMap", "settings")["data"]["METRICS_ADDRESS"]
    assert address == f"0.0.0.0:{METRICS_PORT}"
    for service in SERVICES:
        ports = {each["name"]: each["containerPort"] for each in overlay.service_container(service)["ports"]}
        assert ports == {served(service): own_port(service), "metrics": METRICS_PORT}
        for probe in (overlay.service_container(service)[each] for each in PROBES):
            # A gRPC probe takes no name of a port.
            asked = probe["httpGet"]["port"] if service == "gateway" else probe["grpc"]["port"]
            assert asked == (served(service) if service == "gateway" else own_port(service))


def test_services_lead_to_those_ports_and_peers_look_for_them_there(overlay: Rendered) -> None:
    for service in SERVICES:
        spec = overlay.named("Service", service)["spec"]
        (port,) = spec["ports"]
        assert (port["name"], port["port"], port["targetPort"]) == (served(service), own_port(service), served(service))
        # A channel would stick to one pod behind a virtual address.
        assert (spec.get("clusterIP") == "None") == (service != "gateway")
    assert overlay.named("ConfigMap", "peers")["data"] == {
        f"{service.upper()}_ENDPOINT": f"dns:///{service}:{own_port(service)}"
        for service in SERVICES
        if service != "gateway"
    }


def test_the_route_leads_to_the_gateway_and_never_cuts_a_stream() -> None:
    (rule,) = rendered("production").named("HTTPRoute", "gateway")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "gateway", "port": own_port("gateway")}]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


def test_images_are_those_that_are_built_of_this_version(overlay: Rendered) -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    for service in SERVICES:
        image = overlay.service_container(service)["image"]
        assert is_image_of(service, version, image), image
        if overlay.overlay == "development":
            assert image_name(service, version) == f"docker.io/{image}", "what a cluster takes a short name for"
        stage = stage_of(service)
        assert f'"course-materials/{service}"' in stage
        exposed = {int(port) for port in " ".join(re.findall(r"^EXPOSE (.*)$", stage, re.MULTILINE)).split()}
        assert exposed == {own_port(service), METRICS_PORT}
        module = service if service == "gateway" else f"{service}_service"
        assert f'ENTRYPOINT ["python", "-m", "{module}"]' in stage
        assert "command" not in overlay.service_container(service)


def is_image_of(service: str, version: str, image: str) -> bool:
    """In whatever registry; by tag, or by the digest that it has there."""
    name = rf"(\S+/)?course-materials/{service}(:{re.escape(version)}|@sha256:[0-9a-f]{{64}})"
    return re.fullmatch(name, image) is not None


def test_an_image_may_be_named_by_digest() -> None:
    assert is_image_of("ingest", "1.2.3", "registry.example.org:5000/course-materials/ingest@sha256:" + "0a" * 32)
    assert is_image_of("ingest", "1.2.3", "registry.example.org:5000/course-materials/ingest:1.2.3")
    for wrong in ("course-materials/ingest", "course-materials/ingest:1.2.4", "course-materials/status:1.2.3"):
        assert not is_image_of("ingest", "1.2.3", wrong)


def stage_of(target: str) -> str:
    """The last stage of an image's recipe."""
    recipe = (PROJECT / "deploy" / "images" / "Containerfile").read_text()
    found = re.search(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM |\Z)", recipe, re.MULTILINE | re.DOTALL)
    assert found, f"deploy/images builds no {target}"
    return found[1]


async def test_the_probes_are_answered_by_the_running_services(overlay: Rendered, stack: LocalStack) -> None:
    for service in SERVICES:
        container = overlay.service_container(service)
        for probe in (container[each] for each in PROBES):
            if service == "gateway":
                async with httpx.AsyncClient(base_url=f"http://{stack.facts['gateway']}", timeout=10.0) as http:
                    assert (await http.get(probe["httpGet"]["path"])).status_code == 200
            else:
                request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
                async with grpc.aio.insecure_channel(stack.facts["endpoints"][service][0]) as channel:
                    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_metrics_are_where_prometheus_is_told_to_look(overlay: Rendered, stack: LocalStack) -> None:
    for service in SERVICES:
        told = overlay.workloads()[service]["spec"]["template"]["metadata"]["annotations"]
        assert (told["prometheus.io/scrape"], told["prometheus.io/port"]) == ("true", str(METRICS_PORT))
        host = urlsplit(stack.facts["metrics"][service]).netloc
        async with httpx.AsyncClient(timeout=10.0) as http:
            answer = await http.get(f"http://{host}{told['prometheus.io/path']}")
        assert answer.status_code == 200
        assert "process_cpu_seconds_total" in answer.text


def is_scraped(phase: str, labels: Mapping[str, str], port: str = "metrics") -> bool:
    """Whether a pod's port is a target, by the `keep` and `drop` of the configuration that is given to Prometheus."""
    [scrape] = yaml.safe_load((PROJECT / "deploy/observability/scrape.yaml").read_text())["scrape_configs"]
    meta = {"__meta_kubernetes_pod_phase": phase, "__meta_kubernetes_pod_container_port_name": port}
    meta |= {f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}": labels[name] for name in labels}
    return all(
        (re.fullmatch(rule["regex"], meta.get(rule["source_labels"][0], "")) is not None) == (rule["action"] == "keep")
        for rule in scrape["relabel_configs"]
        if rule.get("action") in ("keep", "drop")
    )


def test_prometheus_takes_our_pods_as_long_as_they_run_and_nobody_elses(overlay: Rendered) -> None:
    for name, workload in overlay.workloads().items():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert is_scraped("Running", labels) == (name in SERVICES), name
        assert not is_scraped("Failed", labels)
        assert not is_scraped("Running", labels, port="grpc")
    assert not is_scraped("Running", {NAME: "gateway", "app.kubernetes.io/part-of": "another"})
    assert not is_scraped("Running", {NAME: "gateway"})


async def test_keda_looks_at_the_consumer_that_processors_share(stack: LocalStack) -> None:
    metadata = rendered("production").named("ScaledObject", "processor")["spec"]["triggers"][0]["metadata"]
    connection = await nats.connect(stack.facts["nats"])
    try:
        async with asyncio.timeout(30):
            info = await connection.jetstream().consumer_info(metadata["stream"], metadata["consumer"])
    finally:
        await connection.close()
    assert info.config.filter_subject == "materials.v1.uploaded"
    slots = ProcessorSettings.model_fields["processor_slots"].default
    assert int(metadata["lagThreshold"]) == 2 * slots
