"""What a Pod is called by itself: the kubelet's `GeneratePodHostNameAndDomain` and `GetNodenameForKernel`
(pkg/kubelet/kubelet_pods.go, pkg/kubelet/util)."""

from __future__ import annotations

from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.objects import Object

_HOSTNAME_MAX = 63
_KERNEL_MAX = 64
"""sethostname(2)."""


def hostname(pod: Object, spec: PodSpec) -> str:
    """Without a domain; on the node's network it is the node's."""
    if spec.host_network:
        return spec.node_name
    return spec.hostname_override or (spec.hostname or pod.name)[:_HOSTNAME_MAX].rstrip("-.")


def whole_hostname(pod: Object, spec: PodSpec, cluster: Cluster) -> str:
    """With the domain that its `subdomain` gives it; "" without one."""
    if not spec.subdomain or spec.hostname_override:
        return ""
    return f"{hostname(pod, spec)}.{spec.subdomain}.{pod.namespace}.svc.{cluster.cluster_domain}"


def kernel_hostname(pod: Object, spec: PodSpec, cluster: Cluster) -> str:
    """What `hostname` prints in it."""
    whole = whole_hostname(pod, spec, cluster)
    as_fqdn = spec.hostname_as_fqdn and not spec.host_network
    return whole if whole and as_fqdn else hostname(pod, spec)


def unfit_hostname(pod: Object, spec: PodSpec, cluster: Cluster) -> str:
    """Why a Pod's sandbox can't be made, in the kubelet's words; "" where it can."""
    name = kernel_hostname(pod, spec, cluster)
    if len(name) <= _KERNEL_MAX:
        return ""
    return (
        f"failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long"
        f" ({_KERNEL_MAX} is the max, {len(name)} characters requested)"
    )
