"""The steps of a rollout in docs/operations.md: what the first of them applies is enough for the migrations, and a failed migration ends them."""

from __future__ import annotations

import os
import re
import subprocess
from itertools import product
from pathlib import Path

import pytest

from tests.deploy.kustomized import NAME, OVERLAYS, Rendered, rendered, secrets_of
from tests.deploy.network_edges import NAME_SERVERS, Peer, may_leave, pods_of
from tests.deploy.test_manifest_settings import section

#: Says what it was asked for, and that the Job has ended as CONDITIONS has it; `wait` fails unless the Job is complete.
KUBECTL = """#!/bin/sh
echo "$*" >> "$ASKED"
case "$*" in
  *"get job migrate"*) echo "$CONDITIONS" ;;
  *" wait "*) case "$CONDITIONS" in *Complete*) ;; *) exit 1 ;; esac ;;
esac
"""


def steps() -> str:
    """The commands of a rollout, as they stand on the page."""
    return section().partition("### Each rollout\n")[2].split("```")[1]


@pytest.fixture(params=OVERLAYS)
def first_step(request: pytest.FixtureRequest) -> Rendered:
    """What is applied before the migrations run."""
    (names,) = re.findall(r"-l 'app\.kubernetes\.io/name in \(([a-z, ]+)\)'", steps())
    every = rendered(request.param).objects
    chosen = [each for each in every if each["metadata"].get("labels", {}).get(NAME) in names.split(", ")]
    return Rendered(request.param, tuple(chosen))


def test_the_first_step_has_all_that_the_migrations_need(first_step: Rendered) -> None:
    pod = first_step.pods()["migrate"]
    assert pod["serviceAccountName"] in first_step.names("ServiceAccount")
    for container in pod["containers"]:
        first_step.environment(container, secrets_of(first_step.overlay))
    assert first_step.names("Deployment") == set()


def test_the_migrations_find_postgres_and_reach_it_after_the_first_step(first_step: Rendered) -> None:
    """One policy that opens a way closes all others: on a new cluster there is nothing but this step."""
    policies, migrate = first_step.of_kind("NetworkPolicy"), pods_of(first_step)["migrate"]
    for server, protocol in product(NAME_SERVERS, ("UDP", "TCP")):
        assert may_leave(policies, migrate, server, 53, protocol), server
    postgres = {
        "development": Peer(labels={NAME: "postgres"}),
        "production": Peer(namespace="", address="192.0.2.1"),
    }[first_step.overlay]
    assert may_leave(policies, migrate, postgres, 5432)


def run(conditions: str, tmp_path: Path) -> list[str]:
    """What kubectl is asked for, in order, by somebody who enters all of the steps."""
    kubectl, asked = tmp_path / "kubectl", tmp_path / "asked"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CONDITIONS": conditions, "ASKED": str(asked)}
    # Without its `cd`: it is run nowhere in particular.
    commands = re.sub(r"^cd .*$", "", steps(), flags=re.MULTILINE)
    subprocess.run(["sh", "-c", commands], env=environment, timeout=30, check=False, capture_output=True)
    return asked.read_text().splitlines()


def test_the_job_of_before_is_gone_before_anything_is_compared_with_it(tmp_path: Path) -> None:
    asked = run("SuccessCriteriaMet Complete", tmp_path)
    (deleted,) = [number for number, each in enumerate(asked) if "delete job migrate" in each]
    (compared,) = [number for number, each in enumerate(asked) if each.startswith("diff")]
    assert deleted < compared
    assert "apply -k ." in asked


def test_a_migration_that_failed_ends_the_rollout(tmp_path: Path) -> None:
    asked = run("FailureTarget Failed", tmp_path)
    assert any(each.startswith("apply -k . -l") for each in asked)
    assert "apply -k ." not in asked
