"""Every overlay renders; every object is one that Kubernetes takes, refers to nothing that is not there, and every pod keeps the restricted profile."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.kustomized import (
    KUSTOMIZE,
    NAME,
    OVERLAYS,
    SERVICES,
    Manifest,
    Rendered,
    containers_of,
    kustomized,
    rendered,
    secrets_of,
)
from tests.deploy.restricted_profile import breaches

#: The oldest Kubernetes that is served, and a recent one.
VERSIONS = ("1.32", "1.35")
NAMESPACE = "course-materials"
CLUSTER_WIDE = {"Namespace", "PriorityClass"}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Rendered:
    return rendered(request.param)


def validate(manifest: Manifest, version: str) -> None:
    """Raises when this Kubernetes, or the schema of the custom resource, does not know or misses something."""
    custom = SCHEMAS.get((manifest["apiVersion"], manifest["kind"]))
    if custom is not None:
        jsonschema.validate(manifest, custom)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(overlay: Rendered, version: str) -> None:
    for each in overlay.objects:
        try:
            validate(each, version)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            where = ".".join(map(str, error.path))
            pytest.fail(f"{each['kind']} {each['metadata']['name']}: {where}: {error.message}")


def _without(*path: str) -> Any:
    def change(manifest: Manifest) -> None:
        for step in path[:-1]:
            manifest = manifest[step]
        del manifest[path[-1]]

    return change


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("Deployment", "ingest", lambda each: each["spec"].update(replica=2)),
        ("Deployment", "ingest", _without("spec", "selector")),
        ("NetworkPolicy", "dns", lambda each: each["spec"].update(egres=[])),
        ("ScaledObject", "processor", _without("spec", "fallback")),
        ("ScaledObject", "processor", lambda each: each["spec"]["triggers"][0]["metadata"].update(lagThreshold=8)),
        ("ScaledObject", "processor", lambda each: each["spec"]["triggers"][1]["metadata"].update(value=70)),
        ("ScaledObject", "processor", lambda each: each["spec"]["triggers"][0].pop("metricType")),
        ("HTTPRoute", "gateway", lambda each: each["spec"]["rules"][0]["timeouts"].update(request="0")),
        ("HTTPRoute", "gateway", lambda each: each["spec"]["rules"][0].pop("timeouts")),
    ],
)
def test_the_schemas_find_what_is_wrong(kind: str, name: str, change: Any) -> None:
    manifest = deepcopy(rendered("production").named(kind, name))
    change(manifest)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        validate(manifest, VERSIONS[0])


def test_every_pod_keeps_the_restricted_profile(overlay: Rendered) -> None:
    assert {name: found for name, pod in overlay.pods().items() if (found := breaches(pod))} == {}
    labels = overlay.named("Namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_pod_writes_to_its_image_holds_a_token_or_is_without_limits(overlay: Rendered) -> None:
    for name, pod in overlay.pods().items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, f"{name}: variables of other Services would be taken for settings"
        for container in containers_of(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name
    for account in overlay.of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_pods_of_ours_run_as_the_user_of_the_images(overlay: Rendered) -> None:
    for name in (*SERVICES, "migrate"):
        context = overlay.pods()[name]["securityContext"]
        assert {context[each] for each in ("runAsUser", "runAsGroup", "fsGroup")} == {10001}, name
        assert all(
            {"name": "tmp", "mountPath": "/tmp"} in each["volumeMounts"] for each in overlay.pods()[name]["containers"]
        ), f"{name}: nowhere to write to"


def test_each_service_has_all_that_belongs_to_it(overlay: Rendered) -> None:
    for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget"):
        assert set(SERVICES) <= overlay.names(kind), kind
    scaled = {
        each["spec"]["scaleTargetRef"]["name"] for each in overlay.of_kind("HorizontalPodAutoscaler", "ScaledObject")
    }
    if overlay.overlay == "production":
        assert scaled == set(SERVICES)
        assert len(overlay.of_kind("HorizontalPodAutoscaler", "ScaledObject")) == len(SERVICES), (
            "two for one Deployment"
        )
    else:
        assert not scaled
        assert {each["spec"]["replicas"] for each in overlay.of_kind("Deployment", "StatefulSet")} == {1}


def is_autoscaler_of(service: str, manifest: Manifest) -> bool:
    return (manifest["kind"], manifest["metadata"]["name"]) == ("HorizontalPodAutoscaler", service)


def test_production_has_two_replicas_of_everything_at_least_and_a_bound() -> None:
    production = rendered("production")
    for each in production.of_kind("HorizontalPodAutoscaler"):
        assert 2 <= each["spec"]["minReplicas"] < each["spec"]["maxReplicas"]
    scaling = production.named("ScaledObject", "processor")["spec"]
    assert 2 <= scaling["minReplicaCount"] <= scaling["fallback"]["replicas"] < scaling["maxReplicaCount"]
    by = {each["type"]: each for each in scaling["triggers"]}
    assert by.keys() == {"nats-jetstream", "cpu"}, "search and answers are no messages"
    (base,) = [each for each in kustomized(KUSTOMIZE / "base") if is_autoscaler_of("processor", each)]
    assert int(by["cpu"]["metadata"]["value"]) == base["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]
    for each in production.of_kind("Deployment"):
        assert "replicas" not in each["spec"], "an apply would undo the autoscaler's number"
        spreads = each["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {spread["nodeTaintsPolicy"] for spread in spreads} == {"Honor"}, "a cordoned node would stop all others"
        keys = [spread["topologyKey"] for spread in spreads]
        assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


def test_nothing_refers_to_what_is_not_there(overlay: Rendered) -> None:
    for name, pod in overlay.pods().items():
        assert pod["serviceAccountName"] in overlay.names("ServiceAccount"), name
        if overlay.overlay == "production" and name in SERVICES:
            assert pod["priorityClassName"] in overlay.names("PriorityClass"), name
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in overlay.names("ConfigMap"), name
        volumes = {each["name"] for each in pod.get("volumes", [])}
        volumes |= {
            each["metadata"]["name"] for each in overlay.workloads()[name]["spec"].get("volumeClaimTemplates", [])
        }
        for container in containers_of(pod):
            assert {each["name"] for each in container.get("volumeMounts", [])} <= volumes, name
            overlay.environment(container, secrets_of(overlay.overlay))
    for name, workload in overlay.workloads().items():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        if workload["kind"] != "Job":
            assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items(), name
    for each in overlay.of_kind("Service", "PodDisruptionBudget"):
        selector = each["spec"]["selector"].get("matchLabels", each["spec"]["selector"])
        assert selector == {NAME: each["metadata"]["name"]}
        assert selector[NAME] in overlay.workloads()
    for each in overlay.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        assert each["spec"]["scaleTargetRef"]["name"] in overlay.names("Deployment")


def test_all_of_it_is_in_one_namespace(overlay: Rendered) -> None:
    for each in overlay.objects:
        assert each["metadata"].get("namespace") == (None if each["kind"] in CLUSTER_WIDE else NAMESPACE), each[
            "metadata"
        ]
