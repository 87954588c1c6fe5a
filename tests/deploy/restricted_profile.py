"""The profile "restricted" of Kubernetes' Pod Security Standards, as a function of a pod specification: https://kubernetes.io/docs/concepts/security/pod-security-standards/"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.deploy.kustomized import containers_of

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = {"RuntimeDefault", "Localhost"}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
HANDLERS = ("startupProbe", "readinessProbe", "livenessProbe")


def breaches(pod: Mapping[str, Any]) -> list[str]:
    """What an API server that enforces the profile would refuse of this pod; empty when nothing."""
    return [*_of_the_pod(pod), *(breach for each in containers_of(pod) for breach in _of_a_container(each, pod))]


def _of_the_pod(pod: Mapping[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{name} is true"
    for volume in pod.get("volumes") or []:
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {kind}"
    context = pod.get("securityContext") or {}
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    yield from _of_profiles("the pod", context)


def _of_a_container(container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    name = container["name"]
    context = container.get("securityContext") or {}
    of_pod = pod.get("securityContext") or {}
    if context.get("privileged"):
        yield f"{name}: privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation is not false"
    if context.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot is not true"
    if context.get("runAsUser") == 0:
        yield f"{name}: runAsUser is 0"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"{name}: capabilities are not all dropped"
    for added in set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capability {added} is added"
    if not (context.get("seccompProfile") or of_pod.get("seccompProfile")):
        yield f"{name}: no seccompProfile"
    if context.get("procMount", "Default") != "Default":
        yield f"{name}: procMount is {context['procMount']}"
    for port in container.get("ports") or []:
        if port.get("hostPort"):
            yield f"{name}: hostPort {port['hostPort']}"
    lifecycle = container.get("lifecycle") or {}
    for handler in (*(container.get(each) for each in HANDLERS), lifecycle.get("preStop"), lifecycle.get("postStart")):
        for kind in ("httpGet", "tcpSocket"):
            if ((handler or {}).get(kind) or {}).get("host"):
                yield f"{name}: a {kind} to another host"
    yield from _of_profiles(name, context)


def _of_profiles(whose: str, context: Mapping[str, Any]) -> Iterator[str]:
    seccomp = (context.get("seccompProfile") or {}).get("type")
    if seccomp is not None and seccomp not in SECCOMP:
        yield f"{whose}: seccompProfile {seccomp}"
    if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield f"{whose}: appArmorProfile {context['appArmorProfile']['type']}"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{whose}: seLinuxOptions {selinux}"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{whose}: hostProcess"
