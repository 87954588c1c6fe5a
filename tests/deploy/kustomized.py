"""The manifests as `kubectl kustomize` renders them, and what tests ask of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
KUSTOMIZE = PROJECT / "deploy" / "kustomize"
OVERLAYS = ("development", "production")
SERVICES = ("ingest", "status", "processor", "gateway")
NAME = "app.kubernetes.io/name"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """All objects of one overlay."""

    overlay: str
    objects: tuple[Manifest, ...]

    def of_kind(self, *kinds: str) -> list[Manifest]:
        """Those of these kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def named(self, kind: str, name: str) -> Manifest:
        """The one of that name, with or without the hash that kustomize puts behind generated ones. Fails when there is none."""
        found = [
            each
            for each in self.of_kind(kind)
            if each["metadata"]["name"] == name or each["metadata"]["name"].rpartition("-")[0] == name
        ]
        assert len(found) == 1, f"{self.overlay}: {len(found)} {kind} {name}"
        return found[0]

    def names(self, kind: str) -> set[str]:
        """The names of all objects of a kind."""
        return {each["metadata"]["name"] for each in self.of_kind(kind)}

    def workloads(self) -> dict[str, Manifest]:
        """Whatever has pods, by name."""
        return {each["metadata"]["name"]: each for each in self.of_kind("Deployment", "StatefulSet", "Job")}

    def pods(self) -> dict[str, Manifest]:
        """The pod specification of each workload."""
        return {name: each["spec"]["template"]["spec"] for name, each in self.workloads().items()}

    def service_container(self, service: str) -> Manifest:
        """The one container of a service."""
        (container,) = self.pods()[service]["containers"]
        return container  # type: ignore[no-any-return]

    def service_containers(self) -> Iterator[tuple[str, Manifest]]:
        """Every container that runs code of ours, with the name of the service whose settings it reads."""
        for name in SERVICES:
            yield name, self.service_container(name)
        for container in self.pods()["migrate"]["containers"]:
            yield container["name"], container

    def environment(self, container: Manifest, secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """The variables that a container is started with, as the kubelet puts them together. Fails for what it would not start with."""
        variables: dict[str, str] = {}
        for source in container.get("envFrom", []):
            variables |= self.named("ConfigMap", source["configMapRef"]["name"]).get("data") or {}
        for entry in container.get("env", []):
            if "value" in entry:
                variables[entry["name"]] = entry["value"]
                continue
            (kind, reference) = next(iter(entry["valueFrom"].items()))
            held = (
                secrets.get(reference["name"], {})
                if kind == "secretKeyRef"
                else self.named("ConfigMap", reference["name"])["data"]
            )
            if reference["key"] in held:
                variables[entry["name"]] = held[reference["key"]]
            else:
                assert reference.get("optional"), f"{kind} {reference} is not there"
        return variables

    def secret_references(self) -> set[tuple[str, str, bool]]:
        """(Secret, key, optional) of every container."""
        return {
            (reference["name"], reference["key"], bool(reference.get("optional")))
            for pod in self.pods().values()
            for container in containers_of(pod)
            for entry in container.get("env", [])
            if (reference := entry.get("valueFrom", {}).get("secretKeyRef"))
        }


def containers_of(pod: Mapping[str, Any]) -> list[Manifest]:
    """All containers of a pod, whatever they are for."""
    return [each for kind in ("initContainers", "containers", "ephemeralContainers") for each in pod.get(kind) or []]


@cache
def kustomized(directory: Path) -> tuple[Manifest, ...]:
    """The objects of a kustomization. Skips without kubectl, fails with its words when they do not render."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NO KUBECTL: the manifests in deploy/kustomize are not checked; install kubectl 1.30 or newer")
    result = subprocess.run(
        [kubectl, "kustomize", str(directory)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
    return tuple(each for each in yaml.safe_load_all(result.stdout) if each is not None)


def rendered(overlay: str) -> Rendered:
    """One overlay."""
    return Rendered(overlay, kustomized(KUSTOMIZE / "overlays" / overlay))


@cache
def development_secrets() -> dict[str, dict[str, str]]:
    """The Secrets of the development overlay, as its script prints them: Secret → key → value."""
    printed = subprocess.run(
        ["sh", str(KUSTOMIZE / "overlays" / "development" / "secrets.sh")],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    return {
        each["metadata"]["name"]: each["stringData"] for each in yaml.safe_load_all(printed) if each["kind"] == "Secret"
    }


def secrets_of(overlay: str) -> dict[str, dict[str, str]]:
    """What the Secrets of an overlay hold: the development one's, and in production no key that signs users' tokens."""
    secrets = {name: dict(held) for name, held in development_secrets().items()}
    if overlay == "production":
        del secrets["identity-keys"]["AUTH_HS256_SECRET"]
    return secrets
