"""The profile's rules: each breach is found, and so is its absence."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.deploy.restricted_profile import breaches

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "keys"}}],
    "containers": [
        {
            "name": "main",
            "ports": [{"containerPort": 1}],
            "livenessProbe": {"httpGet": {"path": "/", "port": 1}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
POD = ("securityContext",)
CONTAINER = ("containers", 0, "securityContext")
BAD: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("hostNetwork",), True, "hostNetwork"),
    (("hostPID",), True, "hostPID"),
    (("hostIPC",), True, "hostIPC"),
    (("volumes", 0), {"name": "tmp", "hostPath": {"path": "/"}}, "hostPath"),
    (("volumes", 0), {"name": "tmp", "nfs": {"server": "there", "path": "/"}}, "nfs"),
    ((*POD, "sysctls"), [{"name": "kernel.msgmax", "value": "1"}], "kernel.msgmax"),
    ((*POD, "runAsUser"), 0, "runAsUser"),
    ((*POD, "runAsNonRoot"), False, "runAsNonRoot"),
    ((*POD, "runAsNonRoot"), None, "runAsNonRoot"),
    ((*POD, "seccompProfile"), None, "seccompProfile"),
    ((*POD, "seccompProfile"), {"type": "Unconfined"}, "Unconfined"),
    ((*POD, "appArmorProfile"), {"type": "Unconfined"}, "appArmorProfile"),
    ((*POD, "seLinuxOptions"), {"type": "spc_t"}, "spc_t"),
    ((*POD, "seLinuxOptions"), {"user": "sysadm_u"}, "sysadm_u"),
    ((*POD, "windowsOptions"), {"hostProcess": True}, "hostProcess"),
    ((*CONTAINER, "privileged"), True, "privileged"),
    ((*CONTAINER, "allowPrivilegeEscalation"), None, "allowPrivilegeEscalation"),
    ((*CONTAINER, "allowPrivilegeEscalation"), True, "allowPrivilegeEscalation"),
    ((*CONTAINER, "runAsNonRoot"), False, "runAsNonRoot"),
    ((*CONTAINER, "runAsUser"), 0, "runAsUser"),
    ((*CONTAINER, "capabilities"), None, "not all dropped"),
    ((*CONTAINER, "capabilities"), {"drop": ["NET_RAW"]}, "not all dropped"),
    ((*CONTAINER, "capabilities"), {"drop": ["ALL"], "add": ["SYS_ADMIN"]}, "SYS_ADMIN"),
    ((*CONTAINER, "seccompProfile"), {"type": "Unconfined"}, "Unconfined"),
    ((*CONTAINER, "appArmorProfile"), {"type": "Unconfined"}, "appArmorProfile"),
    ((*CONTAINER, "seLinuxOptions"), {"role": "sysadm_r"}, "sysadm_r"),
    ((*CONTAINER, "windowsOptions"), {"hostProcess": True}, "hostProcess"),
    ((*CONTAINER, "procMount"), "Unmasked", "procMount"),
    (("containers", 0, "ports", 0, "hostPort"), 80, "hostPort"),
    (("containers", 0, "livenessProbe", "httpGet", "host"), "169.254.169.254", "another host"),
    (("containers", 0, "lifecycle"), {"preStop": {"tcpSocket": {"host": "there", "port": 1}}}, "another host"),
]


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    pod = deepcopy(GOOD)
    place: Any = pod
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return pod


def test_a_good_pod_breaches_nothing() -> None:
    assert breaches(GOOD) == []


@pytest.mark.parametrize(("path", "value", "told"), BAD, ids=lambda each: str(each) if isinstance(each, str) else "")
def test_each_breach_is_found_and_is_the_only_one(path: tuple[str | int, ...], value: Any, told: str) -> None:
    (found,) = breaches(changed(path, value))
    assert told in found


@pytest.mark.parametrize("kind", ["initContainers", "ephemeralContainers"])
def test_other_containers_are_held_to_it_too(kind: str) -> None:
    found = breaches({**GOOD, kind: [{"name": "other"}]})
    assert {each.partition(":")[0] for each in found} == {"other"}


def test_what_the_profile_allows_is_no_breach() -> None:
    pod = changed((*CONTAINER, "capabilities"), {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})
    pod["securityContext"]["sysctls"] = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    pod["securityContext"]["seLinuxOptions"] = {"type": "container_t"}
    assert breaches(pod) == []


def test_a_container_may_say_for_itself_what_the_pod_does_not() -> None:
    pod = changed(POD, {})
    pod["containers"][0]["securityContext"] |= {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}
    assert breaches(pod) == []
