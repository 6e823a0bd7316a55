"""What plug-ins are told of a pod: containerd's `cniNamespaceOpts` (internal/cri/server/sandbox_run.go). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.lab.cni.configuration import PluginError
from emulab.model.objects import Object
from emulab.model.quantity import parse_quantity
from emulab.plan.pods import resolv_conf

INGRESS, EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
"""Annotations of a Pod: how many bits a second it may receive and send."""
_LEAST, _MOST = 1000, 10**15
_BURST = (1 << 32) - 1  # bits that may come at once: containerd's
_QUANTITY_PATTERN = r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"


def arguments(pod: Object, sandbox: str) -> Sequence[tuple[str, str]]:
    """CNI_ARGS."""
    return (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", sandbox),
        ("K8S_POD_UID", str(pod.metadata.get("uid"))),
    )


def capabilities(pod: Object, cluster: Cluster) -> Mapping[str, Any]:
    """What plug-ins are told that say they want it. Raises PluginError."""
    spec = PodSpec.of_pod(pod)
    found: dict[str, Any] = {"io.kubernetes.cri.pod-annotations": dict(pod.annotations)}
    if mappings := _port_mappings(pod):
        found["portMappings"] = mappings
    if bandwidth := _bandwidth(pod.annotations):
        found["bandwidth"] = bandwidth
    found["dns"] = _dns(resolv_conf(pod.namespace, spec, cluster))
    return found


def _port_mappings(pod: Object) -> list[dict[str, Any]]:
    sidecars = [c for c in pod.spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    ports = [p for c in (*(pod.spec.get("containers") or ()), *sidecars) for p in c.get("ports") or ()]
    return [
        {
            "hostPort": port["hostPort"],
            "containerPort": port["containerPort"],
            "protocol": (port.get("protocol") or "TCP").lower(),
            "hostIP": port.get("hostIP") or "",
        }
        for port in ports
        if port.get("hostPort")
    ]


def _bandwidth(annotations: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for annotation, name in ((INGRESS, "ingress"), (EGRESS, "egress")):
        if annotation in annotations:
            found |= {f"{name}Rate": _bits(annotations[annotation]), f"{name}Burst": _BURST}
    return found


def _bits(text: str) -> int:
    """pkg/util/bandwidth: `validateBandwidthIsReasonable`."""
    value, what = parse_quantity(text).value, "get cni namespace options: reading pod bandwidth annotations"
    if not value and text.strip("0"):
        raise PluginError(f"{what}: quantities must match the regular expression '{_QUANTITY_PATTERN}'")
    if value < _LEAST:
        raise PluginError(f"{what}: resource is unreasonably small (< 1kbit)")
    if value > _MOST:
        raise PluginError(f"{what}: resource is unreasonably large (> 1Pbit)")
    return int(value)


def _dns(text: str) -> dict[str, list[str]]:
    """A resolv.conf as the capability `dns` has it (containerd/go-cni)."""
    words = [line.split() for line in text.splitlines()]
    return {
        "servers": [word for kind, *rest in words if kind == "nameserver" for word in rest],
        "searches": [word for kind, *rest in words if kind == "search" for word in rest],
        "options": [word for kind, *rest in words if kind == "options" for word in rest],
    }
