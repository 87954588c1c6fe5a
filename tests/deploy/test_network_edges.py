"""Each edge that the code needs is open, and no other: all pods of an overlay to all ports of all others."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from itertools import product

import pytest

from servicekit.settings import ServiceSettings
from tests.deploy.kustomized import NAME, OVERLAYS, SERVICES, Rendered, rendered
from tests.deploy.network_edges import NAME_SERVERS, Peer, is_allowed, may_enter, may_leave, pods_of
from tests.deploy.service_settings import SETTINGS, own_port

Edge = tuple[str, str, int]
#: A setting that names something to connect to, and what it is.
BACKENDS = {
    "nats_url": ("nats", 4222),
    "object_store_url": ("object-store", 8333),
    "status_database_url": ("postgres", 5432),
    "processor_database_url": ("postgres", 5432),
}
#: Something outside the cluster, in no private network; and something on the metadata address that clouds have.
PUBLIC, METADATA = Peer(namespace="", address="203.0.113.7"), Peer(namespace="", address="169.254.169.254")


def edges_of(service: str, settings: type[ServiceSettings]) -> set[Edge]:
    """Who a service connects to, by the settings that it has."""
    edges: set[Edge] = set()
    for name in settings.model_fields:
        peer = name.removesuffix("_endpoint")
        if peer in SERVICES:
            edges.add((service, peer, own_port(peer)))
        elif name in BACKENDS:
            edges.add((service, *BACKENDS[name]))
    return edges


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Rendered:
    return rendered(request.param)


@pytest.mark.parametrize("side", [may_leave, may_enter])
def test_pods_reach_what_their_settings_name_and_nothing_else(side: Callable[..., bool]) -> None:
    """At both ends: a way out that nobody lets in at is a mistake too."""
    overlay = rendered("development")
    pods, policies = pods_of(overlay), overlay.of_kind("NetworkPolicy")
    needed = {edge for service, settings in SETTINGS.items() for edge in edges_of(service, settings)}
    needed.add(("migrate", "postgres", 5432))
    ports = sorted({port for each in pods.values() for port in each.ports.values()})
    opened = {
        (client, server, port)
        for client, server, port in product(pods, pods, ports)
        if side(policies, pods[client], pods[server], port)
    }
    assert opened == needed


def test_without_its_policies_everything_is_open() -> None:
    """That the one above can fail at all."""
    pods = pods_of(rendered("development"))
    assert is_allowed([], pods["gateway"], pods["postgres"], 5432)
    only_deny = [rendered("development").named("NetworkPolicy", "default-deny")]
    assert not is_allowed(only_deny, pods["status"], pods["postgres"], 5432)


@pytest.mark.parametrize(
    ("namespace", "labels", "reached"),
    [
        ("monitoring", {}, {(name, 9464) for name in SERVICES}),
        ("gateway-system", {}, {("gateway", 8080)}),
        (
            "learning-platform",
            {"course-materials/grpc-clients": "true"},
            {(name, own_port(name)) for name in SERVICES if name != "gateway"},
        ),
        ("learning-platform", {}, set()),
        ("kube-system", {}, set()),
    ],
)
def test_other_namespaces_reach_what_they_are_for(
    overlay: Rendered, namespace: str, labels: dict[str, str], reached: set[tuple[str, int]]
) -> None:
    outsider, pods = Peer(namespace=namespace, namespace_labels=labels), pods_of(overlay)
    assert reached == {
        (name, port)
        for name, pod in pods.items()
        for port in pod.ports.values()
        if is_allowed(overlay.of_kind("NetworkPolicy"), outsider, pod, port)
    }


def test_every_pod_may_look_up_names_and_services_may_send_traces(overlay: Rendered) -> None:
    policies = overlay.of_kind("NetworkPolicy")
    collector = Peer(namespace="monitoring")
    for name, pod in pods_of(overlay).items():
        for server, protocol in product(NAME_SERVERS, ("UDP", "TCP")):
            assert is_allowed(policies, pod, server, 53, protocol), (name, server)
        assert is_allowed(policies, pod, collector, 4317) == (name in SERVICES)


def test_production_goes_out_to_its_backends_and_no_further() -> None:
    overlay = rendered("production")
    pods, policies = pods_of(overlay), overlay.of_kind("NetworkPolicy")
    blocks = {
        name: overlay.named("NetworkPolicy", name)["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"]
        for name in ("to-postgres", "to-nats", "to-ai-brain")
    }
    assert len(set(blocks.values())) == len(blocks), "each backend has a network of its own"
    backends = {
        name: Peer(namespace="", address=str(next(ipaddress.ip_network(cidr).hosts()))) for name, cidr in blocks.items()
    }
    reached = {
        (backend, port): {name for name, pod in pods.items() if is_allowed(policies, pod, peer, port)}
        for (backend, peer), port in product(backends.items(), (5432, 4222))
    }
    assert {edge: names for edge, names in reached.items() if names} == {
        ("to-postgres", 5432): {"status", "processor", "migrate"},
        ("to-nats", 4222): {"ingest", "status", "processor"},
    }
    assert is_allowed(policies, pods["processor"], backends["to-ai-brain"], 443)
    for name, pod in pods.items():
        # The object store, and the keys of users' tokens.
        assert is_allowed(policies, pod, PUBLIC, 443) == (name in SERVICES)
        assert not is_allowed(policies, pod, PUBLIC, 5432)
        assert not is_allowed(policies, pod, METADATA, 443)
        assert not is_allowed(policies, pod, METADATA, 80)
        assert not is_allowed(policies, pod, METADATA, 53, "UDP")


def test_the_policies_select_pods_that_exist() -> None:
    """A policy for a name that nobody has opens nothing, and nobody notices."""
    for overlay in map(rendered, OVERLAYS):
        for policy in overlay.of_kind("NetworkPolicy"):
            selector = policy["spec"]["podSelector"]
            names = [selector.get("matchLabels", {}).get(NAME)] if selector.get("matchLabels") else []
            names += [name for each in selector.get("matchExpressions", []) for name in each["values"]]
            assert set(names) <= overlay.workloads().keys(), policy["metadata"]["name"]
