"""Who may open a connection to whom, worked out from NetworkPolicies as a network plugin does it.

A pod that no policy selects is open; one that is selected is closed, but for what some policy opens. A connection needs its client's way out and its
server's way in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.deploy.kustomized import Manifest, Rendered, containers_of

Direction = Literal["Ingress", "Egress"]


@dataclass(frozen=True)
class Peer:
    """A pod by its labels and those of its namespace, or, with an `address`, somebody outside the cluster. `ports` are the names of its ports."""

    namespace: str = "course-materials"
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    address: str = ""

    def all_namespace_labels(self) -> Mapping[str, str]:
        """With the one that Kubernetes gives by itself."""
        return {"kubernetes.io/metadata.name": self.namespace, **self.namespace_labels}


#: Who answers for names: the cluster's own pods, and the cache that a node may have before them.
NAME_SERVERS = (
    Peer(namespace="kube-system", labels={"k8s-app": "kube-dns"}),
    Peer(namespace="", address="169.254.20.10"),
)


def pods_of(overlay: Rendered) -> dict[str, Peer]:
    """A pod of each workload, by its name."""
    return {
        name: Peer(
            labels=each["spec"]["template"]["metadata"]["labels"],
            ports={
                port["name"]: port["containerPort"]
                for container in containers_of(each["spec"]["template"]["spec"])
                for port in container.get("ports", [])
            },
        )
        for name, each in overlay.workloads().items()
    }


def is_allowed(policies: Iterable[Manifest], client: Peer, server: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the client gets a connection."""
    policies = list(policies)
    return may_leave(policies, client, server, port, protocol) and may_enter(policies, client, server, port, protocol)


def may_leave(policies: Iterable[Manifest], client: Peer, server: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the client's side lets it."""
    return _is_open(list(policies), "Egress", client, server, server, port, protocol)


def may_enter(policies: Iterable[Manifest], client: Peer, server: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the server's side lets it."""
    return _is_open(list(policies), "Ingress", server, client, server, port, protocol)


def _is_open(
    policies: list[Manifest], direction: Direction, own: Peer, other: Peer, server: Peer, port: int, protocol: str
) -> bool:
    if own.address:
        return True
    selecting = [
        each["spec"]
        for each in policies
        if each["metadata"]["namespace"] == own.namespace
        and direction in each["spec"]["policyTypes"]
        and _matches(each["spec"]["podSelector"], own.labels)
    ]
    if not selecting:
        return True
    side, ends = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return any(
        (ends not in rule or any(_is_meant(end, own.namespace, other) for end in rule[ends]))
        and ("ports" not in rule or any(_is_port(each, server, port, protocol) for each in rule["ports"]))
        for spec in selecting
        for rule in spec.get(side) or []
    )


def _is_meant(end: Mapping[str, Any], own_namespace: str, other: Peer) -> bool:
    if "ipBlock" in end:
        block = end["ipBlock"]
        return (
            bool(other.address)
            and _is_within(other.address, [block["cidr"]])
            and not _is_within(other.address, block.get("except", []))
        )
    if other.address:
        return False
    if "namespaceSelector" in end:
        if not _matches(end["namespaceSelector"], other.all_namespace_labels()):
            return False
    elif other.namespace != own_namespace:
        return False
    return _matches(end.get("podSelector", {}), other.labels)


def _is_within(address: str, networks: Iterable[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(each) for each in networks)


def _is_port(rule: Mapping[str, Any], server: Peer, port: int, protocol: str) -> bool:
    named = rule["port"]
    return rule["protocol"] == protocol and (server.ports.get(named) if isinstance(named, str) else named) == port


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        _satisfies(each, labels) for each in selector.get("matchExpressions", [])
    )


def _satisfies(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert expression["operator"] == "In", "the manifests use no other"
    return labels.get(expression["key"]) in expression["values"]
